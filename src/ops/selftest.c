/* The tables of cases, and one case run. */
#include "selftest.h"

const tn_case *const tn_case_tables[] = {
    tn_cases_gemm, tn_cases_train, tn_cases_dense,  tn_cases_quant, tn_cases_spatial, tn_cases_deform,
    tn_cases_rows, tn_cases_grads, tn_cases_groups, tn_cases_conv,  tn_cases_thin,    tn_cases_normed,
    NULL};

static tn_trial new_trial(tn_ctx *c, const tn_case *k, const tn_case_spec *s, tn_error *err)
{
    const tn_rng rng = tn_rng_named((uint64_t)s->size, k->name);
    return (tn_trial){.c = c, .act = s->act, .like = s->like, .rng = rng, .size = s->size, .all = s->all, .err = err};
}

int tn_case_run(const tn_case *k, tn_dev *d, const tn_case_spec *s, tn_case_result *out, tn_error *err)
{
    tn_ctx c;
    tn_forced forced = {.op = s->op, .row = s->row, .kind = s->kind};
    tn_ctx_bare(&c, d);
    c.forced = &forced;
    const tn_step_constants now = {.seed = TN_TRIAL_SEED, .inv_mask = 1};
    int rc = tn_ctx_step(&c, &now, err);
    *out = (tn_case_result){0};
    for (int pass = 0; !rc && pass < 2; pass++) {
        tn_trial t = new_trial(&c, k, s, err);
        c.dry = pass == 0;
        forced.runs = 0;
        tn_ws_reset(&c);
        rc = k->run(&t);
        if (!rc && pass == 0) rc = tn_ctx_reserve(&c, c.ws_peak, err);
        out->error = tn_larger_error(t.error, t.worst);
        out->element = t.element;
        out->worst = tn_larger_error(t.share, t.worst / tn_case_bound(s->act));
        tn_trial_rewind(&t, 0);
    }
    out->runs = forced.runs;
    tn_ctx_free(&c);
    return rc;
}

int tn_case_walk(const tn_case *k, tn_dev *d, const tn_case_spec *s, tn_needs *needs, tn_ahead *ahead, tn_error *err)
{
    tn_ctx c;
    tn_forced forced = {.op = s->op, .row = s->row, .kind = s->kind};
    tn_trial t = new_trial(&c, k, s, err);
    const size_t limit = d->memory_limit, peak = d->peak;
    tn_ctx_bare(&c, d);
    c.forced = &forced;
    c.needs = needs;
    c.ahead = ahead;
    c.dry = true;
    d->memory_limit = 0; /* nothing is kept: whether the case fits is told when it runs */
    const int rc = k->run(&t);
    tn_trial_rewind(&t, 0);
    tn_ctx_free(&c);
    d->memory_limit = limit;
    d->peak = peak;
    return rc;
}
