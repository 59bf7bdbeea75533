/* LayerNorm with the thin product of what it writes. */
#include "layernorm_thin.h"
#include "selftest_product.h"

#define ACT (t->act)
#define ERR (t->err)

typedef struct {
    int rows, cols, N;
    float p;
    bool adds, scaled;
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
    const tn_gemm_args g = {.tb = true, .alpha = 1, .B = *d->A, .C = *d->T, .mask_a = {k->p, 5}};
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
    if (!back) a.g.mask_a = (tn_mask){k->p, 5};
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
    const thin_case k = {rows[t->size], a->n.x.cols, a->g.N, a->g.mask_a.p, a->n.accumulate, a->n.scaled.rows > 0};
    return thin_one(t, &k);
}

static int thin(tn_trial *t)
{
    static const thin_case cases[3][4] = {
        {{3, 128, 8, 0, false, false}, {21, 64, 16, 0.3f, true, true}, {18, 100, 6, 0, false, true}},
        {{99, 384, 48, 0.05f, true, true},
         {49, 384, 16, 0, true, false},
         {17, 192, 24, 0.3f, false, false},
         {16, 640, 40, 0, true, true}},
        {{33, 768, 48, 0.3f, true, true},
         {19, 1024, 16, 0.5f, true, true},
         {37, 1024, 48, 0, false, true},
         {65, 768, 8, 0.05f, true, false}},
    };
    if (t->like) return thin_alike(t);
    for (int i = 0; i < 4 && cases[t->size][i].rows; i++)
        if (!tn_trial_repeats(t, i)) TN_TRY(thin_one(t, &cases[t->size][i]));
    return 0;
}

const tn_case tn_cases_thin[] = {
    {"layernorm and thin product", thin, false, {&tn_layernorm_thin_op, &tn_layernorm_thin_back_op}},
    {0},
};
