/* Matrices in few bits: unpacked, and multiplied by few tokens. */
#include "args.h"
#include "parts.h"
#include "ref.h"
#include "traffic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    tn_bench *b;
    tn_qtensor q;
    tn_tensor x, out;
    tn_buffer *from, *to; /* of the copy beside it */
    size_t copied;
    float *w, *want; /* the matrix as unpacked; what should be in out */
} matrix;

static void matrix_free(matrix *m)
{
    tn_dev *d = m->b->dev;
    tn_buffer_free(m->to);
    tn_buffer_free(m->from);
    tn_tensor_free(d, &m->out);
    tn_tensor_free(d, &m->x);
    tn_qtensor_free(&m->q, d);
    free(m->w);
    free(m->want);
}

/* m->w: random values, then what is left of them. */
static int make_matrix(matrix *m, tn_bench *b, tn_qshape s, tn_error *err)
{
    const size_t n = (size_t)s.rows * (size_t)s.cols;
    tn_qmatrix q;
    *m = (matrix){.b = b, .w = malloc(n * sizeof *m->w), .want = malloc(n * sizeof *m->want)};
    if (!m->want || !tn_bench_normals(m->w, n)) return tn_oom(err);
    TN_TRY(tn_qblock(&s.block, s.type, 0, s.cols, "a measurement", err));
    TN_TRY(tn_quantize(&q, m->w, &s, "a measurement", err));
    tn_dequantize(&q, m->w);
    int rc = tn_qtensor_new(&m->q, b->dev, &s, NULL, err);
    if (!rc) rc = tn_qtensor_set(&m->q, b->dev, &q, err);
    tn_qmatrix_free(&q);
    return rc;
}

static int poison(void *self, tn_error *err)
{
    const matrix *m = self;
    return tn_tensor_poison(m->b->dev, &m->out, err);
}

static int compare(void *self, double *share, tn_error *err)
{
    const matrix *m = self;
    return tn_bench_error(share, &m->out, m->want, err);
}

/* Unpacking gives the host's values to the bit. */
static int compare_bits(void *self, double *share, tn_error *err)
{
    TN_TRY(compare(self, share, err));
    if (*share > 0) *share = INFINITY;
    return 0;
}

static int copy(void *self, tn_error *err)
{
    const matrix *m = self;
    return tn_copy_by_kernel(&m->b->c, m->from, m->to, m->copied, err);
}

/* What a copy of as many bytes needs. */
static int make_copied(matrix *m, double moved, tn_error *err)
{
    tn_dev *d = m->b->dev;
    m->copied = (size_t)(moved / 32) * 16;
    TN_TRY(tn_buffer_new(&m->from, d, m->copied, "a measurement", err));
    TN_TRY(tn_buffer_new(&m->to, d, m->copied, "a measurement", err));
    return tn_buffer_fill(m->from, 0, m->copied, 0x3f812345u, err);
}

static int measure_unpacking(matrix *m, const char *format, tn_error *err)
{
    char id[96], name[96];
    const tn_dtype dt = m->out.dtype;
    const double moved = (double)(tn_qbytes(&m->q.s) + tn_tensor_bytes(&m->out));
    const tn_unpack_args args = {.q = m->q, .out = m->out};
    snprintf(id, sizeof id, "unpack.%s.%s.%dx%d", format, tn_dtype_name(dt), m->out.rows, m->out.cols);
    snprintf(name, sizeof name, "%s to %s, %d x %d", format, tn_dtype_name(dt), m->out.rows, m->out.cols);
    const tn_bench_job like = {.id = id,
                               .group = "unpacking",
                               .name = name,
                               .unit = "B/s",
                               .work = moved,
                               .set = moved,
                               .type = dt,
                               .beside = copy,
                               .poison = poison,
                               .compare = compare_bits,
                               .self = m};
    TN_TRY(make_copied(m, moved, err));
    return tn_bench_rows(m->b, &tn_unpack_op, &args, &like, err);
}

static int unpack_to(matrix *m, tn_dtype dt, const char *format, tn_error *err)
{
    tn_dev *d = m->b->dev;
    for (size_t i = 0; i < (size_t)m->q.s.rows * (size_t)m->q.s.cols; i++) m->want[i] = tn_rounded(m->w[i], dt);
    int rc = tn_tensor_new(&m->out, d, dt, m->q.s.rows, m->q.s.cols, "a measurement", err);
    if (!rc) rc = measure_unpacking(m, format, err);
    tn_buffer_free(m->to);
    tn_buffer_free(m->from);
    m->from = m->to = NULL;
    tn_tensor_free(d, &m->out);
    return rc;
}

static int unpack_format(tn_bench *b, tn_qtype type, bool nested, tn_error *err)
{
    char format[48];
    const bool small =
        b->dev->info.type == TN_DEVICE_CPU || b->level->largest < 1; /* packing it takes the host longer than all else */
    matrix m;
    snprintf(format, sizeof format, "%s%s", tn_qformats[type].name, nested ? "-double" : "");
    int rc = make_matrix(
        &m, b, (tn_qshape){.type = type, .rows = small ? 4096 : 8192, .cols = small ? 1024 : 4096, .nested = nested}, err);
    for (int t = 0; !rc && t < b->level->types; t++) rc = unpack_to(&m, (tn_dtype)t, format, err);
    matrix_free(&m);
    return rc;
}

/* Format k of those in 4 bits, double quantisation counting as one; false behind the last. */
static bool format_at(int k, tn_qtype *type, bool *nested)
{
    for (int t = 0; t < TN_Q_TYPES; t++)
        for (int twice = 0; tn_qformats[t].bits == 4 && twice <= tn_qformats[t].nestable; twice++) {
            *type = (tn_qtype)t;
            *nested = twice;
            if (!k--) return true;
        }
    return false;
}

int tn_bench_unpacking(tn_bench *b, tn_error *err)
{
    tn_qtype type = TN_Q_NF4;
    bool nested = false;
    int n = 0;
    while (format_at(n, &type, &nested)) n++;
    for (int k = 0; k < n; k++) {
        format_at(k, &type, &nested);
        if (tn_bench_has_time(b, k, n, tn_qformats[type].name)) TN_TRY(unpack_format(b, type, nested, err));
    }
    return 0;
}

/* ---- few tokens ---- */

static void expect_product(matrix *m, const float *x)
{
    const int N = m->out.cols, K = m->x.cols;
    const tn_ref_product r = {
        .tb = true, .M = m->out.rows, .N = N, .K = K, .alpha = 1, .A = x, .lda = K, .B = m->w, .ldb = K, .ldc = N};
    tn_ref_gemm(&r, m->want);
}

static int measure_few(matrix *m, tn_error *err)
{
    char id[96], name[96];
    const char *type = tn_dtype_name(m->x.dtype);
    const tn_qgemv_args args = {m->x, m->q, NULL, m->out};
    snprintf(id, sizeof id, "qgemv.%s.%dx%dx%d", type, m->x.rows, m->out.cols, m->x.cols);
    snprintf(name, sizeof name, "%s, %d token%s x nf4 %d x %d", type, m->x.rows, m->x.rows == 1 ? "" : "s", m->out.cols, m->x.cols);
    const tn_bench_job like = {.id = id,
                               .group = "few tokens",
                               .name = name,
                               .unit = "s",
                               .type = m->x.dtype,
                               .poison = poison,
                               .compare = compare,
                               .self = m};
    return tn_bench_rows(m->b, &tn_qgemv_op, &args, &like, err);
}

static int few(tn_bench *b, tn_dtype dt, int tokens, const int shape[2], tn_error *err)
{
    matrix m;
    float *x = NULL;
    int rc = make_matrix(&m, b, (tn_qshape){.type = TN_Q_NF4, .rows = shape[0], .cols = shape[1], .nested = true}, err);
    if (!rc) rc = tn_bench_random(&m.x, b->dev, dt, (const int[]){tokens, shape[1]}, &x, err);
    if (!rc) rc = tn_tensor_new(&m.out, b->dev, dt, tokens, shape[0], "a measurement", err);
    if (!rc) expect_product(&m, x);
    free(x);
    if (!rc) rc = measure_few(&m, err);
    matrix_free(&m);
    return rc;
}

int tn_bench_few_tokens(tn_bench *b, tn_error *err)
{
    static const int shapes[][2] = {{1536, 384}, {4096, 1024}}, tokens[] = {1, TN_QGEMV_ROWS};
    char what[64];
    const int n = (int)TN_COUNT(shapes) * b->level->types;
    for (int k = 0; k < n; k++) {
        const int *shape = shapes[k / b->level->types];
        const tn_dtype dt = (tn_dtype)(k % b->level->types);
        snprintf(what, sizeof what, "%s x nf4 %d x %d", tn_dtype_name(dt), shape[0], shape[1]);
        if (!tn_bench_has_time(b, k, n, what)) continue;
        for (size_t i = 0; i < TN_COUNT(tokens); i++) TN_TRY(few(b, dt, tokens[i], shape, err));
    }
    return 0;
}
