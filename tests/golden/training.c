/* Training steps beside the real library's: losses, gradients, their norm, and what is trained in the end. */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int mask_of(test *t, tn_exec *e, double *inv, tn_error *err)
{
    size_t n = 0;
    float *m = values_of(t->golden, "mask", &n, err);
    if (!m) return err->status;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += m[i];
    const int heats = t->batch * t->model->heats;
    for (int i = 0; i < heats; i++) m[i] = m[(size_t)i * (n / (size_t)heats)];
    *inv = 1 / fmax(sum, 1e-8);
    int rc = tn_session_upload(t->session, e, e->g.mask, m, err);
    free(m);
    return rc;
}

/* The losses of the cases, with make.py's numbers. */
static const char *const losses[] = {"mse", "focal", "bce", "wbce"};

static tn_loss_spec loss_named(const char *name)
{
    return tn_loss_named(name, 2, 4, 1);
}

static int other_losses(test *t, tn_exec *e, const char *trained, tn_error *err)
{
    for (size_t k = 0; k < TN_COUNT(losses); k++) {
        char name[32];
        double got;
        snprintf(name, sizeof name, "loss.%s", losses[k]);
        if (!tn_st_find(t->golden, name) || !strcmp(losses[k], trained)) continue;
        float *want = values_of(t->golden, name, NULL, err);
        if (!want) return err->status;
        t->session->loss = loss_named(losses[k]);
        int rc = tn_session_run(t->session, e, err);
        if (!rc) rc = tn_session_loss(t->session, e, &got, err);
        if (!rc) note(LOSS, name, fabs(got - want[0]) / fabs(want[0]));
        t->session->loss = loss_named(trained);
        free(want);
        TN_TRY(rc);
    }
    return 0;
}

static const tn_adam_spec adam = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};

static int update(test *t, tn_error *err)
{
    tn_session *s = t->session;
    const bool sgd = !strcmp(tn_json_str(t->spec, "optimizer", "adamw"), "sgd");
    const float ratio = (float)tn_json_num(t->spec, "loraplus_lr_ratio", 1);
    for (int g = 0; g < TN_GROUPS; g++) {
        tn_optim_range r[TN_STORE_RANGES];
        const int n = tn_store_ranges(s->store, g, ratio, r);
        for (int i = 0; i < n; i++) TN_TRY(sgd ? tn_sgd(&s->ctx, &r[i], 0.9f, err) : tn_adamw(&s->ctx, &r[i], &adam, err));
    }
    return 0;
}

static int step(test *t, tn_exec *e, int i, float want_loss, float want_norm, tn_error *err)
{
    tn_session *s = t->session;
    tn_store *st = s->store;
    tn_optim_state o;
    double loss;
    char where[32];
    snprintf(where, sizeof where, "step %d", i);
    if (i == 0) TN_TRY(tn_store_zero_grad(st, err)); /* other losses' are in it; a step leaves it zero */
    TN_TRY(tn_session_run(s, e, err));
    TN_TRY(tn_session_loss(s, e, &loss, err));
    TN_TRY(tn_clip(&s->ctx, st->grads, 0, st->n_params, &adam, err));
    TN_TRY(tn_ctx_state_get(&s->ctx, &o, err));
    note(TRACE, where, fabs(loss - want_loss) / fabs(want_loss));
    note(NORM, where, fabs(o.norm - want_norm) / fabs(want_norm));
    if (i == 0) {
        snprintf(where, sizeof where, "loss.%s", tn_json_str(t->spec, "loss", "mse"));
        note(LOSS, where, fabs(loss - want_loss) / fabs(want_loss));
        TN_TRY(compare_tensor(t, e, e->g.heat, HEATMAP, "heatmap", err));
        TN_TRY(compare_slots(t, "grad", GRADIENT, err));
    }
    return update(t, err);
}

int run_training(test *t, tn_error *err)
{
    TN_TRY(load_trained(t, err));
    tn_pass p = {.batch = t->batch,
                 .act = options.act,
                 .groups = 7,
                 .training = t->bn,
                 .loss = true,
                 .heat = true,
                 .recompute = options.recompute,
                 .unfused = options.unfused};
    tn_exec *e;
    tn_session *s = t->session;
    const char *trained = tn_json_str(t->spec, "loss", "mse");
    const int steps = (int)tn_json_int(t->spec, "steps", 1);
    double inv = 0;
    TN_TRY(tn_session_get(&e, s, &p, err));
    TN_TRY(mask_of(t, e, &inv, err));
    s->loss = loss_named(trained);
    const tn_step_constants now = {.inv_mask = (float)inv,
                                   .lr = (float)tn_json_num(t->spec, "lr", 1e-3),
                                   .weight_decay = (float)tn_json_num(t->spec, "weight_decay", 0),
                                   .max_norm = (float)tn_json_num(t->spec, "grad_clip_norm", 0),
                                   .groups = (1u << TN_GROUPS) - 1};
    TN_TRY(tn_ctx_step(&s->ctx, &now, err));
    TN_TRY(upload(t, e, e->g.pixels, "pixel_values", err));
    TN_TRY(upload(t, e, e->g.target, "target", err));
    if (!t->bn) TN_TRY(other_losses(t, e, trained, err));
    float *loss = values_of(t->golden, "trace.loss", NULL, err), *norm = values_of(t->golden, "trace.grad_norm", NULL, err);
    int rc = loss && norm ? 0 : err->status;
    for (int i = 0; !rc && i < steps; i++) rc = step(t, e, i, loss[i], norm[i], err);
    free(loss);
    free(norm);
    if (!rc) rc = compare_slots(t, "final", FINAL, err);
    return rc ? rc : compare_statistics(t, e, err);
}
