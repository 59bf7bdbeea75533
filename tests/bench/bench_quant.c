/* bench_quant [device]: unpacking of quantised matrices against the device's own copy bandwidth (the faster of
 * clEnqueueCopyBuffer, which PoCL gives one core, and a kernel that copies; bytes read plus bytes written on both sides),
 * and the fused product against unpacking and multiplying, for few tokens.
 * Random data; the best of 21 interleaved rounds on each side (a shared CPU's neighbours take a core for whole rounds). */
#include "args.h"
#include "clock.h"
#include "variant.h"
#include "../testdev.h"
#include "copying.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 21 };

static double best(const double *t)
{
    double b = t[0];
    for (int i = 1; i < ROUNDS; i++) b = TN_MIN(b, t[i]);
    return b;
}

static float *values; /* random, as many as the largest matrix has */

static int make_values(size_t n, tn_error *err)
{
    tn_rng r = tn_rng_named(1, "bench");
    values = malloc(n * sizeof *values);
    if (!values) return tn_oom(err);
    for (size_t i = 0; i < n; i++) values[i] = (float)tn_rng_normal(&r);
    return 0;
}

typedef struct {
    tn_ctx c;
    tn_qtensor q;
    tn_tensor w, from, to;
    copying copy;
} bench;

/* One run of a row, and what it took; nothing where it cannot. */
static int run_row(double *seconds, bench *b, const tn_variant_op *op, int row, const void *args, tn_error *err)
{
    const tn_choice k = tn_variant_defaults(op, row);
    const double begin = tn_now();
    *seconds = 0;
    if (!tn_variant_can(&b->c, &op->rows[row], args)) return 0;
    TN_TRY(tn_variant_run_row(&b->c, op, &k, args, err));
    TN_TRY(tn_dev_finish(b->c.dev, err));
    *seconds = tn_now() - begin;
    return 0;
}

static int set_up(bench *b, tn_dev *d, tn_qtype type, bool nested, tn_dtype out, int rows, int cols, tn_error *err)
{
    tn_qshape s = {.type = type, .rows = rows, .cols = cols, .nested = nested};
    memset(b, 0, sizeof *b);
    tn_ctx_init(&b->c, d);
    TN_TRY(tn_qblock(&s.block, type, 0, cols, "bench", err));
    TN_TRY(tn_qtensor_new(&b->q, d, &s, NULL, err));
    TN_TRY(tn_qtensor_quantize(&b->c, &b->q, values, "bench", err));
    return tn_tensor_new(&b->w, d, out, rows, cols, "bench", err);
}

static void tear_down(bench *b)
{
    tn_dev *d = b->c.dev;
    copying_free(&b->copy);
    tn_tensor_free(d, &b->to);
    tn_tensor_free(d, &b->from);
    tn_tensor_free(d, &b->w);
    tn_qtensor_free(&b->q, d);
    tn_ctx_free(&b->c);
}

/* Copies as many bytes as unpacking moves, so that both work on the same memory. */
static int unpacking(tn_dev *d, tn_qtype type, bool nested, tn_dtype out, int rows, int cols, tn_error *err)
{
    bench b;
    TN_TRY(set_up(&b, d, type, nested, out, rows, cols, err));
    const size_t moved = tn_qbytes(&b.q.s) + tn_tensor_bytes(&b.w);
    TN_TRY(copying_new(&b.copy, &b.c, moved / 2, err));
    double copy[ROUNDS], kernel[ROUNDS], ours[TN_MAX_VARIANTS][ROUNDS], sec;
    const tn_unpack_args args = {.q = b.q, .out = b.w};
    for (int round = -3; round < ROUNDS; round++) {
        double t = tn_now();
        TN_TRY(copying_by_driver(&b.copy, err));
        TN_TRY(tn_dev_finish(d, err));
        if (round >= 0) copy[round] = tn_now() - t;
        t = tn_now();
        TN_TRY(copying_by_kernel(&b.copy, err));
        TN_TRY(tn_dev_finish(d, err));
        if (round >= 0) kernel[round] = tn_now() - t;
        for (int v = 0; v < tn_unpack_op.n; v++) {
            TN_TRY(run_row(&sec, &b, &tn_unpack_op, v, &args, err));
            if (round >= 0) ours[v][round] = sec;
        }
    }
    const double base = TN_MIN(best(copy), best(kernel));
    printf("unpack %-9s%-7s -> %-8s %5d x %-5d  copy %7.1f, by a kernel %7.1f GB/s", tn_qformats[type].name,
           nested ? " double" : "", tn_dtype_name(out), rows, cols, (double)moved / best(copy) * 1e-9,
           (double)moved / best(kernel) * 1e-9);
    for (int v = 0; v < tn_unpack_op.n; v++)
        if (ours[v][0] > 0)
            printf("   %s %7.1f (%.2f)", tn_unpack_op.rows[v].name, (double)moved / best(ours[v]) * 1e-9, base / best(ours[v]));
    printf("\n");
    fflush(stdout);
    tear_down(&b);
    return 0;
}

static int few_tokens(tn_dev *d, int tokens, int N, int K, tn_error *err)
{
    bench b;
    TN_TRY(set_up(&b, d, TN_Q_NF4, true, TN_F32, N, K, err));
    TN_TRY(tn_tensor_new(&b.from, d, TN_F32, tokens, K, "bench", err));
    TN_TRY(tn_tensor_set(d, &b.from, values, err));
    TN_TRY(tn_tensor_new(&b.to, d, TN_F32, tokens, N, "bench", err));
    TN_TRY(tn_ctx_reserve(&b.c, (size_t)64 << 20, err));
    double ours[TN_MAX_VARIANTS][ROUNDS], sec;
    const tn_qgemv_args args = {b.from, b.q, NULL, b.to};
    for (int round = -3; round < ROUNDS; round++)
        for (int v = 0; v < tn_qgemv_op.n; v++) {
            TN_TRY(run_row(&sec, &b, &tn_qgemv_op, v, &args, err));
            tn_ws_reset(&b.c);
            if (round >= 0) ours[v][round] = sec;
        }
    const double a = best(ours[tn_qgemv_op.n - 1]);
    printf("%2d tokens x nf4 %5d x %-5d  unpack + gemm %8.1f us", tokens, N, K, a * 1e6);
    for (int v = 0; v < tn_qgemv_op.n - 1; v++)
        if (ours[v][0] > 0) printf("   %s %8.1f us (%.2f)", tn_qgemv_op.rows[v].name, best(ours[v]) * 1e6, a / best(ours[v]));
    printf("\n");
    fflush(stdout);
    tear_down(&b);
    return 0;
}

static int all(tn_dev *d, tn_error *err)
{
    const int rows = d->info.type == TN_DEVICE_CPU ? 4096 : 16384, cols = 4096;
    TN_TRY(make_values((size_t)rows * (size_t)cols, err));
    for (int t = 0; t < TN_Q_TYPES; t++)
        for (int k = 0; k <= tn_qformats[t].nestable; k++)
            for (int out = TN_F32; out <= TN_F16; out++) TN_TRY(unpacking(d, (tn_qtype)t, k, (tn_dtype)out, rows, cols, err));
    for (int tokens = 1; tokens <= TN_QGEMV_ROWS; tokens *= 2) {
        TN_TRY(few_tokens(d, tokens, 1536, 384, err));
        TN_TRY(few_tokens(d, tokens, 4096, 1024, err));
    }
    return 0;
}

int main(int argc, char **argv)
{
    tn_error err = {0};
    tn_dev *d;
    int rc = test_device(&d, argc > 1 ? argv[1] : NULL, &err);
    if (!rc) printf("device: %s; in brackets the part of the copy's bandwidth\n", d->info.name);
    if (!rc) rc = all(d, &err);
    free(values);
    if (rc) fprintf(stderr, "bench_quant: %s\n", err.message);
    return rc != 0;
}
