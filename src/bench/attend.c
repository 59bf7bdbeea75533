/* Attention of ViT-S, B and L, forward and backward. */
#include "args.h"
#include "parts.h"
#include "ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 581, WIDTH = 64, LOOKED_AT = 2 }; /* heads that are compared: the first and the last of the batch */

typedef struct {
    tn_bench *b;
    tn_attention_args a;
    float *qkv, *d_o;       /* as stored */
    float *want_o, *want_d; /* of the heads that are compared: [LOOKED_AT][TOKENS, WIDTH], [..][TOKENS, 3 WIDTH] */
} attended;

/* Columns of a head of a sample: `parts` slices of [TOKENS, parts * heads * WIDTH] become [TOKENS, parts * WIDTH]. */
static void head_of(const attended *t, const float *all, int parts, int which, float *out)
{
    const int heads = t->a.heads, sample = which ? t->a.batch - 1 : 0, head = which ? heads - 1 : 0;
    for (int r = 0; r < TOKENS; r++)
        for (int p = 0; p < parts; p++)
            for (int c = 0; c < WIDTH; c++)
                out[(r * parts + p) * WIDTH + c] =
                    all[((size_t)(sample * TOKENS + r) * (size_t)parts + (size_t)p) * (size_t)(heads * WIDTH) +
                        (size_t)(head * WIDTH + c)];
}

static int expect(attended *t, tn_error *err)
{
    const size_t one = (size_t)TOKENS * WIDTH;
    float *qkv = malloc(4 * one * sizeof *qkv), *d_o = qkv ? qkv + 3 * one : NULL;
    t->want_o = malloc(LOOKED_AT * one * sizeof *t->want_o);
    t->want_d = malloc(LOOKED_AT * 3 * one * sizeof *t->want_d);
    const int rc = qkv && t->want_o && t->want_d ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < LOOKED_AT; i++) {
        head_of(t, t->qkv, 3, i, qkv);
        head_of(t, t->d_o, 1, i, d_o);
        tn_ref_attention(qkv, 1, TOKENS, 1, WIDTH, t->want_o + (size_t)i * one, NULL);
        tn_ref_attention_backward(qkv, d_o, 1, TOKENS, 1, WIDTH, t->want_d + (size_t)i * 3 * one);
    }
    free(qkv);
    return rc;
}

static int heads_beside(const attended *t, double *share, const tn_tensor *x, int parts, const float *want, tn_error *err)
{
    const size_t n = (size_t)parts * TOKENS * WIDTH;
    float *got, *one = malloc(n * sizeof *one);
    if (!one) return tn_oom(err);
    const int rc = tn_bench_all_of(&got, share, x, err);
    for (int i = 0; !rc && i < LOOKED_AT; i++) {
        head_of(t, got, parts, i, one);
        tn_bench_error_of(share, one, want + (size_t)i * n, n, x->dtype);
    }
    if (!rc) free(got);
    free(one);
    return rc;
}

static int forward_poison(void *self, tn_error *err)
{
    const attended *t = self;
    TN_TRY(tn_tensor_poison(t->b->dev, &t->a.lse, err));
    return tn_tensor_poison(t->b->dev, &t->a.o, err);
}

static int forward_compare(void *self, double *share, tn_error *err)
{
    const attended *t = self;
    return heads_beside(t, share, &t->a.o, 1, t->want_o, err);
}

static int backward_poison(void *self, tn_error *err)
{
    const attended *t = self;
    TN_TRY(tn_tensor_poison(t->b->dev, &t->a.delta, err));
    return tn_tensor_poison(t->b->dev, &t->a.dqkv, err);
}

static int backward_compare(void *self, double *share, tn_error *err)
{
    const attended *t = self;
    return heads_beside(t, share, &t->a.dqkv, 3, t->want_d, err);
}

static int prepare(attended *t, tn_dtype dt, int batch, int heads, tn_error *err)
{
    tn_dev *d = t->b->dev;
    tn_attention_args *a = &t->a;
    const int rows = batch * TOKENS, D = heads * WIDTH;
    *a = (tn_attention_args){.batch = batch, .heads = heads, .n = TOKENS, .hd = WIDTH, .scale = 1 / sqrtf(WIDTH), .act = dt};
    TN_TRY(tn_bench_random(&a->qkv, d, dt, (const int[]){rows, 3 * D}, &t->qkv, err));
    TN_TRY(tn_bench_random(&a->d_o, d, dt, (const int[]){rows, D}, &t->d_o, err));
    TN_TRY(tn_tensor_new(&a->o, d, dt, rows, D, "a measurement", err));
    TN_TRY(tn_tensor_new(&a->dqkv, d, dt, rows, 3 * D, "a measurement", err));
    TN_TRY(tn_tensor_new(&a->lse, d, TN_F32, batch * heads, TOKENS, "a measurement", err));
    TN_TRY(tn_tensor_new(&a->delta, d, TN_F32, batch * heads, TOKENS, "a measurement", err));
    return expect(t, err);
}

static void attended_free(attended *t)
{
    tn_attention_args *a = &t->a;
    tn_tensor *const all[] = {&a->qkv, &a->d_o, &a->o, &a->dqkv, &a->lse, &a->delta};
    for (size_t i = TN_COUNT(all); i-- > 0;) tn_tensor_free(t->b->dev, all[i]);
    free(t->qkv);
    free(t->d_o);
    free(t->want_o);
    free(t->want_d);
}

/* What the backward pass reads: from whatever row the registry would take. */
static int forward_chosen(void *self, tn_error *err)
{
    attended *t = self;
    tn_ws_reset(&t->b->c);
    return tn_attention_forward(&t->b->c, &t->a.qkv, t->a.batch, t->a.heads, &t->a.o, &t->a.lse, err);
}

static int both_ways(attended *t, tn_error *err)
{
    char id[96], name[96];
    bool go;
    const char *type = tn_dtype_name(t->a.act);
    const double one = 4.0 * t->a.batch * t->a.heads * TOKENS * TOKENS * WIDTH; /* a forward pass: two products */
    tn_bench_job j = {.id = id, .group = "attention", .name = name, .unit = "FLOP/s", .work = one, .type = t->a.act, .self = t};
    j.poison = forward_poison;
    j.compare = forward_compare;
    snprintf(id, sizeof id, "attention.forward.%s.%dx%d", type, t->a.batch, t->a.heads);
    snprintf(name, sizeof name, "forward, %s, %d x %d heads of %d tokens", type, t->a.batch, t->a.heads, TOKENS);
    TN_TRY(tn_bench_rows(t->b, &tn_attention_op, &t->a, &j, err));
    j.poison = backward_poison;
    j.compare = backward_compare;
    j.work = 3.5 * one; /* seven, as they are computed (docs/profiling.md counts alike) */
    snprintf(id, sizeof id, "attention.backward.%s.%dx%d", type, t->a.batch, t->a.heads);
    snprintf(name, sizeof name, "backward, %s, %d x %d heads of %d tokens", type, t->a.batch, t->a.heads, TOKENS);
    TN_TRY(tn_bench_begins(&go, t->b, &j, err)); /* the variant that is chosen may fail too */
    if (!go) return 0;
    TN_TRY(tn_bench_reserve(t->b, forward_chosen, t, err));
    TN_TRY(forward_chosen(t, err));
    return tn_bench_rows(t->b, &tn_attention_back_op, &t->a, &j, err);
}

static int measure_heads(tn_bench *b, tn_dtype dt, int batch, int heads, tn_error *err)
{
    attended x = {.b = b};
    int rc = prepare(&x, dt, batch, heads, err);
    if (!rc) rc = both_ways(&x, err);
    attended_free(&x);
    return rc;
}

int tn_bench_attention(tn_bench *b, tn_error *err)
{
    static const int heads[] = {6, 12, 16}; /* of the layers that products.c has four shapes of each */
    char what[64];
    const int batch = b->dev->info.type == TN_DEVICE_CPU ? 1 : 32, n = b->level->types * (b->level->shapes / 4);
    for (int k = 0; k < n; k++) {
        const int h = heads[k / b->level->types];
        const tn_dtype dt = (tn_dtype)(k % b->level->types);
        snprintf(what, sizeof what, "%s, %d heads", tn_dtype_name(dt), h);
        if (tn_bench_has_time(b, k, n, what)) TN_TRY(measure_heads(b, dt, batch, h, err));
    }
    return 0;
}
