/* Products with their epilogues by every row. */
#include "ref.h"
#include "selftest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACT (t->act)
#define ERR (t->err)

static const int dims[3][3] = {{5, 9, 19}, {67, 33, 130}, {130, 75, 700}};

/** What one product asks for. */
typedef struct {
    bool ta, tb;
    float beta;
    bool float_b; /* B stays float32 */
    bool float_c; /* C is float32 */
    bool pieces;  /* rows of A and B begin at 16-byte multiples, in wider matrices */
    bool bias, pre, slope, scale, residual;
    int act; /* 1 + tn_fn */
    int parts, r;
    bool tb2;
    float drop_a, drop_b, drop_e;
    bool padded;  /* the [M, N] tensors are columns of wider ones */
    bool aligned; /* and begin at a multiple of eight elements */
    int batch;
    int M, N, K; /* 0: the trial's size */
} gemm_case_product;

/** How A, B and C are stored: as the kind that is checked has it, or activations times a weight. */
typedef struct {
    tn_dtype a, b, c;
} types;

static types types_of(const tn_trial *t, const gemm_case_product *p)
{
    const tn_gemm_args *like = t->like;
    return like ? (types){like->A.dtype, like->B.dtype, like->C.dtype}
                : (types){ACT, p->float_b ? TN_F32 : ACT, p->float_c ? TN_F32 : ACT};
}

/** Its tensors on the device and on the host. */
typedef struct {
    types y;
    tn_gemm_args g;
    tn_ref_product ref;
    tn_tensor *C, *pre;
    float *c, *c_want, *pre_host, *pre_want;
    int at; /* of the first column in the wide tensors */
} made;

/* A view of columns [at, at + N) of a new [M, W] tensor. */
static int wide(tn_trial *t, const made *m, tn_tensor *view, const float **host, tn_tensor **whole, float **values)
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

/* What dropout makes of host values. */
static void drop(const host_view *h, float p, uint32_t salt)
{
    const uint32_t seed = tn_hash_u32(TN_TRIAL_SEED, salt), threshold = tn_drop_threshold(p);
    for (int i = 0; p > 0 && i < h->rows * h->cols; i++) {
        float *v = &h->v[i / h->cols * h->ld + i % h->cols];
        *v = tn_draw16(seed, (uint32_t)i) >= threshold ? *v / (1 - p) : 0;
    }
}

static int make_vectors(tn_trial *t, const gemm_case_product *p, made *m)
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

static int make_pair(tn_trial *t, const gemm_case_product *p, made *m)
{
    tn_epilogue *e = &m->g.e;
    const int M = m->g.M, N = m->g.N, r = p->tb2 ? p->r : p->parts * p->r;
    if (!p->parts) return 0;
    e->parts = p->parts;
    e->tb2 = p->tb2;
    e->alpha2 = 0.75f;
    e->mask = (tn_mask){p->drop_e, 13};
    TN_TRY(dense(t, m->y.a, M, p->parts * p->r, &e->A2, &m->ref.A2));
    TN_TRY(dense(t, m->y.b, p->tb2 ? N : r, p->tb2 ? r : N, &e->B2, &m->ref.B2));
    m->ref.parts = p->parts, m->ref.r = r, m->ref.tb2 = p->tb2, m->ref.alpha2 = 0.75;
    float *keep = tn_trial_host(t, (size_t)M * (size_t)N);
    if (!keep) return tn_oom(ERR);
    for (int i = 0; i < M * N; i++) keep[i] = 1;
    drop(&(host_view){keep, M, N, N}, p->drop_e, 13);
    m->ref.keep = keep;
    return 0;
}

static int make_extras(tn_trial *t, const gemm_case_product *p, made *m)
{
    tn_epilogue *e = &m->g.e;
    TN_TRY(make_vectors(t, p, m));
    if (p->act) e->act = (tn_fn)(p->act - 1), m->ref.act = p->act;
    e->has_act = p->act && !p->slope;
    if (p->slope) TN_TRY(wide(t, m, &e->slope, &m->ref.slope, NULL, NULL));
    if (p->residual) TN_TRY(wide(t, m, &e->residual, &m->ref.residual, NULL, NULL));
    if (p->pre) TN_TRY(wide(t, m, &e->pre, NULL, &m->pre, &m->pre_host));
    return make_pair(t, p, m);
}

static int gemm_case_make(tn_trial *t, const gemm_case_product *p, made *m)
{
    const int M = p->M ? p->M : dims[t->size][0], N = p->N ? p->N : dims[t->size][1], K = p->K ? p->K : dims[t->size][2];
    *m = (made){.at = !p->padded ? 0 : p->aligned ? 8 : 3, .y = types_of(t, p)};
    const int W = !p->padded ? N : p->aligned ? N + 16 : N + 5;
    host_view a = {.rows = p->ta ? K : M, .cols = p->ta ? M : K}, b = {.rows = p->tb ? N : K, .cols = p->tb ? K : N};
    m->g = (tn_gemm_args){.ta = p->ta, .tb = p->tb, .alpha = 0.5f, .beta = p->beta, .M = M, .N = N, .K = K};
    TN_TRY(operand(t, m->y.a, p->pieces, &a, &m->g.A));
    TN_TRY(operand(t, m->y.b, p->pieces, &b, &m->g.B));
    drop(&a, p->drop_a, 11);
    drop(&b, p->drop_b, 12);
    m->g.mask_a = (tn_mask){p->drop_a, 11};
    m->g.mask_b = (tn_mask){p->drop_b, 12};
    m->ref = (tn_ref_product){.ta = p->ta, .tb = p->tb, .M = M, .N = N, .K = K, .alpha = 0.5, .beta = p->beta, .A = a.v, .B = b.v};
    m->ref.lda = a.ld, m->ref.ldb = b.ld, m->ref.ldc = W;
    TN_TRY(wide(t, m, &m->g.C, NULL, &m->C, &m->c));
    return make_extras(t, p, m);
}

static float *gemm_case_copy_of(tn_trial *t, const float *v, size_t n)
{
    float *w = tn_trial_host(t, n);
    if (w && v) memcpy(w, v, n * sizeof *w);
    return w;
}

/* Outputs as they were, or poisoned where nothing of them may be left. */
static int renew(tn_trial *t, const gemm_case_product *p, const made *m)
{
    if (t->c->dry) return 0;
    if (p->beta == 0 && !p->padded) TN_TRY(tn_trial_poison(t, m->C));
    else TN_TRY(tn_tensor_set(t->c->dev, m->C, m->c, ERR));
    if (!m->pre) return 0;
    return p->padded ? tn_tensor_set(t->c->dev, m->pre, m->pre_host, ERR) : tn_trial_poison(t, m->pre);
}

/* Beside the row in question, and where none is: the tail over the portable kernel. */
static int run_tail(tn_trial *t, const tn_gemm_args *g, bool *ran)
{
    tn_gemm_args all;
    const tn_forced *f = t->c->forced;
    *ran = !(f && f->op) && !tn_gemm_is_plain(g);
    if (!*ran) return 0;
    TN_TRY(tn_gemm_check(&all, g, ERR));
    return tn_gemm_tail(t->c, &all, tn_gemm_portable, ERR);
}

static int product_compare(tn_trial *t, const made *m)
{
    TN_TRY(tn_trial_compare(t, m->C, m->c_want));
    return m->pre ? tn_trial_compare(t, m->pre, m->pre_want) : 0;
}

static int product_check(tn_trial *t, const gemm_case_product *p, made *m)
{
    bool tail;
    const size_t n = tn_tensor_count(m->C);
    m->c_want = gemm_case_copy_of(t, m->c, n);
    if (m->pre) m->pre_want = m->ref.pre = gemm_case_copy_of(t, m->pre_host, n);
    if (!m->c_want || (m->pre && !m->pre_want)) return tn_oom(ERR);
    if (m->ref.pre) m->ref.pre += m->at;
    if (!t->c->dry) tn_ref_gemm(&m->ref, m->c_want + m->at);
    TN_TRY(renew(t, p, m));
    TN_TRY(tn_gemm_run(t->c, &m->g, ERR));
    TN_TRY(product_compare(t, m));
    TN_TRY(renew(t, p, m));
    TN_TRY(run_tail(t, &m->g, &tail));
    return tail ? product_compare(t, m) : 0;
}

static int product_one(tn_trial *t, const gemm_case_product *want)
{
    const tn_gemm_args *like = t->like;
    const int mark = t->n;
    gemm_case_product p = *want;
    made m;
    if (like && ACT != TN_F32) return 0; /* the kind's types are one and the same each time */
    if (like) p.ta = like->ta, p.tb = like->tb;
    TN_TRY(gemm_case_make(t, &p, &m));
    const int rc = tn_trial_wants(t, &tn_gemm_op, &m.g) ? product_check(t, &p, &m) : 0;
    tn_trial_rewind(t, mark);
    return rc;
}

static int products(tn_trial *t, const gemm_case_product *p, size_t n)
{
    for (size_t i = 0; i < n; i++) TN_TRY(product_one(t, &p[i]));
    return 0;
}

static int gemm_plain(tn_trial *t)
{
    static const gemm_case_product all[] = {
        {.beta = 1},
        {.tb = true, .bias = true, .float_b = true},
        {.ta = true, .beta = 1, .bias = true, .padded = true},
        {.ta = true, .tb = true, .padded = true},
    };
    return products(t, all, TN_COUNT(all));
}

static int gemm_epilogues(tn_trial *t)
{
    static const gemm_case_product all[] = {
        {.tb = true, .bias = true, .act = 1 + TN_GELU, .pre = true, .padded = true},
        {.tb = true, .act = 1 + TN_RELU, .scale = true, .residual = true},
        {.act = 1 + TN_SILU, .slope = true, .beta = 1, .padded = true},
        {.tb = true, .bias = true, .act = 1 + TN_SIGMOID, .pre = true, .scale = true, .residual = true, .beta = 1, .padded = true},
    };
    return products(t, all, TN_COUNT(all));
}

/* Adapters: three parts that fit the tiles, three that do not, one, and a gradient's. */
static int gemm_pairs(tn_trial *t)
{
    static const gemm_case_product all[] = {
        {.tb = true, .bias = true, .parts = 1, .r = 5, .tb2 = true, .padded = true},
        {.tb = true, .bias = true, .parts = 3, .r = 5, .tb2 = true, .N = 192, .act = 1 + TN_GELU, .pre = true, .residual = true},
        {.tb = true, .parts = 3, .r = 4, .tb2 = true, .float_b = true, .beta = 1},
        {.parts = 3, .r = 3, .drop_e = 0.3f, .act = 1 + TN_GELU, .slope = true, .padded = true},
        {.parts = 1, .r = 16, .float_b = true, .N = 64},
        {.parts = 2, .r = 9, .drop_e = 0.3f, .N = 106, .padded = true},
    };
    return products(t, all, TN_COUNT(all));
}

static int gemm_masks(tn_trial *t)
{
    static const gemm_case_product all[] = {
        {.tb = true, .drop_a = 0.3f, .float_b = true},
        {.ta = true, .drop_b = 0.4f, .beta = 1},
        {.ta = true, .tb = true, .drop_a = 0.2f, .drop_b = 0.5f, .padded = true},
        {.tb = true, .drop_a = 0.5f, .parts = 1, .r = 3, .tb2 = true, .drop_e = 0.5f},
    };
    return products(t, all, TN_COUNT(all));
}

/* Rows that begin at multiples of 16 bytes, as kernels for matrix units want them, with every end. The first size is little:
 * oclgrind runs it. */
static int tiles_of_every_end(tn_trial *t)
{
    const int M = t->size ? 67 + 64 * t->size : 5, k = t->size ? 9 : 3;
    const gemm_case_product all[] = {
        {.tb = true, .M = M, .N = 136, .K = 16 * k},
        {.tb = true, .bias = true, .act = 1 + TN_GELU, .M = M, .N = 136, .K = 24 * k, .padded = true, .aligned = true},
        {.tb = true, .bias = true, .act = 1 + TN_GELU, .pre = true, .M = M, .N = 72, .K = 24 * k, .padded = true, .aligned = true},
        {.tb = true, .bias = true, .scale = true, .residual = true, .M = M, .N = 264, .K = 16 * k, .padded = true, .aligned = true},
        {.tb = true, .bias = true, .parts = 3, .r = 16, .tb2 = true, .M = M, .N = 384, .K = 16 * k},
        {.tb = true, .parts = 1, .r = 8, .tb2 = true, .M = M, .N = 72, .K = 8 * k, .residual = true},
        {.M = M, .N = 200, .K = 16 * k},
        {.beta = 1, .scale = true, .M = M, .N = 200, .K = 16 * k},
        {.act = 1 + TN_GELU, .slope = true, .M = M, .N = 200, .K = 16 * k},
        {.parts = 3, .r = 16, .drop_e = 0.3f, .M = M, .N = 264, .K = 8 * k},
        {.parts = 1, .r = 16, .drop_e = 0.1f, .act = 1 + TN_GELU, .slope = true, .M = M, .N = 136, .K = 8 * k},
        {.ta = true, .beta = 1, .M = 1, .N = 64, .K = 300 + 1111 * t->size},
    };
    return products(t, all, TN_COUNT(all));
}

/* And more tiles than a device has units. */
static int gemm_tiles(tn_trial *t)
{
    static const gemm_case_product many[] = {
        {.tb = true, .M = 2600, .N = 904, .K = 72},
        {.tb = true, .bias = true, .act = 1 + TN_GELU, .pre = true, .parts = 1, .r = 16, .tb2 = true, .M = 2600, .N = 904, .K = 72},
        {.parts = 1, .r = 16, .drop_e = 0.1f, .act = 1 + TN_GELU, .slope = true, .M = 2600, .N = 904, .K = 72},
        {.M = 2600, .N = 904, .K = 136},
    };
    static const gemm_case_product plain[] = {{.tb = true, .bias = true, .M = 5, .N = 136, .K = 72},
                                              {.ta = true, .M = 1, .N = 64, .K = 300}};
    if (t->c->dev->caps & TN_CAP_CPU) return products(t, plain, TN_COUNT(plain)); /* other cases have the ends for its rows */
    TN_TRY(tiles_of_every_end(t));
    return t->size == 1 ? products(t, many, TN_COUNT(many)) : 0;
}

/* q, k and v with the rotary embedding at the product's end. */
static int gemm_turns(tn_trial *t)
{
    enum { BATCH = 2, HEADS = 2, WIDTH = 64, SKIP = 5 };
    const int tokens = SKIP + 12 + 20 * t->size;
    const gemm_case_product p = {
        .tb = true, .bias = true, .parts = 3, .r = 16, .tb2 = true, .M = BATCH * tokens, .N = 3 * HEADS * WIDTH, .K = 72};
    const tn_gemm_args *like = t->like;
    tn_tensor *table;
    float *turns, *want;
    made m;
    if (like && (ACT != TN_F32 || like->ta || !like->tb)) return 0;
    TN_TRY(gemm_case_make(t, &p, &m));
    TN_TRY(tn_trial_turns(t, tokens - SKIP, WIDTH, &table, &turns));
    m.g.e.turn = (tn_turn){*table, HEADS, SKIP, BATCH};
    if (!tn_trial_wants(t, &tn_gemm_op, &m.g)) return 0;
    if (!(want = gemm_case_copy_of(t, m.c, tn_tensor_count(m.C)))) return tn_oom(ERR);
    if (!t->c->dry) {
        tn_ref_gemm(&m.ref, want);
        tn_ref_rope(want, turns, BATCH, tokens, HEADS, WIDTH, SKIP, 1);
    }
    TN_TRY(tn_trial_poison(t, m.C));
    TN_TRY(tn_gemm_run(t->c, &m.g, ERR));
    return tn_trial_compare(t, m.C, want);
}

/* Products that are split along K: few outputs, a long sum; the epilogue stands behind the parts' sum. */
static int gemm_split(tn_trial *t)
{
    const int K = t->size == 0 ? 2052 : t->size == 1 ? 5000 : 20000;
    const gemm_case_product all[] = {
        {.ta = true, .M = 9, .N = 13, .K = K, .beta = 1, .drop_b = 0.1f},
        {.tb = true,
         .M = 9,
         .N = 16,
         .K = K,
         .bias = true,
         .act = 1 + TN_GELU,
         .pre = true,
         .residual = true,
         .parts = 1,
         .r = 3,
         .tb2 = true,
         .drop_e = 0.25f},
    };
    return products(t, all, TN_COUNT(all));
}

/* Thin on one side: few columns under a wide A, and few rows or columns as the sum over many. Rows in whole 16-byte pieces. */
static int gemm_thin(tn_trial *t)
{
    const int more = t->size * 190, K = t->size == 0 ? 72 : t->size == 1 ? 392 : 1032;
    const gemm_case_product all[] = {
        {.tb = true, .M = 37 + more, .N = 16, .K = K, .pieces = true, .drop_a = 0.3f},
        {.tb = true, .M = 37 + more, .N = 48, .K = K, .pieces = true, .bias = true, .padded = true},
        {.tb = true, .M = 101, .N = 3, .K = 40, .pieces = true, .float_c = true, .drop_a = 0.1f, .padded = true},
        {.M = 70 + more, .N = 16, .K = K, .pieces = true, .drop_a = 0.5f, .bias = true},
        {.M = 37 + more, .N = 59, .K = 64, .pieces = true, .float_c = true},
        {.ta = true, .M = 16, .N = 37 + more, .K = K + 5, .pieces = true, .float_c = true, .beta = 1, .drop_b = 0.3f},
        {.ta = true, .M = 48, .N = 136, .K = 6 * K, .pieces = true, .beta = 1, .drop_b = 0.2f, .padded = true},
        {.ta = true, .M = 133 + more, .N = 16, .K = 4 * K, .pieces = true, .float_c = true, .beta = 1},
        {.ta = true, .M = 70, .N = 141, .K = K, .pieces = true, .float_c = true, .bias = true},
        {.ta = true, .M = 20, .N = 3, .K = K, .pieces = true, .drop_b = 0.4f},
    };
    return products(t, all, TN_COUNT(all));
}

/* Three products at once: parts of one matrix on either side, as the adapters of q, k and v have it. */
static int batch_one(tn_trial *t, const gemm_case_product *p)
{
    enum { BATCH = 3 };
    const bool ta = p->ta, tb = p->tb;
    const float beta = p->beta;
    const tn_gemm_args *like = t->like;
    const types y = types_of(t, p);
    if (like && (ACT != TN_F32 || like->ta != ta || like->tb != tb)) return 0;
    const int M = p->M ? p->M : 7, N = p->N ? p->N : 5 + 13 * t->size, K = p->K, mark = t->n;
    tn_tensor *A, *B, *C;
    float *a, *b, *c;
    TN_TRY(tn_trial_in(t, y.a, ta ? K : M, BATCH * (ta ? M : K), &A, &a));
    TN_TRY(tn_trial_in(t, y.b, BATCH * (tb ? N : K), tb ? K : N, &B, &b));
    TN_TRY(tn_trial_in(t, y.c, M, BATCH * N, &C, &c));
    float *want = gemm_case_copy_of(t, c, tn_tensor_count(C));
    if (!want) return tn_oom(ERR);
    const int wa = ta ? M : K, hb = tb ? N : K;
    tn_gemm_args g = {.ta = ta, .tb = tb, .alpha = 0.5f, .beta = beta, .M = M, .N = N, .K = K, .batch = BATCH};
    g.A = tn_cols(*A, 0, wa), g.B = tn_rows(*B, 0, hb), g.C = tn_cols(*C, 0, N);
    g.a_step = (size_t)wa, g.b_step = (size_t)hb * (size_t)B->cols, g.c_step = (size_t)N;
    for (int i = 0; i < BATCH && !t->c->dry; i++)
        tn_ref_gemm(&(tn_ref_product){.ta = ta,
                                      .tb = tb,
                                      .M = M,
                                      .N = N,
                                      .K = K,
                                      .alpha = 0.5,
                                      .beta = beta,
                                      .A = a + i * wa,
                                      .lda = BATCH * wa,
                                      .B = b + i * hb * B->cols,
                                      .ldb = B->cols,
                                      .ldc = BATCH * N},
                    want + i * N);
    if (tn_trial_wants(t, &tn_gemm_op, &g)) {
        bool tail;
        if (!t->c->dry) TN_TRY(tn_tensor_set(t->c->dev, C, c, ERR));
        TN_TRY(tn_gemm_run(t->c, &g, ERR));
        TN_TRY(tn_trial_compare(t, C, want));
        if (!t->c->dry) TN_TRY(tn_tensor_set(t->c->dev, C, c, ERR));
        TN_TRY(run_tail(t, &g, &tail));
        if (tail) TN_TRY(tn_trial_compare(t, C, want));
    }
    tn_trial_rewind(t, mark);
    return 0;
}

static int gemm_batch(tn_trial *t)
{
    const int K = t->size ? 4100 : 37; /* the first size stays short: oclgrind takes minutes for the long one */
    const gemm_case_product all[] = {
        {.K = 21, .float_b = true, .float_c = true},
        {.tb = true, .K = 33, .beta = 1, .float_b = true, .float_c = true},
        {.ta = true, .tb = true, .K = 17, .float_b = true, .float_c = true},
        {.ta = true, .K = K, .beta = 1, .float_b = true, .float_c = true},
        {.M = 37, .N = 16, .K = 72}, /* from here on rows come in whole 16-byte pieces */
        {.tb = true, .M = 37, .N = 16, .K = 40, .float_c = true},
        {.ta = true, .M = 136, .N = 16, .K = K, .beta = 1, .float_c = true},
    };
    for (size_t i = 0; i < TN_COUNT(all); i++) TN_TRY(batch_one(t, &all[i]));
    return 0;
}

const tn_case tn_cases_gemm[] = {
    {"gemm", gemm_plain, false, {&tn_gemm_op}},
    {"gemm epilogues", gemm_epilogues, false, {&tn_gemm_op}},
    {"gemm second pair", gemm_pairs, false, {&tn_gemm_op}},
    {"gemm dropout", gemm_masks, false, {&tn_gemm_op}},
    {"gemm tiles", gemm_tiles, false, {&tn_gemm_op}},
    {"gemm turned", gemm_turns, false, {&tn_gemm_op}},
    {"gemm split along K", gemm_split, false, {&tn_gemm_op}},
    {"gemm thin", gemm_thin, false, {&tn_gemm_op}},
    {"gemm batch", gemm_batch, false, {&tn_gemm_op}},
    {0},
};
