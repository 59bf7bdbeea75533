#include "grads.h"
#include "gemm_rows.h"
#include "tuning.h"

#include <stdio.h>
#include <string.h>

enum { GRADS_ITEMS = 128, GRADS_WIDE = 128, GRADS_STEP = 32, GRADS_GROUPS = 3, GRADS_TILES = 4096 };

/* As grad_job of cl/nvidia/thin_grads.cl. */
typedef struct {
    uint32_t thin, wide, c;
    int32_t thin_ld, wide_ld, c_thin, c_wide, M, N, first;
    uint32_t salt, threshold, bits;
    float alpha;
} grad_job;

static bool thin_is_a(const tn_gemm_args *g)
{
    return g->M <= TN_GRADS_THIN;
}

static bool grads_can_take(const tn_gemm_args *g)
{
    const bool half = g->A.dtype != TN_F32 && g->B.dtype == g->A.dtype && g->C.dtype == TN_F32;
    if (!g->ta || g->tb || g->beta != 1 || !half || tn_gemm_has_epilogue(&g->e)) return false;
    if (!thin_is_a(g) && g->N > TN_GRADS_THIN) return false;
    if (g->mask_a.p > 0 || (g->mask_b.p > 0 && (!thin_is_a(g) || g->batch > 1))) return false;
    return tn_gemm_pieces(&g->A, g->a_step) && tn_gemm_pieces(&g->B, g->b_step);
}

/* ---- the rows ---- */

static int wide_of(const tn_gemm_args *g)
{
    return thin_is_a(g) ? g->N : g->M;
}

static int grads_tiles(const tn_grads *l)
{
    int n = 0;
    for (int i = 0; i < l->n; i++) n += TN_CEIL_DIV(wide_of(&l->g[i]), GRADS_WIDE);
    return n;
}

static bool joined_can(const tn_ctx *c, const void *args)
{
    const tn_grads *l = args;
    (void)c;
    for (int i = 0; i < l->n; i++)
        if (!grads_can_take(&l->g[i]) || l->g[i].batch > 1) return false;
    return l->n > 0 && grads_tiles(l) <= GRADS_TILES;
}

static grad_job job_of(const tn_gemm_args *g, int first)
{
    const bool a = thin_is_a(g);
    const tn_tensor *thin = a ? &g->A : &g->B, *wide = a ? &g->B : &g->A;
    const float keep = g->mask_b.p > 0 ? 1.0f / (1.0f - g->mask_b.p) : 1.0f;
    return (grad_job){.thin = (uint32_t)thin->off,
                      .wide = (uint32_t)wide->off,
                      .c = (uint32_t)g->C.off,
                      .thin_ld = thin->ld,
                      .wide_ld = wide->ld,
                      .c_thin = a ? g->C.ld : 1,
                      .c_wide = a ? 1 : g->C.ld,
                      .M = a ? g->M : g->N,
                      .N = wide_of(g),
                      .first = first,
                      .salt = g->mask_b.salt,
                      .threshold = g->mask_b.p > 0 ? tn_drop_threshold(g->mask_b.p) : 0,
                      .bits = (uint32_t)g->bits_at,
                      .alpha = g->alpha * keep};
}

/* Are the draws of all masks in one buffer? Then *bits is that, which a dry pass does not have. */
static bool all_drawn(const tn_grads *l, const tn_buffer **bits)
{
    int drawn = 0;
    *bits = NULL;
    for (int i = 0; i < l->n; i++) {
        const tn_gemm_args *g = &l->g[i];
        if (g->mask_b.p <= 0) continue;
        if (!g->drawn || (drawn && drawn != g->drawn)) return false;
        drawn = g->drawn, *bits = g->bits;
    }
    return drawn;
}

static int counts_ready(tn_ctx *c, tn_error *err)
{
    static const uint32_t zeros[GRADS_TILES];
    if (c->dry || c->counts) return 0;
    TN_TRY(tn_buffer_new(&c->counts, c->dev, sizeof zeros, "counts of groups that have ended", err));
    return tn_buffer_write(c->counts, 0, zeros, sizeof zeros, err);
}

static int joined_run(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_grads *l = args;
    const int K = l->g[0].K, tiles = grads_tiles(l), units = TN_MAX((int)c->dev->info.compute_units, 1);
    int splits = TN_MAX(1, TN_MIN(GRADS_GROUPS * units / tiles, TN_CEIL_DIV(K, 4 * GRADS_STEP)));
    const int rows = TN_ROUND_UP(TN_CEIL_DIV(K, splits), GRADS_STEP);
    grad_job job[TN_GRADS_MOST];
    const tn_buffer *bits;
    const bool drawn = all_drawn(l, &bits);
    tn_arg a[10 + 3 * TN_GRADS_MOST];
    char options[32];
    tn_tensor parts;
    splits = TN_CEIL_DIV(K, rows);
    memset(job, 0, sizeof job);
    TN_TRY(counts_ready(c, err));
    TN_TRY(tn_ws_take(c, &parts, TN_F32, tiles * splits, TN_GRADS_THIN * GRADS_WIDE, err));
    const tn_arg head[] = {TN_DATA(job), TN_INT(l->n),         TN_INT(tiles),     TN_INT(splits),    TN_INT(rows),
                           TN_INT(K),    TN_BUF(c->constants), TN_BUF(parts.mem), TN_BUF(c->counts), TN_BUF((tn_buffer *)bits)};
    const size_t n_head = TN_COUNT(head) - !drawn, n_args = n_head + 3 * TN_GRADS_MOST;
    memcpy(a, head, sizeof head);
    for (int i = 0, first = 0; i < TN_GRADS_MOST; i++) {
        const tn_gemm_args *g = &l->g[i < l->n ? i : 0]; /* the others' places are not looked at */
        tn_arg *at = a + n_head + 3 * i;
        at[0] = TN_BUF(thin_is_a(g) ? g->A.mem : g->B.mem), at[1] = TN_BUF(thin_is_a(g) ? g->B.mem : g->A.mem),
        at[2] = TN_BUF(g->C.mem);
        if (i >= l->n) continue;
        job[i] = job_of(g, first);
        first += TN_CEIL_DIV(wide_of(g), GRADS_WIDE);
    }
    const tn_range range = {1, {(size_t)tiles * (size_t)splits * GRADS_ITEMS, 1, 1}, {GRADS_ITEMS, 1, 1}};
    snprintf(options, sizeof options, "-DACT=%d%s", (int)l->g[0].A.dtype, drawn ? " -DBITS" : "");
    return tn_op_run(c, "nvidia/thin_grads.cl", "thin_grads", options, a, (int)n_args, &range, err);
}

static int apart_run(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_grads *l = args;
    for (int i = 0; i < l->n; i++) {
        const size_t mark = c->ws_used;
        TN_TRY(tn_gemm_run(c, &l->g[i], err));
        c->ws_used = mark;
    }
    return 0;
}

static const tn_variant grads_rows[] = {
    {.name = "joined", .needs = TN_CAP_NV_MMA80, .can = joined_can, .run = joined_run},
    {.name = "apart", .run = apart_run},
};

/* ---- the operation ---- */

static void grads_kind(char *out, size_t n, const void *args)
{
    const tn_grads *l = args;
    const tn_buffer *bits;
    bool drops = false;
    for (int i = 0; i < l->n; i++) drops |= l->g[i].mask_b.p > 0;
    snprintf(out, n, "%s%s", tn_dtype_name(l->g[0].A.dtype), all_drawn(l, &bits) ? " bits" : drops ? " d" : "");
}

static void grads_key(char *out, size_t n, const void *args)
{
    const tn_grads *l = args;
    char kind[TN_KEY];
    long wide = 0, thin = 0;
    grads_kind(kind, sizeof kind, l);
    for (int i = 0; i < l->n; i++) wide += wide_of(&l->g[i]), thin += thin_is_a(&l->g[i]) ? l->g[i].M : l->g[i].N;
    snprintf(out, n, "%s, %d of %d rows, %ld and %ld columns", kind, l->n, l->g[0].K, thin, wide);
}

static double grads_work(const void *args)
{
    const tn_grads *l = args;
    double sum = 0;
    for (int i = 0; i < l->n; i++) sum += tn_gemm_work(&l->g[i]);
    return sum;
}

static void grads_shrink(void *args, double most)
{
    tn_grads *l = args;
    int K = tn_bucket(l->g[0].K);
    while (K > 1 && grads_work(l) / l->g[0].K * K > most) K /= 2;
    for (int i = 0; i < l->n; i++) l->g[i].K = l->g[i].A.rows = l->g[i].B.rows = K;
}

static void grads_release(void *copy, tn_ctx *c)
{
    tn_grads *l = copy;
    const tn_buffer *bits;
    if (all_drawn(l, &bits)) tn_buffer_free((tn_buffer *)bits);
    for (int i = 0; i < l->n; i++) {
        l->g[i].bits = NULL; /* one of all */
        tn_gemm_release(&l->g[i], c);
    }
    memset(l, 0, sizeof *l);
}

/* Bits of all masks, of no meaning. */
static int make_bits(tn_grads *l, tn_ctx *c, tn_error *err)
{
    size_t words = 0;
    tn_tensor bits;
    for (int i = 0; i < l->n; i++) {
        if (l->g[i].mask_b.p <= 0) continue;
        l->g[i].bits_at = words;
        words += tn_bits_words(l->g[i].B.rows, l->g[i].B.cols);
    }
    TN_TRY(tn_tensor_new(&bits, c->dev, TN_BF16, 1, (int)words, "tuning", err));
    for (int i = 0; i < l->n; i++)
        if (l->g[i].mask_b.p > 0) l->g[i].bits = bits.mem, l->g[i].drawn = 1;
    return tn_tensor_random(c->dev, &bits, err);
}

static int grads_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_grads *l = copy;
    const tn_grads *from = args;
    const tn_buffer *bits;
    int rc = 0;
    for (l->n = 0; !rc && l->n < from->n; l->n++) {
        tn_gemm_args one = from->g[l->n];
        one.drawn = 0;
        rc = tn_gemm_make(&l->g[l->n], c, &one, err);
    }
    return !rc && all_drawn(from, &bits) ? make_bits(l, c, err) : rc;
}

const tn_variant_op tn_grads_op = {.name = "grads",
                                   .rows = grads_rows,
                                   .n = TN_COUNT(grads_rows),
                                   .key = grads_key,
                                   .kind = grads_kind,
                                   .make = grads_make,
                                   .release = grads_release,
                                   .args_size = sizeof(tn_grads),
                                   .work = grads_work,
                                   .shrink = grads_shrink};

/* ---- gathering ---- */

int tn_grads_flush(tn_ctx *c, tn_error *err)
{
    tn_grads *l = c->grads;
    if (!l || !l->n) return 0;
    const int rc = l->n > 1 ? tn_variant_run(c, &tn_grads_op, l, err) : tn_gemm_run(c, &l->g[0], err);
    l->n = 0;
    return rc;
}

int tn_grads_add(tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    tn_grads *l = c->grads;
    tn_gemm_args one;
    TN_TRY(tn_gemm_check(&one, g, err));
    if (!l || !(c->dev->caps & TN_CAP_NV_MMA80) || !grads_can_take(&one)) return tn_gemm_run(c, g, err);
    const int batch = TN_MAX(one.batch, 1);
    const bool fits = l->n + batch <= TN_GRADS_MOST && (!l->n || (l->g[0].K == one.K && l->g[0].A.dtype == one.A.dtype));
    if (!fits) TN_TRY(tn_grads_flush(c, err));
    if (batch > TN_GRADS_MOST) return tn_gemm_run(c, g, err);
    for (int i = 0; i < batch; i++) {
        l->g[l->n] = one;
        l->g[l->n].batch = 1;
        l->g[l->n].A.off += (size_t)i * one.a_step;
        l->g[l->n].B.off += (size_t)i * one.b_step;
        l->g[l->n++].C.off += (size_t)i * one.c_step;
    }
    return 0;
}
