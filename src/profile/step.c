/* One step on random frames: what training and prediction run, without their files. */
#include "clock.h"
#include "prof.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHIFT = 4096 };

/* Noise as frames and a visible ball in each: zeros would flatter kernels that skip work and processors that save power. A frame
 * more than a batch, so that every step can begin elsewhere (frames_of). */
static int random_frames(tn_prof *p, tn_error *err)
{
    const tn_engine *e = p->e;
    const size_t image = tn_engine_image_bytes(e), n = (size_t)p->batch, labels = n * (size_t)e->model->heats;
    const int hw = e->model->heat_w, hh = e->model->heat_h;
    tn_rng r = tn_rng_named((uint64_t)p->s.training.seed, "profile");
    p->frames = malloc((n + 1) * image);
    p->labels = malloc(labels * 3 * sizeof *p->labels);
    p->heat = malloc(n * tn_engine_heat_size(e) * sizeof *p->heat);
    if (!p->frames || !p->labels || !p->heat) return tn_oom(err);
    for (size_t k = 0; k < (n + 1) * image; k++) p->frames[k] = (uint8_t)tn_rng_below(&r, 256);
    for (size_t i = 0; i < labels; i++) {
        p->labels[3 * i] = (float)(tn_rng_uniform(&r) * hw);
        p->labels[3 * i + 1] = (float)(tn_rng_uniform(&r) * hh);
        p->labels[3 * i + 2] = 1;
    }
    return 0;
}

static const uint8_t *frames_of(const tn_prof *p)
{
    const size_t image = tn_engine_image_bytes(p->e);
    return p->frames + (size_t)p->steps * SHIFT % image;
}

static int step_done(void *user, const tn_step_result *r, tn_error *err)
{
    tn_prof *p = user;
    (void)err;
    p->result = isfinite(r->loss) && r->optim.finite ? r->loss : NAN;
    return 0;
}

static int check_alone(const tn_prof *p, tn_error *err)
{
    if (p->e->team.n == 1) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "a profile is of one device; 'tracknet plan --measure' shows what several do");
}

static int open_training(tn_prof *p, tn_error *err)
{
    tn_memory planned;
    TN_TRY(tn_engine_open(&p->e, &p->s, p->o, true, false, err));
    TN_TRY(check_alone(p, err));
    p->groups = tn_engine_groups(p->e);
    if (!p->batch) TN_TRY(tn_engine_fit(p->e, &p->batch, &planned, err));
    else TN_TRY(tn_engine_fit_micro(p->e, p->batch, err));
    return tn_stepper_new(&p->stepper, p->e, p->batch, step_done, p, err);
}

static int open_prediction(tn_prof *p, tn_error *err)
{
    if (!p->batch) p->batch = 1;
    TN_TRY(tn_adapters_engine(&p->e, p->adapters, &p->n_adapters, &p->s, p->o, err));
    TN_TRY(check_alone(p, err));
    if (p->n_adapters) TN_TRY(tn_adapters_use(p->adapters[0], p->e, p->o, err));
    TN_TRY(tn_engine_merge(p->e, p->batch, err));
    return tn_predictor_new(&p->predictor, p->e, err);
}

int tn_prof_open(tn_prof *p, const tn_settings *s, const tn_run_options *o, const tn_profile_options *want, tn_error *err)
{
    *p = (tn_prof){.s = *s, .o = o, .what = want->what, .batch = want->batch};
    if (p->batch) p->s.training.batch_size = p->batch;
    TN_TRY(want->what == TN_PROFILE_TRAIN ? open_training(p, err) : open_prediction(p, err));
    return random_frames(p, err);
}

static void forget_frames(tn_prof *p)
{
    free(p->frames);
    free(p->labels);
    free(p->heat);
    p->frames = NULL;
    p->labels = p->heat = NULL;
}

void tn_prof_close(tn_prof *p)
{
    tn_stepper_free(p->stepper);
    tn_predictor_free(p->predictor);
    for (int i = 0; i < p->n_adapters; i++) tn_adapter_close(p->adapters[i]);
    tn_engine_close(p->e);
    forget_frames(p);
}

static int training_step(tn_prof *p, const tn_batch *b, tn_error *err)
{
    const tn_step_job j = {.index = p->steps, .batch = *b, .micro = p->batch, .groups = p->groups, .lr = p->s.training.lr};
    return tn_stepper_step(p->stepper, &j, err);
}

/* Until so many batches are under way. */
static int take(tn_prof *p, int left, tn_error *err)
{
    while (tn_predictor_under_way(p->predictor) > left) TN_TRY(tn_predictor_take(p->predictor, p->heat, NULL, err));
    return 0;
}

static int prediction_step(tn_prof *p, const tn_batch *b, tn_error *err)
{
    TN_TRY(tn_predictor_put(p->predictor, b, false, err));
    return take(p, p->batch > 1, err);
}

static int one_step(tn_prof *p, tn_error *err)
{
    const tn_batch b = {.n = p->batch, .frames = frames_of(p), .labels = p->labels};
    TN_TRY(p->what == TN_PROFILE_TRAIN ? training_step(p, &b, err) : prediction_step(p, &b, err));
    p->steps++;
    return 0;
}

int tn_prof_burst(tn_prof *p, tn_profile_report *r, int n, double *seconds, tn_error *err)
{
    const tn_dev *d = p->e->dev;
    const double begin = tn_now();
    for (int i = 0; i < n; i++) {
        const long long launches = d->launches, blocking = d->blocking;
        TN_TRY(one_step(p, err));
        r->launches = d->launches - launches;
        r->blocking = d->blocking - blocking;
    }
    if (p->predictor) TN_TRY(take(p, 0, err));
    TN_TRY(tn_dev_finish(p->e->dev, err));
    *seconds = tn_now() - begin;
    return 0;
}

int tn_prof_rebatch(tn_prof *p, int batch, tn_error *err)
{
    const bool train = p->what == TN_PROFILE_TRAIN;
    tn_stepper_free(p->stepper);
    p->stepper = NULL;
    forget_frames(p);
    p->batch = batch;
    TN_TRY(train ? tn_stepper_new(&p->stepper, p->e, batch, step_done, p, err) : tn_engine_merge(p->e, batch, err));
    return random_frames(p, err);
}

int tn_prof_fits(bool *fits, const tn_prof *p, int batch, tn_error *err)
{
    const tn_member *who = &p->e->team.member[0];
    tn_memory m = TN_MEMORY_INIT;
    const int rc = p->what == TN_PROFILE_TRAIN ? tn_engine_memory(p->e, batch, &m, err)
                                               : tn_engine_pass_memory(p->e, who, batch, &m.total, err);
    *fits = !rc && m.total <= tn_member_room(who);
    return rc == TN_ERR_MEMORY ? 0 : rc;
}

static double mean_of(const float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += v[i];
    return isfinite(sum) ? sum / (double)n : NAN;
}

int tn_prof_recorded(tn_prof *p, tn_error *err)
{
    const bool train = p->what == TN_PROFILE_TRAIN;
    const tn_pass pass = train ? tn_engine_train_pass(p->e, p->batch, p->groups) : tn_engine_eval_pass(p->e, p->batch, false);
    if (train) {
        TN_TRY(tn_stepper_drain(p->stepper, err));
        TN_TRY(tn_stepper_tape(&p->update, p->stepper, p->groups, err));
    } else {
        p->result = mean_of(p->heat, (size_t)p->batch * tn_engine_heat_size(p->e));
    }
    return tn_session_get(&p->x, p->e->session, &pass, err);
}
