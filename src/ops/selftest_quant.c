/* Quantised matrices on the device against the host. */
#include "args.h"
#include "quant.h"
#include "ref.h"
#include "selftest.h"

#include <math.h>
#include <string.h>

#define ACT (t->act)
#define ERR (t->err)

/* Quantised on the device: the host's bytes, and the host's values, rounded to the storage, to the bit, when unpacked. */
static int quant_one(tn_trial *t, const tn_qshape *s)
{
    const int mark = t->n;
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    const tn_unpack_args args = {.q = {.s = *s}, .out = {.dtype = ACT}};
    if (!tn_trial_wants(t, &tn_unpack_op, &args)) return 0;
    float *w = tn_trial_host(t, n), *want = tn_trial_host(t, n);
    tn_tensor *out;
    if (!w || !want) return tn_oom(ERR);
    for (size_t i = 0; i < n; i++) w[i] = (float)tn_rng_normal(&t->rng);
    TN_TRY(tn_trial_out(t, ACT, s->rows, s->cols, &out));
    tn_qmatrix q, made = {0};
    tn_qtensor d;
    TN_TRY(tn_quantize(&q, w, s, "w", ERR));
    tn_dequantize(&q, want);
    for (size_t i = 0; i < n; i++) want[i] = tn_rounded(want[i], ACT);
    int rc = tn_qtensor_new(&d, t->c->dev, s, NULL, ERR);
    if (!rc && t->c->dev->untouched) rc = tn_qtensor_set(&d, t->c->dev, &q, ERR); /* host writes would hide kernels' */
    else if (!rc && !t->c->dry) rc = tn_qtensor_quantize(t->c, &d, w, "w", ERR);
    if (!rc) rc = tn_unpack(t->c, &d, out, ERR);
    if (!rc) rc = tn_trial_compare(t, out, want);
    if (t->error > 0) t->worst = NAN;
    if (!rc && !t->c->dry) rc = tn_qtensor_get(&d, t->c->dev, &made, ERR);
    if (!rc && !t->c->dry && memcmp(made.packed, q.packed, tn_qpacked_bytes(s))) t->worst = NAN;
    tn_qmatrix_free(&made);
    tn_qtensor_free(&d, t->c->dev);
    tn_qmatrix_free(&q);
    tn_trial_rewind(t, mark);
    return rc;
}

static int add_part(tn_trial *t, const tn_qshape *s, tn_qtensor *d, float *w, float *want)
{
    tn_qmatrix q;
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    for (size_t i = 0; i < n; i++) w[i] = (float)tn_rng_normal(&t->rng);
    TN_TRY(tn_quantize(&q, w, s, "w", ERR));
    tn_dequantize(&q, want);
    int rc = tn_qtensor_new(d, t->c->dev, s, NULL, ERR);
    if (!rc) rc = tn_qtensor_set(d, t->c->dev, &q, ERR);
    tn_qmatrix_free(&q);
    return rc;
}

/* n matrices under each other by one launch. */
static int parts_of(tn_trial *t, const tn_qshape *s, int n)
{
    const int mark = t->n;
    const size_t one = (size_t)s->rows * (size_t)s->cols, all = one * (size_t)n;
    const tn_unpack_args args = {.q = {.s = *s}, .out = {.dtype = ACT}, .n_more = n - 1};
    if (!tn_trial_wants(t, &tn_unpack_op, &args)) return 0;
    float *w = tn_trial_host(t, one), *want = tn_trial_host(t, all);
    tn_tensor *out;
    tn_qtensor d[TN_UNPACK_PARTS] = {0};
    const tn_qtensor *const q[TN_UNPACK_PARTS] = {&d[0], &d[1], &d[2]};
    if (!w || !want) return tn_oom(ERR);
    TN_TRY(tn_trial_out(t, ACT, n * s->rows, s->cols, &out));
    int rc = 0;
    for (int i = 0; !rc && i < n; i++) rc = add_part(t, s, &d[i], w, want + (size_t)i * one);
    for (size_t i = 0; i < all; i++) want[i] = tn_rounded(want[i], ACT);
    if (!rc) rc = tn_unpack_parts(t->c, q, n, out, ERR);
    if (!rc) rc = tn_trial_compare(t, out, want);
    if (t->error > 0) t->worst = NAN;
    for (int i = 0; i < n; i++) tn_qtensor_free(&d[i], t->c->dev);
    tn_trial_rewind(t, mark);
    return rc;
}

/* n matrices as an operand, and the host's bits in every place of it. */
static int operand_one(tn_trial *t, const tn_qshape *s, int n, tn_qoperand to)
{
    const int mark = t->n;
    const size_t one = (size_t)s->rows * (size_t)s->cols, count = tn_qoperand_count(s, n, to);
    const tn_dtype act = ACT == TN_F32 ? TN_BF16 : ACT; /* operands are of 16 bits */
    float *w = tn_trial_host(t, one), *all = tn_trial_host(t, one * (size_t)n), *want = tn_trial_host(t, count);
    tn_tensor *out;
    tn_qtensor d[TN_UNPACK_PARTS] = {0};
    const tn_qtensor *const q[TN_UNPACK_PARTS] = {&d[0], &d[1], &d[2]};
    if (!w || !all || !want) return tn_oom(ERR);
    TN_TRY(tn_trial_out(t, act, 1, (int)count, &out));
    int rc = 0;
    for (int i = 0; !rc && i < n; i++) rc = add_part(t, s, &d[i], w, all + (size_t)i * one);
    tn_ref_operand(all, n * s->rows, s->cols, to.turned, to.lanes, want);
    for (size_t i = 0; i < count; i++) want[i] = tn_rounded(want[i], act);
    if (!rc) rc = tn_unpack_operand(t->c, q, n, to, out, ERR);
    if (!rc) rc = tn_trial_compare(t, out, want);
    if (t->error > 0) t->worst = NAN;
    for (int i = 0; i < n; i++) tn_qtensor_free(&d[i], t->c->dev);
    tn_trial_rewind(t, mark);
    return rc;
}

/* Every format, and every operand; every format as every operand where nothing is to be left out. Sizes off the blocks where the
 * format has rows of such. */
static int operands(tn_trial *t)
{
    static const tn_qoperand to[] = {{true, 0}, {false, 8}, {true, 8}, {false, 16}, {true, 16}};
    static const int sizes[3][3] = {{8, 24, 64}, {40, 104, 192}, {136, 328, 384}}; /* rows; columns, and of whole blocks */
    for (int k = 0; k < 2 * TN_Q_TYPES; k++)
        for (int l = 0; l < (int)TN_COUNT(to); l++) {
            const tn_qtype type = (tn_qtype)(k / 2);
            tn_qshape s = {.type = type, .rows = sizes[t->size][0], .cols = sizes[t->size][1], .nested = k % 2 != 0};
            if (k % 2 && !tn_qformats[type].nestable) continue;
            if (!t->all && (l != k % (int)TN_COUNT(to) || (ACT == TN_F32 ? k > 2 : tn_trial_skips(t, k)))) continue;
            if (!tn_qdivides(type, 0, s.cols)) s.cols = sizes[t->size][2];
            TN_TRY(tn_qblock(&s.block, type, 0, s.cols, "w", ERR));
            TN_TRY(operand_one(t, &s, 1 + (k + l) % TN_UNPACK_PARTS, to[l]));
        }
    return 0;
}

/* A matrix in the format, nesting and block of the one that is asked about: of several blocks a row, where a block is not a row. */
static tn_qshape shape_like(const tn_trial *t, const tn_qshape *like)
{
    tn_qshape s = *like;
    s.rows = t->size ? 67 : 9;
    s.cols = tn_qformats[s.type].min_block ? TN_MAX(like->block, 64) * (t->size ? 3 : 1) : like->block;
    return s;
}

static int quant(tn_trial *t)
{
    static const int sizes[3][3][2] = {
        {{5, 23}, {3, 64}, {2, 96}}, {{33, 67}, {31, 128}, {9, 32}}, {{130, 517}, {257, 384}, {64, 1536}}};
    const tn_unpack_args *like = t->like;
    if (like) {
        const tn_qshape s = shape_like(t, &like->q.s);
        return like->n_more ? parts_of(t, &s, 1 + like->n_more) : quant_one(t, &s);
    }
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 2 * TN_Q_TYPES; k++) {
            const tn_qtype type = (tn_qtype)(k / 2);
            const int *size = sizes[t->size][i];
            tn_qshape s = {.type = type, .rows = size[0], .cols = size[1], .nested = k % 2 && tn_qformats[type].nestable};
            if (!tn_qdivides(type, 0, s.cols) || tn_trial_repeats(t, k)) continue;
            TN_TRY(tn_qblock(&s.block, type, 0, s.cols, "w", ERR));
            TN_TRY(quant_one(t, &s));
            if (i == k % 3) TN_TRY(parts_of(t, &s, 2 + k % 2));
        }
    return 0;
}

/* The product with few tokens against the reference on unpacked weights. */
static int qgemv_one(tn_trial *t, const tn_qshape *s, int rows)
{
    const int N = s->rows, K = s->cols, mark = t->n;
    const tn_qgemv_args args = {.x = {.dtype = ACT, .rows = rows}, .q = {.s = *s}, .y = {.dtype = ACT}};
    if (!tn_trial_wants(t, &tn_qgemv_op, &args)) return 0;
    float *hx, *hb, *w = tn_trial_host(t, (size_t)N * (size_t)K), *want = tn_trial_host(t, (size_t)N * TN_QGEMV_ROWS);
    tn_tensor *x, *b, *y;
    if (!w || !want) return tn_oom(ERR);
    for (int i = 0; i < N * K; i++) w[i] = (float)tn_rng_normal(&t->rng);
    TN_TRY(tn_trial_in(t, ACT, rows, K, &x, &hx));
    TN_TRY(tn_trial_in(t, TN_F32, 1, N, &b, &hb));
    TN_TRY(tn_trial_out(t, ACT, rows, N, &y));
    tn_qmatrix q;
    tn_qtensor d;
    TN_TRY(tn_quantize(&q, w, s, "w", ERR));
    tn_dequantize(&q, w);
    int rc = tn_qtensor_new(&d, t->c->dev, s, NULL, ERR);
    if (!rc) rc = tn_qtensor_set(&d, t->c->dev, &q, ERR);
    for (int bias = 0; !rc && bias < 2; bias++) {
        rc = tn_trial_poison(t, y);
        if (!rc) rc = tn_qgemv(t->c, x, &d, bias ? b->mem : NULL, *y, ERR);
        if (!rc && !t->c->dry)
            tn_ref_gemm(&(tn_ref_product){.tb = true,
                                          .M = rows,
                                          .N = N,
                                          .K = K,
                                          .alpha = 1,
                                          .A = hx,
                                          .lda = K,
                                          .B = w,
                                          .ldb = K,
                                          .ldc = N,
                                          .bias = bias ? hb : NULL},
                        want);
        if (!rc) rc = tn_trial_compare(t, y, want);
    }
    tn_qtensor_free(&d, t->c->dev);
    tn_qmatrix_free(&q);
    tn_trial_rewind(t, mark);
    return rc;
}

/* Every number of tokens is a program of its own: the ends for each format, one between them for one. */
static int qgemv(tn_trial *t)
{
    static const int sizes[3][2] = {{7, 64}, {33, 192}, {65, 1536}};
    const tn_qgemv_args *like = t->like;
    if (like) {
        const tn_qshape s = shape_like(t, &like->q.s);
        return qgemv_one(t, &s, like->x.rows);
    }
    for (int k = 0; k < TN_Q_TYPES; k++) {
        if (tn_trial_repeats(t, k)) continue;
        tn_qshape s = {
            .type = (tn_qtype)k, .rows = sizes[t->size][0], .cols = sizes[t->size][1], .nested = tn_qformats[k].nestable};
        TN_TRY(tn_qblock(&s.block, s.type, 0, s.cols, "w", ERR));
        TN_TRY(qgemv_one(t, &s, 1));
        if (!k || !tn_trial_is_little(t)) TN_TRY(qgemv_one(t, &s, TN_QGEMV_ROWS));
        if (k == TN_Q_NF4) TN_TRY(qgemv_one(t, &s, 3));
    }
    return 0;
}

const tn_case tn_cases_quant[] = {
    {"quantised weights", quant, false, {&tn_unpack_op}},
    {"quantised operands", operands, false, {NULL}},
    {"quantised product", qgemv, false, {&tn_qgemv_op}},
    {0},
};
