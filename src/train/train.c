/* The training loop. Everything it decides is in the configuration, the plan and the checkpoint's state, so that the
 * same seed gives the same bits and a resumed run equals one that was never stopped. */
#include "clock.h"
#include "entry.h"
#include "even.h"
#include "exchange.h"
#include "files.h"
#include "record.h"
#include "report.h"
#include "trainer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int groups_of(const trainer *t, int epoch)
{
    return epoch < tn_engine_frozen_epochs(t->e) ? TN_GROUP_HEAD : tn_engine_groups(t->e);
}

/* ---- one step ---- */

/* With a smaller micro-batch each time the device refuses memory. */
static int with_backoff(trainer *t, tn_step_job *j, tn_error *err)
{
    for (int tries = 0;; tries++) {
        j->micro = t->st.micro;
        int rc = tn_stepper_step(t->stepper, j, err);
        if (rc != TN_ERR_MEMORY || !t->s->training.adaptive || tries >= t->s->training.oom_retries) return rc;
        int next = TN_MAX(t->s->training.min_micro, TN_MIN(t->st.micro - 1, (int)(t->st.micro / t->s->training.backoff)));
        if (next < 1 || next >= t->st.micro) return rc;
        tn_logf(t->o->log, TN_LOG_WARN, "%s; the micro-batch shrinks from %d to %d", err->message, t->st.micro, next);
        t->st.micro = next;
    }
}

/* Samples of the epoch's batch b, of all ranks. */
static int samples_of(const trainer *t, long long b)
{
    const int size = t->s->training.batch_size;
    return (int)TN_MIN((long long)size, t->samples - b * size);
}

static int report_step(trainer *t, const tn_step_result *r, int images, tn_error *err)
{
    t->images_done += images;
    const double spent = tn_now() - t->begin;
    const long long steps = (long long)t->s->training.epochs * t->batches, left = steps - t->st.step;
    const double per_image = spent / fmax(t->images_done, 1);
    tn_step s = {t->epoch + 1,
                 t->s->training.epochs,
                 t->st.step,
                 steps,
                 r->loss,
                 r->lr,
                 1 / fmax(per_image, 1e-9),
                 per_image * (double)left * t->s->training.batch_size};
    const bool stop = t->cb && t->cb->step && TN_CALLBACK(t->cb->step(t->cb->user, &s));
    if (stop || tn_watch_tell(&t->e->watch, TN_PHASE_TRAINING, NULL, t->st.step, steps, err)) t->asked = true;
    return t->asked && !t->ranks ? tn_cancelled(TN_PHASE_TRAINING, err) : 0; /* ranks stop together */
}

/* float16 overflows now and then: the device skipped the step and scales the next less. Elsewhere the run ends here. Steps that
 * were enqueued meanwhile changed nothing that stays: a gradient that is not finite is not applied, and no checkpoint is written.
 */
static int check_step(const trainer *t, const tn_step_result *r, tn_error *err)
{
    if (t->e->act == TN_F16) return 0;
    if (!isfinite(r->loss))
        return tn_fail(err, TN_ERR_NUMERIC, "the loss is %f at step %lld; lower training.optimizer.lr", r->loss, r->index + 1);
    if (r->optim.finite) return 0;
    return tn_fail(err, TN_ERR_NUMERIC,
                   "the gradient is no longer finite at step %lld; lower training.optimizer.lr or set "
                   "training.grad_clip_norm",
                   r->index + 1);
}

/* A step's results, which come while later ones run. */
static int step_done(void *user, const tn_step_result *r, tn_error *err)
{
    trainer *t = user;
    const int images = samples_of(t, r->index - t->first_step);
    TN_TRY(check_step(t, r, err));
    if (t->images_done <= 0) t->sum->first_loss = r->loss;
    t->st.step = r->index + 1;
    if (isfinite(r->loss)) t->epoch_loss += r->loss, t->counted++;
    t->skipped += !r->optim.finite;
    t->loss_scale = r->optim.loss_scale;
    t->epoch_images += images;
    t->sum->last_loss = r->loss;
    const double now = tn_now();
    const tn_step_row row = {.step = t->st.step,
                             .epoch = t->epoch + 1,
                             .loss = r->loss,
                             .lr = r->lr,
                             .grad_norm = r->optim.norm,
                             .loss_scale = r->optim.loss_scale,
                             .images_per_second = images / fmax(now - t->told, 1e-9)};
    t->told = now;
    if (t->logs) TN_TRY(tn_logs_step(t->logs, &row, err));
    return report_step(t, r, images, err);
}

/* ---- a frozen backbone's features ---- */

/* Results are the same without, so memory that is refused ends nothing. */
static int keep_features(trainer *t, tn_error *err)
{
    const tn_features_plan *p = &t->planned;
    int rc = p->why_not[0] ? tn_fail(err, TN_ERR_MEMORY, "%s", p->why_not) : tn_features_new(&t->features, t->e, p, err);
    if (!rc) rc = tn_features_fill(t->features, t->train_loader, t->st.micro, err);
    if (!rc) {
        tn_loader_labels_only(t->train_loader, true);
        tn_logf(t->o->log, TN_LOG_INFO,
                "backbone frozen: features of %d frames kept %s (%.1f MiB); its epochs run the decoder only", p->frames,
                tn_features_on_device(t->features) ? "on the device" : "in host memory", (double)p->bytes / 1048576);
        return 0;
    }
    tn_features_free(t->features);
    t->features = NULL;
    if (rc != TN_ERR_MEMORY) return rc;
    tn_logf(t->o->log, TN_LOG_INFO, "the frozen backbone's features are not kept: %s", err->message);
    return 0;
}

/* ---- one epoch ---- */

/* From the epoch's batch `batch` on. Every rank shuffles alike, and takes its share of each batch. */
static int start_loader(trainer *t, int epoch, int batch, tn_error *err)
{
    const int size = t->s->training.batch_size, before = batch * size;
    int n = 0;
    tn_shuffle(t->order, tn_samples(&t->train), (uint64_t)t->s->training.seed, epoch);
    if (!t->ranks)
        return tn_loader_start_at(t->train_loader, t->order + before, TN_MAX(t->samples - before, 0), before, epoch, err);
    for (int b = batch; b * size < t->samples; b++) {
        const int share = tn_share_frames(&t->share, samples_of(t, b));
        memcpy(t->own + n, t->order + b * size + t->share.first, sizeof *t->own * (size_t)share);
        n += share;
    }
    return tn_loader_start(t->train_loader, t->own, n, epoch, err);
}

/* What the whole of the epoch's batch b is, of which a part is here. */
static tn_step_part part_of(const trainer *t, int b)
{
    const int n = samples_of(t, b), first = b * t->s->training.batch_size, each = 3 * tn_sample_answers(&t->train);
    const tn_prep prep = tn_engine_prep(t->e, true);
    for (int i = 0; i < n; i++) tn_sample_labels(t->labels + i * each, &t->train, t->order[first + i], &prep, t->epoch, first + i);
    return (tn_step_part){.first = t->share.first, .counted = tn_engine_counted(t->e, t->labels, n)};
}

static int train_batch(trainer *t, tn_step_job *j, int b, tn_error *err)
{
    tn_step_part part;
    if (t->ranks) part = part_of(t, b), j->part = &part;
    const int rc = with_backoff(t, j, err);
    j->part = NULL;
    return rc ? rc : t->ranks && t->asked ? tn_cancelled(TN_PHASE_TRAINING, err) : 0;
}

static void begin_epoch(trainer *t, int epoch)
{
    t->epoch = epoch;
    t->first_step = t->st.step;
    t->epoch_loss = t->epoch_images = 0;
    t->counted = t->skipped = 0;
}

/* The epoch's steps that are not done yet. */
static int train_on(trainer *t, void *unused, tn_error *err)
{
    (void)unused;
    int batch = (int)(t->st.step - t->first_step);
    TN_TRY(start_loader(t, t->epoch, batch, err));
    t->told = tn_now();
    tn_step_job j = {
        .index = t->st.step, .features = t->features, .groups = groups_of(t, t->epoch), .lr = tn_recipe_rate(t->s, t->epoch)};
    for (; batch < t->batches; batch++, j.index++) {
        TN_TRY(tn_loader_next(t->train_loader, &j.batch, err));
        if (!t->ranks && !j.batch.n) break;
        TN_TRY(tn_pace_watch(t, batch, err));
        TN_TRY(train_batch(t, &j, batch, err));
    }
    TN_TRY(tn_stepper_drain(t->stepper, err));
    tn_pace_look(t);
    return 0;
}

/* Does something once more on the devices that are left, as often as one fails. */
static int persist(trainer *t, int (*something)(trainer *, void *, tn_error *), void *with, tn_error *err)
{
    for (;;) {
        const int rc = something(t, with, err);
        if (!rc || !tn_recover_can(t, rc)) return rc;
        TN_TRY(tn_recover(t, step_done, err));
    }
}

static int train_epoch(trainer *t, int epoch, double *mean, tn_error *err)
{
    begin_epoch(t, epoch);
    TN_TRY(persist(t, train_on, NULL, err));
    tn_record_compare(t->variants_before, t->e); /* which kernels run is known once they were recorded */
    json_decref(t->variants_before);
    t->variants_before = NULL;
    *mean = t->counted ? t->epoch_loss / t->counted : NAN;
    return 0;
}

static int evaluate(trainer *t, void *previews, tn_error *err)
{
    const tn_evaluate_options o = {.previews = previews, .ranks = t->ranks};
    return tn_evaluate(t->e, &t->seen, t->val_loader, &o, &t->measured, err);
}

static int validate(trainer *t, tn_epoch *ep, tn_error *err)
{
    if (!t->val.n) return 0;
    char *dir = t->writes ? tn_strf("%s/previews/epoch_%03d", t->folder.at.out, ep->epoch) : NULL;
    int rc = !t->writes ? 0 : dir ? tn_mkdirs(dir, err) : tn_oom(err);
    if (!rc) rc = persist(t, evaluate, dir, err);
    free(dir);
    TN_TRY(rc);
    ep->validated = true;
    if (isnan(t->st.best)) tn_metric_resolution_note(&t->measured, t->o->log);
    ep->val = &t->measured;
    ep->val_loss = t->measured.loss, ep->val_l2 = t->measured.l2, ep->val_pck = t->measured.pck;
    t->st.threshold = (float)t->measured.threshold;
    return 0;
}

static int write_checkpoint(trainer *t, void *dir, tn_error *err)
{
    TN_TRY(tn_engine_state_get(t->e, &t->st.optim, err));
    return tn_checkpoint_save(dir, t->e, t->own_config, &t->st, err);
}

static int save(trainer *t, const char *name, tn_error *err)
{
    char *dir = tn_path(t->folder.at.ckpt_dir, name);
    int rc = dir ? persist(t, write_checkpoint, dir, err) : tn_oom(err);
    free(dir);
    return rc;
}

/* What came of an epoch, as rank 0 sees it. */
static int judge(trainer *t, tn_epoch *ep, bool *enough, tn_error *err)
{
    struct {
        tn_trainer_state st;
        bool enough, best;
    } v = {.enough = tn_recipe_judge(&t->st, t->s, ep)};
    v.st = t->st;
    v.best = ep->best;
    TN_TRY(tn_ranks_tell(t->ranks, &v, sizeof v, err));
    v.st.micro = t->st.micro; /* a rank's own, where its device refused memory */
    t->st = v.st;
    ep->best = v.best;
    *enough = v.enough;
    t->st.epoch = ep->epoch;
    t->sum->best_metric = t->st.best;
    return 0;
}

static int write_epoch(trainer *t, tn_epoch *ep, tn_error *err)
{
    TN_TRY(tn_logs_epoch(t->logs, ep, t->st.step, t->epoch_images / fmax(ep->seconds, 1e-9), err));
    TN_TRY(tn_run_folder_make_way(&t->folder, err));
    if (ep->best || !tn_run_holds(t->folder.at.ckpt_dir, "best"))
        TN_TRY(save(t, "best", err)); /* a run that began elsewhere has none */
    TN_TRY(save(t, "last", err));
    tn_run_folder_settle(&t->folder);
    return 0;
}

static int end_epoch(trainer *t, tn_epoch *ep, tn_error *err)
{
    bool enough;
    TN_TRY(validate(t, ep, err));
    TN_TRY(judge(t, ep, &enough, err));
    if (t->writes) TN_TRY(write_epoch(t, ep, err));
    t->sum->epochs_run++;
    if (t->cb && t->cb->epoch && TN_CALLBACK(t->cb->epoch(t->cb->user, ep))) t->asked = true;
    if (t->asked && !t->ranks) return tn_cancelled(TN_PHASE_TRAINING, err);
    if (enough) {
        tn_logf(t->o->log, TN_LOG_INFO, "early stopping: %d epochs without gain", t->st.bad_epochs);
        t->stop = true;
        t->sum->stopped_early = 1;
    }
    return 0;
}

static void sum_up(trainer *t)
{
    tn_train_summary *s = t->sum;
    s->seconds = tn_now() - t->begin;
    s->images_per_second = t->images_done / fmax(s->seconds, 1e-9);
    for (int i = 0; i < t->e->team.n_dev; i++) s->allocated_peak += t->e->team.dev[i]->peak;
    s->trainable = tn_model_count(t->e->model, tn_engine_groups(t->e), true);
    s->parameters = tn_model_count(t->e->model, 7, false);
    s->quantized_modules = t->e->session->store->n_quantised;
    s->skipped_modules = t->e->session->store->n_skipped;
    tn_team_names(&t->e->team, s->device, sizeof s->device);
}

/* A few are how the loss scale finds its height; many say that float16 does not suit the run. */
static void say_skipped(trainer *t, tn_epoch *ep)
{
    ep->skipped = t->skipped;
    t->sum->skipped_steps += t->skipped;
    if (!ep->skipped) return;
    tn_logf(t->o->log, TN_LOG_INFO, "epoch %d: %d of %d steps overflowed float16 and were skipped; the loss scale is now %g",
            ep->epoch, ep->skipped, t->batches, t->loss_scale);
}

static int run_epochs(trainer *t, tn_error *err)
{
    const int frozen = tn_engine_frozen_epochs(t->e);
    if (t->st.epoch < frozen) TN_TRY(keep_features(t, err));
    for (int epoch = t->st.epoch; epoch < t->s->training.epochs && !t->stop; epoch++) {
        if (epoch == frozen) tn_trainer_forget_features(t);
        tn_epoch ep = {.epoch = epoch + 1, .lr = tn_recipe_rate(t->s, epoch)};
        TN_TRY(tn_pace_move(t, step_done, err));
        const double from = tn_now();
        TN_TRY(train_epoch(t, epoch, &ep.train_loss, err));
        TN_TRY(tn_engine_even(t->e, err));
        ep.seconds = tn_now() - from;
        say_skipped(t, &ep);
        TN_TRY(end_epoch(t, &ep, err));
    }
    return 0;
}

int tn_train(const tn_config *c, const tn_run_options *o, const tn_train_callbacks *cb, tn_train_summary *summary, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_train's configuration", err));
    TN_TRY(tn_run_check(&o, err));
    TN_TRY(tn_versioned(cb, TN_TRAIN_CALLBACKS_VERSION, "tn_train_callbacks", err));
    TN_TRY(tn_versioned(summary, TN_TRAIN_SUMMARY_VERSION, "tn_train_summary", err));
    tn_train_summary unused;
    trainer t = {.c = c, .s = tn_config_settings(c), .o = o, .cb = cb, .sum = summary ? summary : &unused, .ranks = o->ranks};
    t.writes = !tn_ranks_number(t.ranks);
    for (size_t i = 0; i < TN_COUNT(t.slow); i++) t.slow[i] = 1;
    *t.sum = (tn_train_summary)TN_TRAIN_SUMMARY_INIT;
    int rc = tn_trainer_open(&t, step_done, err);
    t.begin = tn_now();
    if (!rc) rc = run_epochs(&t, err);
    if (t.e) sum_up(&t);
    tn_error unread; /* a run that was stopped has its own sentence */
    if (!rc) rc = tn_engine_full_float32(t.e, t.st.micro, &t.sum->planned.full_float32, err);
    else if (rc == TN_ERR_CANCELLED && t.e && t.st.micro)
        (void)tn_engine_full_float32(t.e, t.st.micro, &t.sum->planned.full_float32, &unread);
    tn_trainer_close(&t);
    return rc;
}
