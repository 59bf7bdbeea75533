/* A product's keys for the tuner, and a product like another to be timed. */
#include "gemm.h"
#include "tuning.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A letter for each thing that is done beside the product: what decides which program runs. */
static void put_extras(char *out, size_t n, const tn_gemm_args *g)
{
    const tn_epilogue *e = &g->e;
    char act[8] = "", turn[16] = "", pair[16] = "";
    if (e->has_act || e->slope.rows)
        snprintf(act, sizeof act, "%c%d", !e->slope.rows ? 'a' : e->slope_ready ? 'S' : 's', (int)e->act);
    if (e->turn.heads) snprintf(turn, sizeof turn, "t%d", e->turn.table.cols);
    if (e->parts) snprintf(pair, sizeof pair, "%c%d", e->tb2 ? 'x' : 'y', e->parts);
    snprintf(out, n, "%s%s%s%s%s%s%s%s%s%s%s%s%s", g->beta != 0 ? "+" : "", e->bias ? "b" : "",
             !e->pre.rows   ? ""
             : e->pre_slope ? "P"
                            : "p",
             act, e->scale ? "c" : "", e->residual.rows ? "r" : "", g->mask_a.p > 0 || g->mask_b.p > 0 ? "d" : "",
             e->mask.p > 0 ? "e" : "", turn, pair, g->batch > 1 ? "*" : "", e->norm.sums.rows ? "n" : "", e->sums.rows ? "u" : "");
}

void tn_gemm_kind(char *out, size_t n, const void *args)
{
    const tn_gemm_args *g = args;
    char extras[48];
    put_extras(extras, sizeof extras, g);
    snprintf(out, n, "%s,%s,%s %c%c%s%s%s%s", tn_dtype_name(g->A.dtype), tn_dtype_name(g->B.dtype), tn_dtype_name(g->C.dtype),
             g->ta ? 't' : 'n', g->tb ? 't' : 'n', g->N <= TN_NARROW ? " narrow" : "", g->K >= TN_LONG_SUM ? " long" : "",
             extras[0] ? " " : "", extras);
}

double tn_gemm_work(const void *args)
{
    const tn_gemm_args *g = args;
    return 2.0 * TN_MAX(g->batch, 1) * g->M * g->N * g->K;
}

static void set_rows(tn_tensor *t, int rows)
{
    if (t->rows) t->rows = rows;
}

/* The batch of images decides M, or K where A is read transposed (a weight's gradient). */
void tn_gemm_shrink(void *args, double most)
{
    tn_gemm_args *g = args;
    int *n = g->ta ? &g->K : &g->M;
    if (g->e.turn.heads) { /* whole samples */
        g->e.turn.batch = tn_bucket(g->e.turn.batch);
        while (g->e.turn.batch > 1 && tn_gemm_work(g) / g->M * g->e.turn.batch * (g->e.turn.table.rows + g->e.turn.skip) > most)
            g->e.turn.batch /= 2;
        *n = g->e.turn.batch * (g->e.turn.table.rows + g->e.turn.skip);
        most = INFINITY;
    } else {
        *n = tn_bucket(*n);
    }
    while (*n > 1 && tn_gemm_work(g) > most) *n /= 2;
    set_rows(&g->A, *n);
    if (g->ta && g->tb) g->B.cols = *n, g->B.ld = TN_MAX(g->B.ld, *n);
    if (g->ta) {
        if (!g->tb) set_rows(&g->B, *n);
        return;
    }
    tn_tensor *const tall[] = {&g->C, &g->e.pre, &g->e.slope, &g->e.residual, &g->e.A2};
    for (size_t i = 0; i < TN_COUNT(tall); i++) set_rows(tall[i], *n);
    g->e.norm.sums.cols = g->e.norm.sums.ld = g->e.sums.cols = g->e.sums.ld = 2 * *n;
}

void tn_gemm_key(char *out, size_t n, const void *args)
{
    const tn_gemm_args *g = args;
    char kind[TN_KEY], more[16] = "";
    tn_gemm_kind(kind, sizeof kind, g);
    if (g->e.parts) snprintf(more, sizeof more, " r%d", tn_gemm_rank(&g->e));
    else if (g->batch > 1) snprintf(more, sizeof more, " *%d", g->batch);
    snprintf(out, n, "%s %dx%dx%d%s", kind, g->M, g->N, g->K, more);
}

/* Elements from a view's first to its last, over a batch. */
static size_t copy_extent(const tn_tensor *t, int batch, size_t step)
{
    return (size_t)(TN_MAX(batch, 1) - 1) * step + (size_t)(t->rows - 1) * (size_t)t->ld + (size_t)t->cols;
}

/* *t becomes a buffer of its own with the same strides and values of no meaning. */
static int copy_view(tn_tensor *t, int batch, size_t step, tn_ctx *c, tn_error *err)
{
    t->mem = NULL;
    t->off = 0;
    if (!t->rows) return 0;
    const size_t n = copy_extent(t, batch, step);
    float *v = malloc(n * sizeof *v);
    if (!v) return tn_oom(err);
    for (size_t i = 0; i < n; i++) v[i] = (float)(tn_hash_u32(1, (uint32_t)i) >> 8) * 0x1p-23f - 1;
    int rc = tn_buffer_new(&t->mem, c->dev, n * tn_dtype_size(t->dtype), "a trial product", err);
    const tn_tensor flat = tn_view(t->mem, t->dtype, 1, (int)n);
    if (!rc) rc = tn_tensor_set(c->dev, &flat, v, err);
    free(v);
    return rc;
}

int tn_gemm_make_bits(tn_gemm_args *g, tn_ctx *c, tn_error *err)
{
    const tn_tensor *t = g->mask_a.p > 0 ? &g->A : g->mask_b.p > 0 ? &g->B : &g->C;
    tn_tensor bits;
    TN_TRY(tn_tensor_new(&bits, c->dev, TN_BF16, 1, (int)tn_bits_words(t->rows, t->cols), "a trial product", err));
    g->bits = bits.mem, g->bits_at = 0;
    return tn_tensor_random(c->dev, &bits, err);
}

int tn_gemm_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_gemm_args *g = copy;
    memcpy(g, args, sizeof *g);
    g->keep = NULL;
    tn_tensor *const views[] = {&g->A,          &g->B,    &g->C,    &g->e.pre,        &g->e.slope,
                                &g->e.residual, &g->e.A2, &g->e.B2, &g->e.turn.table, &g->e.norm.sums,
                                &g->e.sums};
    const size_t steps[TN_COUNT(views)] = {g->a_step, g->b_step, g->c_step};
    tn_buffer **const vectors[] = {&g->e.bias, &g->e.scale, &g->e.norm.columns};
    const bool wanted[] = {g->e.bias != NULL, g->e.scale != NULL, g->e.norm.columns != NULL};
    g->bits = NULL;
    for (size_t i = 0; i < TN_COUNT(views); i++) views[i]->mem = NULL; /* what is not made yet must not be freed */
    for (size_t i = 0; i < TN_COUNT(vectors); i++) *vectors[i] = NULL;
    int rc = tn_ctx_step_ready(c, err);
    for (size_t i = 0; !rc && i < TN_COUNT(views); i++) rc = copy_view(views[i], i < 3 ? g->batch : 1, steps[i], c, err);
    for (size_t i = 0; !rc && i < TN_COUNT(vectors); i++) {
        tn_tensor t = tn_view(NULL, TN_F32, wanted[i], g->N);
        rc = copy_view(&t, 1, 0, c, err);
        *vectors[i] = t.mem;
    }
    return !rc && g->drawn ? tn_gemm_make_bits(g, c, err) : rc;
}

void tn_gemm_release(void *copy, tn_ctx *c)
{
    tn_gemm_args *g = copy;
    tn_tensor *const views[] = {&g->A,          &g->B,    &g->C,    &g->e.pre,        &g->e.slope,
                                &g->e.residual, &g->e.A2, &g->e.B2, &g->e.turn.table, &g->e.norm.sums,
                                &g->e.sums};
    for (size_t i = 0; i < TN_COUNT(views); i++) tn_buffer_free(views[i]->mem);
    tn_buffer_free(g->e.bias);
    tn_buffer_free(g->e.scale);
    tn_buffer_free(g->e.norm.columns);
    tn_buffer_free((tn_buffer *)g->bits);
    memset(g, 0, sizeof *g);
}
