/* bench_epilogue [device]: products of a ViT-S layer (581 tokens, four images) with what follows them, in one launch and as
 * launches of their own (a product, then passes over its result), turn about in one run; float32 and bfloat16; the median in
 * milliseconds and the ratio. The row is the one that tn_gemm_run takes. */
#include "../testdev.h"
#include "clock.h"
#include "gemm.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 9, TOKENS = 4 * 581, RANK = 16 };

typedef struct {
    tn_ctx c;
    tn_dtype act;
    tn_tensor x, w, y, u, o, t, a, b, bias;
} bench;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int fill(tn_tensor *t, bench *b, tn_dtype dt, int rows, int cols, tn_error *err)
{
    const size_t n = (size_t)rows * (size_t)cols;
    float *v = malloc(n * sizeof *v);
    if (!v) return tn_oom(err);
    for (size_t i = 0; i < n; i++) v[i] = (float)(tn_hash_u32(1, (uint32_t)i) >> 8) * 0x1p-23f - 1;
    int rc = tn_tensor_new(t, b->c.dev, dt, rows, cols, "bench", err);
    if (!rc) rc = tn_tensor_set(b->c.dev, t, v, err);
    free(v);
    return rc;
}

static int open_bench(bench *b, tn_dev *d, tn_dtype act, int n, int k, tn_error *err)
{
    *b = (bench){.act = act};
    tn_ctx_init(&b->c, d);
    TN_TRY(fill(&b->x, b, act, TOKENS, k, err));
    TN_TRY(fill(&b->w, b, act, n, k, err));
    TN_TRY(fill(&b->y, b, act, TOKENS, n, err));
    TN_TRY(fill(&b->u, b, act, TOKENS, n, err));
    TN_TRY(fill(&b->o, b, act, TOKENS, n, err));
    TN_TRY(fill(&b->t, b, act, TOKENS, RANK, err));
    TN_TRY(fill(&b->a, b, TN_F32, RANK, k, err));
    TN_TRY(fill(&b->b, b, TN_F32, n, RANK, err));
    TN_TRY(fill(&b->bias, b, TN_F32, 1, n, err));
    return tn_ctx_reserve(&b->c, (size_t)64 << 20, err);
}

static void close_bench(bench *b)
{
    tn_tensor *const all[] = {&b->x, &b->w, &b->y, &b->u, &b->o, &b->t, &b->a, &b->b, &b->bias};
    for (size_t i = 0; i < TN_COUNT(all); i++) tn_tensor_free(b->c.dev, all[i]);
    tn_ctx_free(&b->c);
}

/* y = gelu(u), u = x W^T + bias. */
static int gelu(bench *b, bool fused, tn_error *err)
{
    tn_gemm_args g = {.tb = true, .alpha = 1, .A = b->x, .B = b->w, .C = fused ? b->y : b->u, .e = {.bias = b->bias.mem}};
    if (fused) g.e.has_act = true, g.e.act = TN_GELU, g.e.pre = b->u;
    TN_TRY(tn_gemm_run(&b->c, &g, err));
    return fused ? 0 : tn_act_forward(&b->c, TN_GELU, &b->u, &b->y, err);
}

/* y = x W^T + bias + t B^T. */
static int lora(bench *b, bool fused, tn_error *err)
{
    tn_gemm_args g = {.tb = true, .alpha = 1, .A = b->x, .B = b->w, .C = b->y, .e = {.bias = b->bias.mem}};
    if (fused) g.e.parts = 1, g.e.tb2 = true, g.e.alpha2 = 2, g.e.A2 = b->t, g.e.B2 = b->b;
    TN_TRY(tn_gemm_run(&b->c, &g, err));
    return fused ? 0 : tn_gemm_run(&b->c, &(tn_gemm_args){.tb = true, .alpha = 2, .A = b->t, .B = b->b, .beta = 1, .C = b->y}, err);
}

/* o = (x W^T) gelu'(u), a layer's dx through the activation before it; W lies as the forward's turned. */
static int slope(bench *b, bool fused, tn_error *err)
{
    tn_gemm_args g = {.alpha = 1, .A = b->x, .B = b->w, .C = b->o};
    g.B.rows = b->w.cols, g.B.cols = g.B.ld = b->w.rows;
    if (fused) g.e.slope = b->u, g.e.act = TN_GELU;
    TN_TRY(tn_gemm_run(&b->c, &g, err));
    return fused ? 0 : tn_act_backward(&b->c, TN_GELU, &b->u, &b->o, &b->o, err);
}

/* o = u + y, y = x W^T + bias. */
static int residual(bench *b, bool fused, tn_error *err)
{
    tn_gemm_args g = {.tb = true, .alpha = 1, .A = b->x, .B = b->w, .C = fused ? b->o : b->y, .e = {.bias = b->bias.mem}};
    if (fused) g.e.residual = b->u;
    TN_TRY(tn_gemm_run(&b->c, &g, err));
    return fused ? 0 : tn_residual(&b->c, &b->u, &b->y, NULL, &b->o, err);
}

/* t = dropout(x) A^T. */
static int dropped(bench *b, bool fused, tn_error *err)
{
    tn_tensor x;
    tn_gemm_args g = {.tb = true, .alpha = 1, .A = b->x, .B = b->a, .C = b->t};
    if (fused) g.mask_a = (tn_mask){0.05f, 3};
    tn_ws_reset(&b->c);
    if (!fused) {
        TN_TRY(tn_ws_take(&b->c, &x, b->act, b->x.rows, b->x.cols, err));
        TN_TRY(tn_dropout(&b->c, &b->x, &x, (tn_mask){0.05f, 3}, false, false, err));
        g.A = x;
    }
    return tn_gemm_run(&b->c, &g, err);
}

static int compare(const char *name, int (*run)(bench *, bool, tn_error *), tn_dev *d, tn_dtype act, int n, int k, tn_error *err)
{
    bench b;
    double ms[2][ROUNDS];
    int rc = open_bench(&b, d, act, n, k, err);
    for (int round = -2; !rc && round < ROUNDS; round++)
        for (int fused = 0; !rc && fused < 2; fused++) {
            const double start = tn_now();
            rc = run(&b, fused, err);
            if (!rc) rc = tn_dev_finish(d, err);
            if (round >= 0) ms[fused][round] = 1e3 * (tn_now() - start);
        }
    close_bench(&b);
    if (rc) return rc;
    for (int f = 0; f < 2; f++) qsort(ms[f], ROUNDS, sizeof **ms, by_value);
    printf("%-28s %s %4d x %4d  apart %8.2f ms  at once %8.2f ms  ratio %.2f\n", name, tn_dtype_name(act), n, k, ms[0][ROUNDS / 2],
           ms[1][ROUNDS / 2], ms[1][ROUNDS / 2] / ms[0][ROUNDS / 2]);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(bench *, bool, tn_error *);
        int n, k;
    } all[] = {
        {"bias + GELU, input kept", gelu, 1536, 384}, {"bias + adapter", lora, 384, 384},
        {"bias + adapter", lora, 1152, 384},          {"bias + adapter", lora, 384, 1536},
        {"dx through GELU", slope, 1536, 384},        {"bias + residual", residual, 384, 1536},
        {"dropout in A", dropped, 384, 384},          {"dropout in A", dropped, 384, 1536},
    };
    tn_error err = {0};
    tn_dev *d;
    int rc = test_device(&d, argc > 1 ? argv[1] : "cpu", &err);
    if (!rc) printf("device: %s; %d rows, columns x K\n", d->info.name, TOKENS);
    for (int act = TN_F32; act <= TN_BF16; act++)
        for (size_t i = 0; !rc && i < TN_COUNT(all); i++)
            rc = compare(all[i].name, all[i].run, d, (tn_dtype)act, all[i].n, all[i].k, &err);
    if (rc) fprintf(stderr, "bench_epilogue: %s\n", err.message);
    return rc != 0;
}
