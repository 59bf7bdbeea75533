/* One step on random frames: the calls of train.c and predict.c, without their files. */
#include "prof.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Noise as frames and a visible ball in each: zeros would flatter kernels that skip work and processors that save power. */
static int random_frames(tn_prof *p, tn_error *err)
{
    const tn_engine *e = p->e;
    const size_t image = 3 * (size_t)e->image_w * (size_t)e->image_h;
    const int hw = e->model->heat_w, hh = e->model->heat_h;
    const size_t heat = (size_t)hw * (size_t)hh, n = (size_t)p->batch;
    tn_rng r = tn_rng_named((uint64_t)p->s->training.seed, "profile");
    tn_image im;
    p->pixels = malloc(n * image * sizeof *p->pixels);
    p->target = malloc(n * heat * sizeof *p->target);
    p->heat = malloc(n * heat * sizeof *p->heat);
    p->mask = malloc(n * sizeof *p->mask);
    if (!p->pixels || !p->target || !p->heat || !p->mask) return tn_oom(err);
    TN_TRY(tn_image_new(&im, e->image_w, e->image_h, err));
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < image; k++) im.rgb[k] = (uint8_t)tn_rng_below(&r, 256);
        tn_pixels(p->pixels + i * image, &im, p->s->data.normalize);
        tn_gaussian(p->target + i * heat, hw, hh, tn_rng_uniform(&r) * hw, tn_rng_uniform(&r) * hh, p->s->model.sigma);
        p->mask[i] = 1;
    }
    tn_image_free(&im);
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
    free(p->pixels);
    free(p->target);
    free(p->heat);
    free(p->mask);
}

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

static int update_group(tn_prof *p, int g, double scale, tn_error *err)
{
    const tn_settings *s = p->s;
    tn_store *st = p->e->session->store;
    tn_ctx *c = &p->e->session->ctx;
    const size_t off = st->group_off[g], len = st->group_len[g];
    const int step = p->steps + 1;
    if (!len) return 0;
    if (!strcmp(s->training.optimizer, "sgd")) {
        optimiser_note(p, "sgd", 2 + g, 6.0 * (double)len, 20.0 * (double)len);
        return tn_sgd(c, st->params, st->grads, st->moment1, off, len, (float)s->training.lr, (float)s->training.weight_decay,
                      (float)s->training.momentum, step == 1, (float)scale, err);
    }
    const tn_adam_spec a = {(float)s->training.lr, (float)s->training.weight_decay, 0.9f, 0.999f, 1e-8f, (float)scale, step};
    optimiser_note(p, "adamw", 2 + g, 16.0 * (double)len, 28.0 * (double)len);
    return tn_adamw(c, st->params, st->grads, st->moment1, st->moment2, off, len, &a, err);
}

static double loss_scale(const tn_prof *p)
{
    return p->e->act == TN_F16 ? 65536 : 1;
}

/* The norm is read back but for the recording, where there is none yet. */
static int optimise(tn_prof *p, tn_error *err)
{
    tn_store *st = p->e->session->store;
    tn_ctx *c = &p->e->session->ctx;
    double squares, scale = 1 / loss_scale(p);
    optimiser_note(p, "sum_squares", 1, 2.0 * (double)st->n_params, 4.0 * (double)st->n_params);
    TN_TRY(tn_sum_squares(c, st->grads, 0, st->n_params, &squares, err));
    const double norm = sqrt(squares) * scale, max = p->s->training.grad_clip_norm;
    if (!c->tape && !isfinite(norm)) return 0; /* float16 overflowed: training skips the update, too */
    if (!c->tape && max > 0) scale *= fmin(1, max / (norm + 1e-6));
    static const int group[TN_GROUPS] = {TN_GROUP_HEAD, TN_GROUP_LORA, TN_GROUP_BACKBONE};
    for (int g = 0; g < TN_GROUPS; g++)
        if (p->groups & group[g]) TN_TRY(update_group(p, g, scale, err));
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
    s->ctx.step_seed = tn_hash_u32((uint32_t)p->s->training.seed, (uint32_t)p->steps);
    s->loss = (tn_loss_spec){!strcmp(p->s->training.loss, "focal"), (float)p->s->training.alpha, (float)p->s->training.beta,
                             (float)inv, (float)loss_scale(p)};
    TN_TRY(tn_session_upload(s, p->x, p->x->g.pixels, p->pixels, err));
    TN_TRY(tn_session_upload(s, p->x, p->x->g.target, p->target, err));
    TN_TRY(tn_session_upload(s, p->x, p->x->g.mask, p->mask, err));
    TN_TRY(tn_session_run(s, p->x, err));
    TN_TRY(tn_session_loss(s, p->x, &loss, err));
    return optimise(p, err);
}

static int prediction(tn_prof *p, tn_error *err)
{
    tn_session *s = p->e->session;
    const tn_pass pass = tn_engine_eval_pass(p->e, p->batch, false);
    TN_TRY(tn_session_get(&p->x, s, &pass, err));
    TN_TRY(tn_session_upload(s, p->x, p->x->g.pixels, p->pixels, err));
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
