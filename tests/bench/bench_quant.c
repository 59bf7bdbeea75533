/* bench_quant [device]: unpacking of quantised matrices against the device's own copy bandwidth (the faster of
 * clEnqueueCopyBuffer, which PoCL gives one core, and a kernel that copies; bytes read plus bytes written on both sides),
 * and the fused product against unpacking and multiplying, for few tokens.
 * Random data; the best of 21 interleaved rounds on each side (a shared CPU's neighbours take a core for whole rounds). */
#include "args.h"
#include "clock.h"
#include "dev_cl.h"
#include "variant.h"
#include "../testdev.h"

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

/* A copy by all compute units: each item copies `per` float4. */
static const char copy_source[] = "__kernel void copy(const __global float4 *from, __global float4 *to, uint n, uint per)\n"
                                  "{\n"
                                  "    const uint begin = get_global_id(0) * per, end = min(n, begin + per);\n"
                                  "    for (uint i = begin; i < end; i++) to[i] = from[i];\n"
                                  "}\n";

typedef struct {
    tn_ctx c;
    tn_qtensor q;
    tn_tensor w, from, to;
    cl_program program;
    cl_kernel copy;
} bench;

static cl_uint copied_by_one(const tn_dev *d)
{
    return d->info.type == TN_DEVICE_CPU ? 1024 : 1;
}

static int make_copy(bench *b, int n, tn_error *err)
{
    tn_dev *d = b->c.dev;
    const char *text = copy_source;
    const cl_uint count = (cl_uint)n / 4, per = copied_by_one(d);
    cl_int rc;
    TN_TRY(tn_tensor_new(&b->from, d, TN_F32, 1, n, "bench", err));
    TN_TRY(tn_tensor_new(&b->to, d, TN_F32, 1, n, "bench", err));
    TN_TRY(tn_buffer_fill(b->from.mem, 0, (size_t)n * 4, 0x3f812345u, err));
    b->program = clCreateProgramWithSource(d->cl->ctx, 1, &text, NULL, &rc);
    if (!rc) rc = clBuildProgram(b->program, 1, &d->cl->id, "", NULL, NULL);
    if (!rc) b->copy = clCreateKernel(b->program, "copy", &rc);
    if (!rc) rc = clSetKernelArg(b->copy, 0, sizeof(cl_mem), &b->from.mem->mem);
    if (!rc) rc = clSetKernelArg(b->copy, 1, sizeof(cl_mem), &b->to.mem->mem);
    if (!rc) rc = clSetKernelArg(b->copy, 2, sizeof count, &count);
    if (!rc) rc = clSetKernelArg(b->copy, 3, sizeof per, &per);
    return rc ? tn_fail(err, TN_ERR_DEVICE, "the copy kernel: %s", tn_cl_error(rc)) : 0;
}

static int run_copy(const bench *b, tn_error *err)
{
    const tn_dev *d = b->c.dev;
    const size_t n = (size_t)b->from.cols / 4, local = d->info.type == TN_DEVICE_CPU ? 1 : 256;
    const size_t global = TN_ROUND_UP(TN_CEIL_DIV(n, (size_t)copied_by_one(d)), local);
    const cl_int rc = clEnqueueNDRangeKernel(d->cl->queue[TN_QUEUE_MAIN], b->copy, 1, NULL, &global, &local, 0, NULL, NULL);
    return rc ? tn_fail(err, TN_ERR_DEVICE, "the copy kernel: %s", tn_cl_error(rc)) : 0;
}

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
    if (b->copy) clReleaseKernel(b->copy);
    if (b->program) clReleaseProgram(b->program);
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
    TN_TRY(make_copy(&b, (int)(moved / 8), err));
    double copy[ROUNDS], kernel[ROUNDS], ours[TN_MAX_VARIANTS][ROUNDS], sec;
    const tn_unpack_args args = {.q = b.q, .out = b.w};
    for (int round = -3; round < ROUNDS; round++) {
        double t = tn_now();
        TN_TRY(tn_buffer_copy(b.from.mem, 0, b.to.mem, 0, moved / 8 * 4, err));
        TN_TRY(tn_dev_finish(d, err));
        if (round >= 0) copy[round] = tn_now() - t;
        t = tn_now();
        TN_TRY(run_copy(&b, err));
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
