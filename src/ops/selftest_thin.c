/* LayerNorm with the thin product of what it writes, and the two thin products of a gradient. */
#include "layernorm_thin.h"
#include "selftest_product.h"
#include "thin_both.h"

#define ACT (t->act)
#define ERR (t->err)

typedef struct {
    int rows, cols, N;
    float p;
    bool adds, scaled, bits; /* bits: the draws are read */
} thin_case;

/* The tensors and what the host has of them. */
typedef struct {
    tn_tensor *x, *gamma, *beta, *scale, *dy, *y, *stats, *dx, *scaled, *A, *B, *T, *dt;
    float *hx, *hgamma, *hbeta, *hscale, *hdy, *hdx, *hA, *hB, *wide, *thin, *rest;
} thin_data;

static int thin_draw(tn_trial *t, const thin_case *k, thin_data *d)
{
    const int R = k->rows, C = k->cols, N = k->N;
    TN_TRY(tn_trial_in(t, ACT, R, C, &d->x, &d->hx));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &d->gamma, &d->hgamma));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &d->beta, &d->hbeta));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &d->scale, &d->hscale));
    TN_TRY(tn_trial_in(t, ACT, R, C, &d->dy, &d->hdy));
    TN_TRY(tn_trial_in(t, ACT, R, C, &d->dx, &d->hdx));
    TN_TRY(tn_trial_in(t, ACT, N, C, &d->A, &d->hA));
    TN_TRY(tn_trial_in(t, ACT, C, N, &d->B, &d->hB));
    TN_TRY(tn_trial_out(t, ACT, R, C, &d->y));
    TN_TRY(tn_trial_out(t, TN_F32, R, 2, &d->stats));
    TN_TRY(tn_trial_out(t, ACT, R, C, &d->scaled));
    TN_TRY(tn_trial_out(t, ACT, R, N, &d->T));
    TN_TRY(tn_trial_out(t, ACT, R, N, &d->dt));
    d->wide = tn_trial_host(t, (size_t)R * (size_t)C), d->thin = tn_trial_host(t, (size_t)R * (size_t)N);
    d->rest = tn_trial_host(t, 2 * (size_t)C);
    return d->wide && d->thin && d->rest ? 0 : tn_oom(ERR);
}

/* d->thin = alpha wide B, of what the device has stored. */
static void thin_product(const tn_trial *t, const thin_case *k, const thin_data *d, bool tb, double alpha)
{
    for (int i = 0; i < k->rows * k->cols; i++) d->wide[i] = tn_rounded(d->wide[i], ACT);
    tn_product_drop(d->wide, k->rows, k->cols, k->cols, (tn_mask){tb ? k->p : 0, 5});
    tn_ref_gemm(&(tn_ref_product){.tb = tb,
                                  .M = k->rows,
                                  .N = k->N,
                                  .K = k->cols,
                                  .alpha = alpha,
                                  .A = d->wide,
                                  .lda = k->cols,
                                  .B = tb ? d->hA : d->hB,
                                  .ldb = tb ? k->cols : k->N,
                                  .ldc = k->N},
                d->thin);
}

static int thin_forward(tn_trial *t, const thin_case *k, const thin_data *d, const tn_layernorm_args *n)
{
    const tn_ref_norm ref = {.x = d->hx, .gamma = d->hgamma, .beta = d->hbeta, .eps = n->eps, .rows = k->rows, .cols = k->cols};
    tn_gemm_args g = {.tb = true, .alpha = 1, .B = *d->A, .C = *d->T, .mask_a = {k->p, 5}};
    if (k->bits) TN_TRY(tn_product_bits(t, &g, g.mask_a, k->rows, k->cols));
    TN_TRY(tn_layernorm_thin_forward(t->c, n, &g, ERR));
    if (t->c->dry) return 0;
    tn_ref_layernorm(&ref, d->wide);
    TN_TRY(tn_trial_compare(t, d->y, d->wide));
    thin_product(t, k, d, true, 1);
    return tn_trial_compare(t, d->T, d->thin);
}

static int thin_backward(tn_trial *t, const thin_case *k, const thin_data *d, const tn_layernorm_args *n)
{
    const int count = k->rows * k->cols;
    const tn_ref_norm ref = {.x = d->hx, .gamma = d->hgamma, .eps = n->eps, .rows = k->rows, .cols = k->cols};
    const tn_gemm_args g = {.alpha = 0.75f, .B = *d->B, .C = *d->dt};
    if (!k->adds) TN_TRY(tn_trial_poison(t, d->dx));
    TN_TRY(tn_layernorm_thin_backward(t->c, n, &g, ERR));
    if (t->c->dry) return 0;
    tn_ref_layernorm_backward(&ref, d->hdy, d->wide, d->rest, d->rest + k->cols);
    for (int i = 0; k->adds && i < count; i++) d->wide[i] += d->hdx[i];
    TN_TRY(tn_trial_compare(t, d->dx, d->wide));
    for (int i = 0; k->scaled && i < count; i++) d->wide[i] *= d->hscale[i % k->cols];
    if (k->scaled) TN_TRY(tn_trial_compare(t, d->scaled, d->wide));
    thin_product(t, k, d, false, 0.75);
    return tn_trial_compare(t, d->dt, d->thin);
}

/* What is asked of the operations, with tensors or with no more than their shapes. */
static tn_layernorm_thin thin_args(const tn_trial *t, const thin_case *k, bool back)
{
    const tn_tensor wide = tn_view(NULL, ACT, k->rows, k->cols);
    tn_layernorm_thin a = {.n = {.x = wide, .act = ACT}, .g = {.tb = !back, .alpha = 1, .M = k->rows, .N = k->N, .K = k->cols}};
    a.g.B = back ? tn_view(NULL, ACT, k->cols, k->N) : tn_view(NULL, ACT, k->N, k->cols);
    a.g.C = tn_view(NULL, ACT, k->rows, k->N);
    if (!back) a.g.mask_a = (tn_mask){k->p, 5}, a.g.drawn = k->bits;
    if (back) a.n.accumulate = k->adds, a.n.scaled.rows = k->scaled ? k->rows : 0;
    return a;
}

static int thin_one(tn_trial *t, const thin_case *k)
{
    const tn_layernorm_thin forward = thin_args(t, k, false), backward = thin_args(t, k, true);
    const bool back = tn_trial_wants(t, &tn_layernorm_thin_back_op, &backward);
    const int mark = t->n;
    thin_data d;
    if (!back && !tn_trial_wants(t, &tn_layernorm_thin_op, &forward)) return 0;
    TN_TRY(thin_draw(t, k, &d));
    const tn_layernorm_args n = {.x = *d.x, .gamma = *d.gamma, .beta = *d.beta, .y = *d.y, .stats = *d.stats, .eps = 1e-5f};
    tn_layernorm_args b = {.x = *d.x, .gamma = *d.gamma, .stats = *d.stats, .dy = *d.dy, .dx = *d.dx, .eps = 1e-5f};
    b.accumulate = k->adds;
    if (k->scaled) b.scaled = *d.scaled, b.scale = *d.scale;
    TN_TRY(thin_forward(t, k, &d, &n));
    if (back) TN_TRY(thin_backward(t, k, &d, &b));
    tn_trial_rewind(t, mark);
    return 0;
}

/* Of the kind that is checked: less rows than a tile has, and some tiles and a bit. */
static int thin_alike(tn_trial *t)
{
    const tn_layernorm_thin *a = t->like;
    const int rows[] = {7, 67, 147};
    const thin_case k = {rows[t->size], a->n.x.cols, a->g.N, a->g.mask_a.p, a->n.accumulate, a->n.scaled.rows > 0, a->g.drawn > 0};
    return thin_one(t, &k);
}

static int thin(tn_trial *t)
{
    static const thin_case cases[3][4] = {
        {{3, 128, 8, 0, false, false, false},
         {21, 64, 16, 0.3f, true, true, false},
         {18, 100, 6, 0, false, true, false},
         {27, 96, 16, 0.3f, false, false, true}},
        {{99, 384, 48, 0.05f, true, true, true},
         {49, 384, 16, 0, true, false, false},
         {17, 192, 24, 0.3f, false, false, true},
         {16, 640, 40, 0, true, true, false}},
        {{33, 768, 48, 0.3f, true, true, false},
         {19, 1024, 16, 0.5f, true, true, true},
         {37, 1024, 48, 0, false, true, false},
         {65, 768, 8, 0.05f, true, false, false}},
    };
    if (t->like) return thin_alike(t);
    for (int i = 0; i < 4 && cases[t->size][i].rows; i++) {
        thin_case k = cases[t->size][i];
        if (tn_trial_is_little(t) && i > 1) k.rows -= 13; /* one with a row more than its tile is enough */
        if (!tn_trial_repeats(t, i)) TN_TRY(thin_one(t, &k));
    }
    return 0;
}

/* ---- dt and dB of parts side by side ---- */

typedef struct {
    int rows, cols, r, parts, more; /* more: columns of dy's rows that are no part's */
} both_case;

typedef struct {
    tn_tensor *dy, *B, *T, *dt, *dB;
    float *hdy, *hB, *hT, *hdB, *thin, *wide;
} both_data;

static int both_draw(tn_trial *t, const both_case *k, both_data *d)
{
    const int all = k->parts * k->cols, ranks = k->parts * k->r;
    TN_TRY(tn_trial_in(t, ACT, k->rows, all + k->more, &d->dy, &d->hdy));
    TN_TRY(tn_trial_in(t, ACT, all, k->r, &d->B, &d->hB));
    TN_TRY(tn_trial_in(t, ACT, k->rows, ranks, &d->T, &d->hT));
    TN_TRY(tn_trial_in(t, TN_F32, all, k->r, &d->dB, &d->hdB));
    TN_TRY(tn_trial_out(t, ACT, k->rows, ranks, &d->dt));
    d->thin = tn_trial_host(t, (size_t)k->rows * (size_t)ranks), d->wide = tn_trial_copy(t, d->hdB, (size_t)all * (size_t)k->r);
    return d->thin && d->wide ? 0 : tn_oom(ERR);
}

/* What src/ref makes of part i: its columns of d->thin, and added to its rows of d->wide. */
static void both_want(const both_case *k, const both_data *d, int i)
{
    const int ld = k->parts * k->cols + k->more, ranks = k->parts * k->r;
    tn_ref_gemm(&(tn_ref_product){.M = k->rows,
                                  .N = k->r,
                                  .K = k->cols,
                                  .alpha = 0.75,
                                  .A = d->hdy + (ptrdiff_t)i * k->cols,
                                  .lda = ld,
                                  .B = d->hB + (ptrdiff_t)i * k->cols * k->r,
                                  .ldb = k->r,
                                  .ldc = ranks},
                d->thin + (ptrdiff_t)i * k->r);
    tn_ref_gemm(&(tn_ref_product){.ta = true,
                                  .M = k->cols,
                                  .N = k->r,
                                  .K = k->rows,
                                  .alpha = 0.75,
                                  .beta = 1,
                                  .A = d->hdy + (ptrdiff_t)i * k->cols,
                                  .lda = ld,
                                  .B = d->hT + (ptrdiff_t)i * k->r,
                                  .ldb = ranks,
                                  .ldc = k->r},
                d->wide + (ptrdiff_t)i * k->cols * k->r);
}

static int both_one(tn_trial *t, const both_case *k)
{
    const int mark = t->n;
    const size_t c = (size_t)k->cols, r = (size_t)k->r;
    both_data d;
    TN_TRY(both_draw(t, k, &d));
    tn_gemm_args dt = {.alpha = 0.75f, .A = tn_cols(*d.dy, 0, k->cols), .B = *d.B, .C = tn_cols(*d.dt, 0, k->r)};
    tn_gemm_args db = {.ta = true, .alpha = 0.75f, .beta = 1, .A = dt.A, .B = tn_cols(*d.T, 0, k->r), .C = *d.dB};
    dt.B.rows = db.C.rows = k->cols;
    dt.batch = db.batch = k->parts;
    dt.a_step = c, dt.b_step = c * r, dt.c_step = r, db.a_step = c, db.b_step = r, db.c_step = c * r;
    TN_TRY(tn_thin_both_run(t->c, &dt, &db, ERR));
    for (int i = 0; !t->c->dry && i < k->parts; i++) both_want(k, &d, i);
    TN_TRY(tn_trial_compare(t, d.dt, d.thin));
    TN_TRY(tn_trial_compare(t, d.dB, d.wide));
    tn_trial_rewind(t, mark);
    return 0;
}

/* Of the kind that is checked: less rows than a step has, some, and enough that every multiprocessor has several steps. */
static int both_alike(tn_trial *t)
{
    const tn_thin_both *a = t->like;
    const int rows[] = {7, 150, 2500};
    const both_case k = {rows[t->size], a->dt.K, a->dt.N, TN_MAX(a->dt.batch, 1), 8};
    return both_one(t, &k);
}

static int both(tn_trial *t)
{
    static const both_case cases[3][3] = {
        {{3, 24, 8, 1, 0}, {19, 136, 16, 2, 8}, {5, 20, 6, 1, 0}},
        {{150, 384, 16, 3, 0}, {333, 1536, 16, 1, 8}, {70, 1100, 8, 1, 4}},
        {{1300, 768, 16, 3, 0}, {97, 3072, 16, 1, 0}, {67, 4096, 8, 1, 8}},
    };
    if (t->like) return both_alike(t);
    for (int i = 0; i < 3; i++)
        if (!tn_trial_repeats(t, i)) TN_TRY(both_one(t, &cases[t->size][i]));
    return 0;
}

const tn_case tn_cases_thin[] = {
    {"thin products of a gradient", both, false, {&tn_thin_both_op}},
    {"layernorm and thin product", thin, false, {&tn_layernorm_thin_op, &tn_layernorm_thin_back_op}},
    {0},
};
