/* bench_gemm [device]: C[M,N] = A[M,K] B[N,K]^T on the ViT shapes, every GEMM variant beside OpenBLAS on the host's
 * threads, one after the other in one run. Random data; the median of the rounds; GFLOP/s and the ratio to OpenBLAS. */
#include "clock.h"
#include "gemm.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

enum { ROUNDS = 15 };

static double median(double *t)
{
    qsort(t, ROUNDS, sizeof *t, by_value);
    return t[ROUNDS / 2];
}

static int shape(tn_dev *d, int M, int N, int K, bool with_clblast, tn_error *err)
{
    const size_t na = (size_t)M * (size_t)K, nb = (size_t)N * (size_t)K, nc = (size_t)M * (size_t)N;
    float *a = malloc(na * 4), *b = malloc(nb * 4), *c = malloc(nc * 4);
    tn_rng r = tn_rng_named(1, "bench");
    for (size_t i = 0; i < na; i++) a[i] = (float)tn_rng_normal(&r);
    for (size_t i = 0; i < nb; i++) b[i] = (float)tn_rng_normal(&r);
    tn_tensor A, B, C;
    TN_TRY(tn_tensor_new(&A, d, TN_F32, M, K, "bench", err));
    TN_TRY(tn_tensor_new(&B, d, TN_F32, N, K, "bench", err));
    TN_TRY(tn_tensor_new(&C, d, TN_F32, M, N, "bench", err));
    TN_TRY(tn_tensor_set(d, &A, a, err));
    TN_TRY(tn_tensor_set(d, &B, b, err));
    tn_ctx ctx;
    tn_ctx_init(&ctx, d, TN_F32);
    TN_TRY(tn_ctx_reserve(&ctx, nb * 4 + ((size_t)64 << 20), err));
    const tn_gemm_args g = {.tb = true, .alpha = 1, .A = A, .B = B, .C = C, .M = M, .N = N, .K = K};
    double blas[ROUNDS], ours[TN_GEMM_VARIANTS][ROUNDS];
    for (int round = -2; round < ROUNDS; round++) { /* interleaved, so that what disturbs one disturbs all */
        double t = tn_now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, M, N, K, 1, a, K, b, K, 0, c, N);
        if (round >= 0) blas[round] = tn_now() - t;
        for (int v = 0; v < TN_GEMM_VARIANTS; v++) {
            if (!tn_variant_can(&ctx, &tn_gemm_op.rows[v], &g) || (v == TN_GEMM_CLBLAST && !with_clblast)) continue;
            t = tn_now();
            TN_TRY(tn_gemm_op.rows[v].run(&ctx, &g, err));
            TN_TRY(tn_dev_finish(d, err));
            if (round >= 0) ours[v][round] = tn_now() - t;
        }
    }
    const double flops = 2.0 * M * N * K, base = median(blas);
    printf("%5d x %5d x %5d  OpenBLAS %7.1f", M, N, K, flops / base * 1e-9);
    for (int v = 0; v < TN_GEMM_VARIANTS; v++) {
        if (!tn_variant_can(&ctx, &tn_gemm_op.rows[v], &g) || (v == TN_GEMM_CLBLAST && !with_clblast)) continue;
        const double m = median(ours[v]);
        printf("   %s %7.1f (%.2f)", tn_gemm_op.rows[v].name, flops / m * 1e-9, base / m);
    }
    printf("\n");
    fflush(stdout);
    tn_tensor_free(d, &A);
    tn_tensor_free(d, &B);
    tn_tensor_free(d, &C);
    tn_ctx_free(&ctx);
    free(a);
    free(b);
    free(c);
    return 0;
}

int main(int argc, char **argv)
{
    static const int shapes[][3] = {{581, 384, 384},   {581, 1536, 384}, {581, 384, 1536}, {4648, 384, 384},  {4648, 1536, 384},
                                    {4648, 384, 1536}, {1192, 128, 128}, {1192, 384, 128}, {1024, 1152, 1024}};
    tn_error err = {0};
    tn_device_info info;
    tn_dev *d;
    const bool clblast = argc > 2 && !strcmp(argv[2], "clblast");
    int rc = tn_device_select(&info, argc > 1 ? argv[1] : "cpu", &err);
    if (!rc) rc = tn_dev_open(&d, info.index, 0, NULL, &err);
    if (!rc) printf("device: %s; GFLOP/s, in brackets the speed over OpenBLAS\n", info.name);
    for (size_t i = 0; !rc && i < TN_COUNT(shapes); i++) rc = shape(d, shapes[i][0], shapes[i][1], shapes[i][2], clblast, &err);
    if (rc) fprintf(stderr, "bench_gemm: %s\n", err.message);
    return rc != 0;
}
