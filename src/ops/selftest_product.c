/* One product with everything that may stand at its end. */
#include "selftest_product.h"

#include <stdlib.h>

#define ACT (t->act)
#define ERR (t->err)

static const int dims[3][3] = {{5, 9, 19}, {67, 33, 130}, {130, 75, 700}};

tn_product_types tn_product_types_of(const tn_trial *t, const tn_product_case *p)
{
    const tn_gemm_args *like = t->like;
    const tn_dtype b = p->float_b ? TN_F32 : ACT;
    return like ? (tn_product_types){like->A.dtype, like->B.dtype, like->C.dtype, like->e.A2.dtype, like->e.B2.dtype}
                : (tn_product_types){ACT, b, p->float_c ? TN_F32 : ACT, ACT, b};
}

/* A view of columns [at, at + N) of a new [M, W] tensor. */
static int wide(tn_trial *t, const tn_product *m, tn_tensor *view, const float **host, tn_tensor **whole, float **values)
{
    tn_tensor *x;
    float *h;
    TN_TRY(tn_trial_in(t, m->y.c, m->g.M, m->ref.ldc, &x, &h));
    *view = tn_cols(*x, m->at, m->g.N);
    if (host) *host = h + m->at;
    if (whole) *whole = x;
    if (values) *values = h;
    return 0;
}

static int dense(tn_trial *t, tn_dtype dt, int rows, int cols, tn_tensor *view, const float **host)
{
    tn_tensor *x;
    float *h;
    TN_TRY(tn_trial_in(t, dt, rows, cols, &x, &h));
    *view = *x;
    *host = h;
    return 0;
}

/** An operand on the host, as it lies. */
typedef struct {
    float *v;
    int rows, cols, ld;
} host_view;

/* A or B: dense, or columns of a wider matrix. */
static int operand(tn_trial *t, tn_dtype dt, bool pieces, host_view *h, tn_tensor *view)
{
    const int at = pieces ? 8 : 0;
    tn_tensor *x;
    h->ld = pieces ? TN_ROUND_UP(h->cols, 8) + 16 : h->cols;
    TN_TRY(tn_trial_in(t, dt, h->rows, h->ld, &x, &h->v));
    h->v += at;
    *view = tn_cols(*x, at, h->cols);
    return 0;
}

void tn_product_drop(float *values, int rows, int cols, int ld, tn_mask m)
{
    const uint32_t seed = tn_hash_u32(TN_TRIAL_SEED, m.salt), threshold = tn_drop_threshold(m.p);
    for (int i = 0; m.p > 0 && i < rows * cols; i++) {
        float *v = &values[i / cols * ld + i % cols];
        *v = tn_keeps(seed, (uint32_t)i, threshold) ? *v / (1 - m.p) : 0;
    }
}

static void drop(const host_view *h, float p, uint32_t salt)
{
    tn_product_drop(h->v, h->rows, h->cols, h->ld, (tn_mask){p, salt});
}

/* The i-th part of B's rows, on the device and as it is unpacked. */
static int quantise_part(tn_trial *t, const tn_product_case *p, tn_product *m, int i, float *v)
{
    const int rows = m->g.B.rows / p->quantised, cols = m->g.B.cols;
    tn_qshape s = {.type = p->format ? (tn_qtype)(p->format - 1) : TN_Q_NF4, .rows = rows, .cols = cols, .nested = p->nested};
    tn_qmatrix q;
    float *own = v + (size_t)i * (size_t)rows * (size_t)cols;
    TN_TRY(tn_qblock(&s.block, s.type, 0, cols, "B", ERR));
    TN_TRY(tn_quantize(&q, own, &s, "B", ERR));
    tn_dequantize(&q, own);
    for (size_t k = 0; k < (size_t)rows * (size_t)cols; k++) own[k] = tn_rounded(own[k], m->y.a);
    int rc = tn_qtensor_new(&m->q[i], t->c->dev, &s, NULL, ERR);
    if (!rc) rc = tn_qtensor_set(&m->q[i], t->c->dev, &q, ERR);
    tn_qmatrix_free(&q);
    return rc;
}

/* B, which is dense in b, as quantised matrices under each other. */
static int quantise(tn_trial *t, const tn_product_case *p, tn_product *m, const host_view *b)
{
    const tn_qtensor *const q[TN_UNPACK_PARTS] = {&m->q[0], &m->q[1], &m->q[2]};
    for (int i = 0; i < p->quantised; i++) TN_TRY(quantise_part(t, p, m, i, b->v));
    if (p->quantised) tn_gemm_quantised(&m->g, q, p->quantised);
    return 0;
}

static int make_vectors(tn_trial *t, const tn_product_case *p, tn_product *m)
{
    tn_tensor v;
    if (p->bias) {
        TN_TRY(dense(t, TN_F32, 1, m->g.N, &v, &m->ref.bias));
        m->g.e.bias = v.mem;
    }
    if (p->scale) {
        TN_TRY(dense(t, TN_F32, 1, m->g.N, &v, &m->ref.scale));
        m->g.e.scale = v.mem;
    }
    return 0;
}

static int make_pair(tn_trial *t, const tn_product_case *p, tn_product *m)
{
    tn_epilogue *e = &m->g.e;
    const int M = m->g.M, N = m->g.N, r = p->tb2 ? p->r : p->parts * p->r;
    if (!p->parts) return 0;
    e->parts = p->parts;
    e->tb2 = p->tb2;
    e->alpha2 = t->size ? 1 : 0.75f; /* to alpha a power of two, and not: units of bfloat16 take it in two ways */
    e->mask = (tn_mask){p->drop_e, 13};
    TN_TRY(dense(t, m->y.a2, M, p->parts * p->r, &e->A2, &m->ref.A2));
    TN_TRY(dense(t, m->y.b2, p->tb2 ? N : r, p->tb2 ? r : N, &e->B2, &m->ref.B2));
    m->ref.parts = p->parts, m->ref.r = r, m->ref.tb2 = p->tb2, m->ref.alpha2 = e->alpha2;
    float *keep = tn_trial_host(t, (size_t)M * (size_t)N);
    if (!keep) return tn_oom(ERR);
    for (int i = 0; i < M * N; i++) keep[i] = 1;
    drop(&(host_view){keep, M, N, N}, p->drop_e, 13);
    m->ref.keep = keep;
    return 0;
}

static int make_extras(tn_trial *t, const tn_product_case *p, tn_product *m)
{
    tn_epilogue *e = &m->g.e;
    TN_TRY(make_vectors(t, p, m));
    if (p->act) e->act = (tn_fn)(p->act - 1), m->ref.act = p->act;
    e->has_act = p->act && !p->slope;
    e->pre_slope = p->pre_slope, e->slope_ready = p->ready;
    m->ref.pre_slope = p->pre_slope, m->ref.slope_ready = p->ready;
    if (p->slope) TN_TRY(wide(t, m, &e->slope, &m->ref.slope, NULL, NULL));
    if (p->residual) TN_TRY(wide(t, m, &e->residual, &m->ref.residual, NULL, NULL));
    if (p->pre) TN_TRY(wide(t, m, &e->pre, NULL, &m->pre, &m->pre_host));
    return make_pair(t, p, m);
}

int tn_product_bits(tn_trial *t, tn_gemm_args *g, tn_mask m, int rows, int cols)
{
    tn_tensor *words;
    TN_TRY(tn_trial_out(t, TN_F32, 1, (int)tn_bits_words(rows, cols) / 2, &words));
    g->bits = words->mem, g->drawn = 1;
    return tn_dropout_bits(t->c, &(tn_bits){.rows = rows, .n = 1, .p = m.p, .cols = {cols}, .salt = {m.salt}}, words, ERR);
}

static int make_bits(tn_trial *t, const tn_product_case *p, tn_gemm_args *g)
{
    if (!p->bits) return 0;
    if (p->drop_a > 0) return tn_product_bits(t, g, g->mask_a, g->A.rows, g->A.cols);
    if (p->drop_b > 0) return tn_product_bits(t, g, g->mask_b, g->B.rows, g->B.cols);
    return tn_product_bits(t, g, g->e.mask, g->M, g->N);
}

int tn_product_make(tn_trial *t, const tn_product_case *p, tn_product *m)
{
    const int M = p->M ? p->M : dims[t->size][0], N = p->N ? p->N : dims[t->size][1], K = p->K ? p->K : dims[t->size][2];
    *m = (tn_product){.at = !p->padded ? 0 : p->aligned ? 8 : 3, .y = tn_product_types_of(t, p)};
    const int W = !p->padded ? N : p->aligned ? N + 16 : N + 5;
    host_view a = {.rows = p->ta ? K : M, .cols = p->ta ? M : K}, b = {.rows = p->tb ? N : K, .cols = p->tb ? K : N};
    m->g =
        (tn_gemm_args){.ta = p->ta, .tb = p->tb, .alpha = p->alpha != 0 ? p->alpha : 0.5f, .beta = p->beta, .M = M, .N = N, .K = K};
    TN_TRY(operand(t, m->y.a, p->pieces, &a, &m->g.A));
    TN_TRY(operand(t, m->y.b, p->pieces, &b, &m->g.B));
    drop(&a, p->drop_a, 11);
    drop(&b, p->drop_b, 12);
    TN_TRY(quantise(t, p, m, &b));
    m->g.mask_a = (tn_mask){p->drop_a, 11};
    m->g.mask_b = (tn_mask){p->drop_b, 12};
    m->ref = (tn_ref_product){
        .ta = p->ta, .tb = p->tb, .M = M, .N = N, .K = K, .alpha = (double)m->g.alpha, .beta = p->beta, .A = a.v, .B = b.v};
    m->ref.lda = a.ld, m->ref.ldb = b.ld, m->ref.ldc = W;
    TN_TRY(wide(t, m, &m->g.C, NULL, &m->C, &m->c));
    TN_TRY(make_extras(t, p, m));
    return make_bits(t, p, &m->g);
}

/* Outputs as they were, or poisoned where nothing of them may be left. */
static int renew(tn_trial *t, const tn_product_case *p, const tn_product *m)
{
    if (t->c->dry) return 0;
    if (p->beta == 0 && !p->padded) TN_TRY(tn_trial_poison(t, m->C));
    else TN_TRY(tn_tensor_set(t->c->dev, m->C, m->c, ERR));
    if (!m->pre) return 0;
    return p->padded ? tn_tensor_set(t->c->dev, m->pre, m->pre_host, ERR) : tn_trial_poison(t, m->pre);
}

int tn_product_tail(tn_trial *t, const tn_gemm_args *g, bool *ran)
{
    tn_gemm_args all;
    const tn_forced *f = t->c->forced;
    *ran = !(f && f->op) && !tn_gemm_is_plain(g) && !g->n_q;
    if (!*ran) return 0;
    TN_TRY(tn_gemm_check(&all, g, ERR));
    return tn_gemm_tail(t->c, &all, tn_gemm_portable, ERR);
}

static int product_compare(tn_trial *t, const tn_product *m)
{
    TN_TRY(tn_trial_compare(t, m->C, m->c_want));
    return m->pre ? tn_trial_compare(t, m->pre, m->pre_want) : 0;
}

static int product_check(tn_trial *t, const tn_product_case *p, tn_product *m)
{
    bool tail;
    const size_t n = tn_tensor_count(m->C);
    m->c_want = tn_trial_copy(t, m->c, n);
    if (m->pre) m->pre_want = m->ref.pre = tn_trial_copy(t, m->pre_host, n);
    if (!m->c_want || (m->pre && !m->pre_want)) return tn_oom(ERR);
    if (m->ref.pre) m->ref.pre += m->at;
    if (!t->c->dry) tn_ref_gemm(&m->ref, m->c_want + m->at);
    TN_TRY(renew(t, p, m));
    TN_TRY(tn_gemm_run(t->c, &m->g, ERR));
    TN_TRY(product_compare(t, m));
    TN_TRY(renew(t, p, m));
    TN_TRY(tn_product_tail(t, &m->g, &tail));
    return tail ? product_compare(t, m) : 0;
}

int tn_product_one(tn_trial *t, const tn_product_case *p)
{
    const int mark = t->n;
    tn_product m;
    int rc = tn_product_make(t, p, &m);
    if (!rc && tn_trial_wants(t, &tn_gemm_op, &m.g)) rc = product_check(t, p, &m);
    for (int i = 0; i < TN_UNPACK_PARTS; i++) tn_qtensor_free(&m.q[i], t->c->dev);
    tn_trial_rewind(t, mark);
    return rc;
}

/* ---- like another ---- */

/* n, or less of the same rest by 64, which decides what fits the tiles. */
static int reduced(int n, int most)
{
    return n <= most ? n : most - 64 + n % 64;
}

static int less_odd(int n)
{
    return n > 32 ? n - 3 : n;
}

void tn_product_sizes_alike(const tn_trial *t, int *M, int *N, int *K)
{
    const tn_gemm_args *like = t->like;
    const int parts = like->e.parts && like->e.tb2 ? like->e.parts : 1;
    const bool sum = like->K >= TN_LONG_SUM, tiles = !sum && t->size && !(t->c->dev->caps & TN_CAP_CPU); /* more than units */
    *M = like->M <= 8     ? like->M
         : tiles          ? TN_MIN(like->M, 2600)
         : like->M <= 128 ? TN_MIN(like->M, t->size ? 101 : 45)
         : t->size        ? 197
                          : 141; /* on the side of 128 where kernels for CPUs take another way */
    *N = parts * reduced(like->N / parts, tiles ? TN_ROUND_UP(832 / parts, 64) : 192);
    *K = sum ? TN_LONG_SUM + 64 + like->K % 64 : reduced(like->K, 192);
    if (t->size) return;
    if (parts == 1 && !sum) *N = less_odd(*N);
    *K = less_odd(*K);
}

int tn_product_alike(tn_trial *t)
{
    const tn_gemm_args *g = t->like;
    const tn_epilogue *e = &g->e;
    const bool whole = t->size > 0;
    if (ACT != TN_F32 || g->batch > 1 || e->turn.heads) return 0; /* the kind's types are one and the same each time */
    tn_product_case p = {.ta = g->ta,
                         .tb = g->tb,
                         .alpha = g->alpha == 1,
                         .beta = g->beta != 0,
                         .pieces = whole,
                         .bias = e->bias != NULL,
                         .pre = e->pre.rows > 0,
                         .pre_slope = e->pre_slope,
                         .slope = e->slope.rows > 0,
                         .ready = e->slope_ready,
                         .scale = e->scale != NULL,
                         .residual = e->residual.rows > 0,
                         .act = e->has_act || e->slope.rows ? 1 + (int)e->act : 0,
                         .parts = e->parts,
                         .r = e->parts ? tn_gemm_rank(e) / (e->tb2 ? 1 : e->parts) : 0,
                         .tb2 = e->tb2,
                         .drop_a = g->mask_a.p,
                         .drop_b = g->mask_b.p,
                         .drop_e = e->mask.p,
                         .padded = !whole && g->K < TN_LONG_SUM};
    tn_product_sizes_alike(t, &p.M, &p.N, &p.K);
    return tn_product_one(t, &p);
}
