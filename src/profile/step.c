/* One step on random frames: the calls of train.c and predict.c, without their files. */
#include "prof.h"

#include <stdlib.h>
#include <string.h>

/* Noise as frames and a visible ball in each: zeros would flatter kernels that skip work and processors that save power. */
static int random_frames(tn_prof *p, tn_error *err)
{
    const tn_engine *e = p->e;
    const size_t image = 3 * (size_t)e->image_w * (size_t)e->image_h, n = (size_t)p->batch;
    const int hw = e->model->heat_w, hh = e->model->heat_h;
    tn_rng r = tn_rng_named((uint64_t)p->s->training.seed, "profile");
    p->frames = malloc(n * image);
    p->labels = malloc(n * 3 * sizeof *p->labels);
    p->heat = malloc(n * (size_t)hw * (size_t)hh * sizeof *p->heat);
    if (!p->frames || !p->labels || !p->heat) return tn_oom(err);
    for (size_t k = 0; k < n * image; k++) p->frames[k] = (uint8_t)tn_rng_below(&r, 256);
    for (size_t i = 0; i < n; i++) {
        p->labels[3 * i] = (float)(tn_rng_uniform(&r) * hw);
        p->labels[3 * i + 1] = (float)(tn_rng_uniform(&r) * hh);
        p->labels[3 * i + 2] = 1;
    }
    return 0;
}

static int open_training(tn_prof *p, tn_error *err)
{
    tn_memory planned;
    TN_TRY(tn_engine_open(&p->e, p->s, p->o, true, false, err));
    p->groups = tn_engine_groups(p->e);
    return p->batch ? 0 : tn_engine_fit(p->e, &p->batch, &planned, err);
}

static int open_prediction(tn_prof *p, tn_error *err)
{
    if (!p->batch) p->batch = 1;
    TN_TRY(tn_adapters_engine(&p->e, p->adapters, &p->n_adapters, p->s, p->o, err));
    return p->n_adapters ? tn_adapters_use(p->adapters[0], p->e, p->o, err) : 0;
}

int tn_prof_open(tn_prof *p, const tn_settings *s, const tn_run_options *o, const tn_profile_options *want, tn_error *err)
{
    *p = (tn_prof){.s = s, .o = o, .what = want->what, .batch = want->batch};
    TN_TRY(want->what == TN_PROFILE_TRAIN ? open_training(p, err) : open_prediction(p, err));
    return random_frames(p, err);
}

void tn_prof_close(tn_prof *p)
{
    tn_tape_free(p->rest); /* before the session's workspace, of which it has regions */
    for (int i = 0; i < p->n_adapters; i++) tn_adapter_close(p->adapters[i]);
    tn_engine_close(p->e);
    free(p->frames);
    free(p->labels);
    free(p->heat);
}

static const tn_adam_spec adam = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};

/* The optimiser's tape is walked as its launches are made. `flops` and `bytes`: of the launch. */
static void optimiser_note(tn_prof *p, const char *op, int node, double flops, double bytes)
{
    tn_ctx *c = &p->e->session->ctx;
    tn_ws_reset(c);
    if (!c->tape) return;
    const tn_note note = {.layer = "optimiser", .op = op, .node = p->x->g.n_n + node, .flops = flops, .bytes = bytes};
    tn_tape_note(c->tape, &note);
}

static int clear_gradients(tn_prof *p, tn_error *err)
{
    tn_session *s = p->e->session;
    optimiser_note(p, "zero_grad", 0, 0, 4.0 * (double)s->store->n_params);
    return tn_op_fill(&s->ctx, s->store->grads, 0, s->store->n_params * 4, 0, err);
}

static int update_group(tn_prof *p, int g, tn_error *err)
{
    tn_store *st = p->e->session->store;
    tn_ctx *c = &p->e->session->ctx;
    const double len = (double)st->group_len[g];
    const tn_optim_range r = {.p = st->params,
                              .g = st->grads,
                              .m = st->moment1,
                              .v = st->moment2,
                              .off = st->group_off[g],
                              .n = st->group_len[g],
                              .group = g};
    const bool sgd = !strcmp(p->s->training.optimizer, "sgd");
    if (!st->group_len[g]) return 0;
    optimiser_note(p, sgd ? "sgd" : "adamw", 2 + g, (sgd ? 6 : 16) * len, (sgd ? 20 : 28) * len);
    return sgd ? tn_sgd(c, &r, (float)p->s->training.momentum, err) : tn_adamw(c, &r, &adam, err);
}

static int optimise(tn_prof *p, tn_error *err)
{
    tn_store *st = p->e->session->store;
    tn_ctx *c = &p->e->session->ctx;
    optimiser_note(p, "clip", 1, 2.0 * (double)st->n_params, 4.0 * (double)st->n_params);
    TN_TRY(tn_clip(c, st->grads, 0, st->n_params, &adam, err));
    static const int group[TN_GROUPS] = {TN_GROUP_HEAD, TN_GROUP_LORA, TN_GROUP_BACKBONE};
    for (int g = 0; g < TN_GROUPS; g++)
        if (p->groups & group[g]) TN_TRY(update_group(p, g, err));
    return 0;
}

static int training_step(tn_prof *p, tn_error *err)
{
    tn_session *s = p->e->session;
    const tn_pass pass = tn_engine_train_pass(p->e, p->batch, p->groups);
    const double inv = 1 / ((double)p->batch * p->e->model->heat_w * p->e->model->heat_h);
    double loss;
    TN_TRY(tn_session_get(&p->x, s, &pass, err));
    TN_TRY(clear_gradients(p, err));
    const tn_step_constants now = {.seed = tn_hash_u32((uint32_t)p->s->training.seed, (uint32_t)p->steps),
                                   .inv_mask = (float)inv,
                                   .lr = (float)p->s->training.lr,
                                   .weight_decay = (float)p->s->training.weight_decay,
                                   .max_norm = (float)p->s->training.grad_clip_norm,
                                   .groups = (1u << TN_GROUPS) - 1};
    TN_TRY(tn_ctx_step(&s->ctx, &now, err));
    s->loss = (tn_loss_spec){!strcmp(p->s->training.loss, "focal"), (float)p->s->training.alpha, (float)p->s->training.beta};
    TN_TRY(tn_session_upload(s, p->x, p->x->g.pixels, p->frames, err));
    TN_TRY(tn_session_upload(s, p->x, p->x->g.labels, p->labels, err));
    TN_TRY(tn_session_run(s, p->x, err));
    TN_TRY(tn_session_loss(s, p->x, &loss, err));
    return optimise(p, err);
}

static int prediction(tn_prof *p, tn_error *err)
{
    tn_session *s = p->e->session;
    const tn_pass pass = tn_engine_eval_pass(p->e, p->batch, false);
    TN_TRY(tn_session_get(&p->x, s, &pass, err));
    TN_TRY(tn_session_upload(s, p->x, p->x->g.pixels, p->frames, err));
    TN_TRY(tn_session_run(s, p->x, err));
    return tn_session_download(s, p->x, p->x->g.heat, p->heat, err);
}

int tn_prof_step(tn_prof *p, tn_error *err)
{
    TN_TRY(p->what == TN_PROFILE_TRAIN ? training_step(p, err) : prediction(p, err));
    p->steps++;
    return 0;
}

int tn_prof_record(tn_prof *p, tn_error *err)
{
    tn_ctx *c = &p->e->session->ctx;
    if (p->what != TN_PROFILE_TRAIN) return 0;
    TN_TRY(tn_tape_new(&p->rest, p->e->dev, err));
    c->tape = p->rest;
    int rc = optimise(p, err);
    if (!rc) rc = clear_gradients(p, err);
    c->tape = NULL;
    tn_ws_reset(c);
    return rc;
}
