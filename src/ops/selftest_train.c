/* A step of training: target, loss, optimisers. */
#include "ref.h"
#include "selftest.h"

#include <math.h>
#include <string.h>

#define ACT (t->act)
#define ERR (t->err)

/* The ball inside, on the border, outside and invisible, which asks for nothing and for an empty heatmap, and a frame without a
 * label, one and several of a sample; a narrow and a wide Gaussian. */
static int heatmap_target(tn_trial *t)
{
    const int n = 6, h = 5 + 6 * t->size, w = 7 + 10 * t->size, S = h * w;
    const float fw = (float)w, fh = (float)h,
                labels[] = {0.3f * fw, 0.6f * fh, 1, 0, fh - 1, 1, fw + 1.5f, -0.75f, 1, 2, 2, 0, 1, 3, -1, 3, 1, 1};
    const float sigma[] = {0.3f, 2, 50};
    tn_tensor *l, *target, *mask;
    float want_mask[6], *want = tn_trial_host(t, (size_t)(n * S));
    TN_TRY(tn_trial_put(t, TN_F32, n, 3, labels, &l));
    if (!want) return tn_oom(ERR);
    for (int k = 0; k < 2 * (int)TN_COUNT(sigma); k++) {
        const int K = 1 + k % 3, B = n / K;
        const tn_target_spec spec = {h, w, sigma[k / 2], k % 2};
        const tn_ref_target ref = {B, h, w, sigma[k / 2], k % 2, K};
        TN_TRY(tn_trial_out(t, TN_F32, B * S, K, &target));
        TN_TRY(tn_trial_out(t, TN_F32, B, K, &mask));
        TN_TRY(tn_heatmap_target(t->c, l, &spec, target, mask, ERR));
        tn_ref_heatmap_target(&ref, labels, want, want_mask);
        TN_TRY(tn_trial_compare(t, target, want));
        TN_TRY(tn_trial_compare(t, mask, want_mask));
    }
    return 0;
}

typedef struct {
    int B, S, K;
    tn_tensor *p, *y, *m;
    float *hp, *target, mask[3 * 3];
} heatmaps;

/* The last one has no ball; logits far beyond where sigmoid rounds to 0 and 1, too. */
static int heatmaps_make(tn_trial *t, heatmaps *h)
{
    const int rows = h->B * h->S, n = rows * h->K;
    h->target = tn_trial_host(t, (size_t)n);
    if (!h->target) return tn_oom(ERR);
    for (int i = 0; i < n; i++) h->target[i] = i < n / 3 * 2 ? (float)tn_rng_uniform(&t->rng) : 0;
    TN_TRY(tn_trial_in(t, TN_F32, rows, h->K, &h->p, &h->hp));
    for (int i = 0; i < 12; i++) h->hp[i] *= (float)(1 << i);
    if (!t->c->dry) TN_TRY(tn_tensor_set(t->c->dev, h->p, h->hp, ERR));
    TN_TRY(tn_trial_put(t, TN_F32, rows, h->K, h->target, &h->y));
    return tn_trial_put(t, TN_F32, h->B, h->K, h->mask, &h->m);
}

static int loss_one(tn_trial *t, const heatmaps *h, const tn_loss_spec *spec)
{
    tn_tensor *dp, *part;
    float partial[TN_PARTIALS], *want = tn_trial_host(t, (size_t)(h->B * h->S * h->K));
    TN_TRY(tn_trial_out(t, TN_F32, h->B * h->S, h->K, &dp));
    TN_TRY(tn_trial_out(t, TN_F32, TN_PARTIALS, 1, &part));
    if (!want) return tn_oom(ERR);
    TN_TRY(tn_heatmap_loss(t->c, h->p, h->y, h->m, spec, dp, part, ERR));
    const tn_ref_loss ref = {h->B, h->S, spec->logits, spec->alpha, spec->beta, spec->pos_weight, spec->bound, 1.0 / (2 * h->S),
                             h->K};
    double l = tn_ref_heatmap_loss(&ref, h->hp, h->target, h->mask, want), sum = 0;
    TN_TRY(tn_trial_compare(t, dp, want));
    if (t->c->dry) return 0;
    TN_TRY(tn_tensor_get(t->c->dev, part, partial, ERR));
    for (int i = 0; i < TN_PARTIALS; i++) sum += partial[i];
    t->worst = fmax(t->worst, fabs(sum - l) / l);
    return 0;
}

static int losses(tn_trial *t)
{
    const tn_loss_spec specs[] = {tn_loss_named("mse", 0, 0, 0), tn_loss_named("focal", 2, 4, 0), tn_loss_named("focal", 0.5, 0, 0),
                                  tn_loss_named("bce", 0, 0, 3), tn_loss_named("wbce", 0, 0, 1.5)};
    const int mark = t->n;
    for (int K = 1; K <= 3; K += tn_trial_is_little(t) ? 2 : 1) {
        heatmaps h = {.B = 3, .S = 35 + 400 * t->size, .K = K, .mask = {1, 0, 1, 1, 0, 0, 1, 0, 1}};
        const tn_step_constants now = {.seed = TN_TRIAL_SEED, .inv_mask = 1.0f / (float)(2 * h.S)};
        TN_TRY(heatmaps_make(t, &h));
        TN_TRY(tn_ctx_step(t->c, &now, ERR));
        for (size_t i = 0; i < TN_COUNT(specs); i++) TN_TRY(loss_one(t, &h, &specs[i]));
        tn_trial_rewind(t, mark);
    }
    return 0;
}

typedef struct {
    tn_tensor *p, *g, *m, *v, *shadow;
    float *hp, *hg, *hm, *hv, *hs;
    float *given; /* what the gradient is before each step, which leaves it zero */
    int n;
    tn_optim_range r;
} optimised;

static int optimised_make(tn_trial *t, optimised *o)
{
    o->n = 77 + 3000 * t->size;
    TN_TRY(tn_trial_in(t, TN_F32, o->n, 1, &o->p, &o->hp));
    TN_TRY(tn_trial_in(t, TN_F32, o->n, 1, &o->g, &o->hg));
    TN_TRY(tn_trial_in(t, TN_F32, o->n, 1, &o->m, &o->hm));
    TN_TRY(tn_trial_in(t, TN_F32, o->n, 1, &o->v, &o->hv));
    TN_TRY(tn_trial_in(t, ACT, o->n, 1, &o->shadow, &o->hs));
    if (!(o->given = tn_trial_copy(t, o->hg, (size_t)o->n))) return tn_oom(ERR);
    for (int i = 0; i < o->n; i++) o->hv[i] = fabsf(o->hv[i]);
    TN_TRY(tn_trial_given(t, o->v, o->hv));
    o->r = (tn_optim_range){
        .p = o->p->mem, .g = o->g->mem, .m = o->m->mem, .v = o->v->mem, .off = 5, .n = (size_t)o->n - 5, .group = 1, .rate = 4};
    if (ACT != TN_F32) o->r.shadow = o->shadow->mem, o->r.shadow_type = ACT;
    return 0;
}

/* Everything as the reference has it; the elements before the range untouched. */
static int optimised_compare(tn_trial *t, optimised *o)
{
    TN_TRY(tn_trial_compare(t, o->g, o->hg));
    TN_TRY(tn_trial_compare(t, o->p, o->hp));
    TN_TRY(tn_trial_compare(t, o->m, o->hm));
    TN_TRY(tn_trial_compare(t, o->v, o->hv));
    for (int i = 5; o->r.shadow && i < o->n; i++) o->hs[i] = tn_rounded(o->hp[i], ACT);
    return tn_trial_compare(t, o->shadow, o->hs);
}

static int state_compare(tn_trial *t, double norm, double factor, double loss_scale, uint32_t steps)
{
    tn_optim_state s;
    if (t->c->dry) return 0;
    TN_TRY(tn_ctx_state_get(t->c, &s, ERR));
    if (isfinite(norm)) t->worst = fmax(t->worst, fabs(s.norm - norm) / norm);
    t->worst = fmax(t->worst, fabs(s.factor - factor) / fmax(factor, 1e-30));
    if (s.loss_scale != (float)loss_scale || s.steps[1] != steps || s.steps[0] != 2 || s.finite != (uint32_t)isfinite(norm))
        t->worst = NAN;
    return 0;
}

static int optimisers(tn_trial *t)
{
    static const tn_adam_spec adam = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};
    const tn_step_constants now = {.lr = 1e-2f, .weight_decay = 0.05f, .max_norm = 3, .groups = 2, .scaling = 1};
    const tn_optim_state before = {.loss_scale = 4, .good_steps = 1998, .steps = {2, 2, 2}};
    optimised o;
    double scale = 4, norm;
    int good = 1998;
    TN_TRY(optimised_make(t, &o));
    TN_TRY(tn_ctx_step(t->c, &now, ERR));
    TN_TRY(tn_ctx_state_set(t->c, &before, ERR));
    for (int k = 0; k < 3; k++) { /* AdamW, SGD as the scale grows, and a step that is not finite */
        if (k == 2) o.given[o.n - 1] = INFINITY;
        memcpy(o.hg, o.given, (size_t)o.n * sizeof *o.hg);
        TN_TRY(tn_trial_given(t, o.g, o.hg));
        TN_TRY(tn_clip(t->c, o.r.g, o.r.off, o.r.n, &adam, ERR));
        const double f = tn_ref_clip(o.hg + 5, o.n - 5, 3, true, &scale, &good, &norm);
        if (k == 1) TN_TRY(tn_sgd(t->c, &o.r, 0.9f, ERR));
        else TN_TRY(tn_adamw(t->c, &o.r, &adam, ERR));
        const tn_ref_optim ref = {
            .lr = 4e-2, .wd = 0.05, .b1 = 0.9, .b2 = 0.999, .eps = 1e-8, .momentum = 0.9, .grad_scale = f, .step = 3};
        if (k == 0) tn_ref_adamw(&ref, o.hp + 5, o.hg + 5, o.hm + 5, o.hv + 5, o.n - 5);
        if (k == 1) tn_ref_sgd(&ref, o.hp + 5, o.hg + 5, o.hm + 5, o.n - 5);
        if (k == 2) memset(o.hg + 5, 0, (size_t)(o.n - 5) * sizeof *o.hg);
        TN_TRY(state_compare(t, norm, f, scale, k == 0 ? 3 : 4));
        TN_TRY(optimised_compare(t, &o));
    }
    return 0;
}

const tn_case tn_cases_train[] = {
    {"heatmap target", heatmap_target, true, {NULL}},
    {"heatmap losses", losses, true, {NULL}},
    {"optimisers", optimisers, false, {NULL}},
    {0},
};
