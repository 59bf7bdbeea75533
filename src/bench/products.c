/* C [M, N] = A [M, K] B [N, K]^T on the shapes of a ViT's layers. */
#include "gemm.h"
#include "parts.h"
#include "ref.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 581, LOOKED_AT = 8 }; /* tokens of 288 x 512; rows that are compared, of all that are written */

/* [N, K] of ViT-S, B and L: projection, q k v, up and down. */
static const int layers[][2] = {{384, 384},  {1152, 384}, {1536, 384},  {384, 1536},  {768, 768},   {2304, 768},
                                {3072, 768}, {768, 3072}, {1024, 1024}, {3072, 1024}, {4096, 1024}, {1024, 4096}};

typedef struct {
    tn_bench *b;
    tn_gemm_args g;
    tn_tensor A, B, C;
    float *want; /* [LOOKED_AT, N] */
} product;

/* The rows that are compared: the first, the last and some between. */
static int row_at(const product *p, int i)
{
    return (int)((long long)i * (p->C.rows - 1) / (LOOKED_AT - 1));
}

static int poison_product(void *self, tn_error *err)
{
    const product *p = self;
    return tn_tensor_poison(p->b->dev, &p->C, err);
}

static int compare(void *self, double *share, tn_error *err)
{
    const product *p = self;
    float *got;
    TN_TRY(tn_bench_all_of(&got, share, &p->C, err));
    const size_t n = (size_t)p->C.cols;
    for (int i = 0; i < LOOKED_AT; i++)
        tn_bench_error_of(share, got + (size_t)row_at(p, i) * n, p->want + (size_t)i * n, n, p->C.dtype);
    free(got);
    return 0;
}

static int expect(product *p, const float *a, const float *b, tn_error *err)
{
    const int N = p->C.cols, K = p->A.cols;
    p->want = malloc(LOOKED_AT * (size_t)N * sizeof *p->want);
    if (!p->want) return tn_oom(err);
    for (int i = 0; i < LOOKED_AT; i++) {
        const tn_ref_product r = {.tb = true,
                                  .M = 1,
                                  .N = N,
                                  .K = K,
                                  .alpha = 1,
                                  .A = a + (size_t)row_at(p, i) * (size_t)K,
                                  .lda = K,
                                  .B = b,
                                  .ldb = K,
                                  .ldc = N};
        tn_ref_gemm(&r, p->want + (size_t)i * (size_t)N);
    }
    return 0;
}

static int prepare(product *p, tn_dtype dt, int rows, const int layer[2], tn_error *err)
{
    tn_dev *d = p->b->dev;
    float *a = NULL, *b = NULL;
    int rc = tn_bench_random(&p->A, d, dt, (const int[]){rows, layer[1]}, &a, err);
    if (!rc) rc = tn_bench_random(&p->B, d, dt, layer, &b, err);
    if (!rc) rc = tn_tensor_new(&p->C, d, dt, rows, layer[0], "a measurement", err);
    if (!rc) rc = tn_gemm_check(&p->g, &(tn_gemm_args){.tb = true, .alpha = 1, .A = p->A, .B = p->B, .C = p->C}, err);
    if (!rc) rc = expect(p, a, b, err);
    free(a);
    free(b);
    return rc;
}

static int measure_shape(tn_bench *b, tn_dtype dt, int rows, const int layer[2], tn_error *err)
{
    char id[96], name[96];
    product p = {.b = b};
    int rc = prepare(&p, dt, rows, layer, err);
    snprintf(id, sizeof id, "gemm.%s.%dx%dx%d", tn_dtype_name(dt), rows, layer[0], layer[1]);
    snprintf(name, sizeof name, "%s %d x %d x %d", tn_dtype_name(dt), rows, layer[0], layer[1]);
    const tn_bench_job like = {.id = id,
                               .group = "products",
                               .name = name,
                               .unit = "FLOP/s",
                               .work = 2.0 * rows * layer[0] * layer[1],
                               .type = dt,
                               .poison = poison_product,
                               .compare = compare,
                               .self = &p};
    if (!rc) rc = tn_bench_rows(b, &tn_gemm_op, &p.g, &like, err);
    tn_tensor_free(b->dev, &p.C);
    tn_tensor_free(b->dev, &p.B);
    tn_tensor_free(b->dev, &p.A);
    free(p.want);
    return rc;
}

/* A frame fills a CPU, a batch of them a GPU. The smallest backbone in every type first: what there is no time for is the largest.
 */
int tn_bench_products(tn_bench *b, tn_error *err)
{
    char what[64];
    const int images[] = {1, 32}, sizes = b->dev->info.type == TN_DEVICE_CPU ? 1 : 2, n = b->level->shapes * b->level->types;
    for (int k = 0; k < n; k++) {
        const int backbone = k / (4 * b->level->types), t = k / 4 % b->level->types;
        const int *layer = layers[4 * backbone + k % 4];
        snprintf(what, sizeof what, "%s x %d x %d", tn_dtype_name((tn_dtype)t), layer[0], layer[1]);
        if (!tn_bench_has_time(b, k, n, what)) continue;
        for (int i = 0; i < sizes; i++) TN_TRY(measure_shape(b, (tn_dtype)t, TOKENS * images[i], layer, err));
    }
    return 0;
}
