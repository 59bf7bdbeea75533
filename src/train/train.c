/* The training loop. Everything it decides is in the configuration, the plan and the checkpoint's state, so that the
 * same seed gives the same bits and a resumed run equals one that was never stopped. */
#include "agree.h"
#include "clock.h"
#include "deal.h"
#include "entry.h"
#include "even.h"
#include "exchange.h"
#include "files.h"
#include "gradsum.h"
#include "logs.h"
#include "machine.h"
#include "metrics.h"
#include "recipe.h"
#include "record.h"
#include "report.h"
#include "run_folder.h"
#include "stepper.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const tn_config *c;
    const tn_settings *s;
    const tn_run_options *o;
    const tn_train_callbacks *cb;
    tn_engine *e;
    tn_dataset train, val;
    tn_dataset seen; /* of val what a validation looks at; borrows its frames */
    tn_loader *train_loader, *val_loader;
    tn_trainer_state st;
    tn_eval_result measured; /* by the last validation */
    tn_train_summary *sum;
    tn_stepper *stepper;
    tn_ranks *ranks;          /* NULL: alone */
    tn_gradsum *gradsum;      /* NULL: alone */
    bool writes;              /* rank 0 does */
    bool asked;               /* a callback wants the run to stop; with ranks, after a step: of any of them */
    tn_features_plan planned; /* of the frozen backbone's features */
    tn_features *features;    /* NULL: none, or not now */
    tn_logs *logs;
    json_t *variants_before; /* of the run that is gone on with, until compared */
    tn_deal deal;
    int epoch;            /* the one being trained, from 0 */
    long long first_step; /* of that */
    tn_run_folder folder;
    tn_config *own_config;                               /* what the checkpoints keep: the configuration, with the run's folders */
    double begin, images_done, epoch_loss, epoch_images; /* sums; of steps whose results have come */
    double told;                                         /* when the last result came */
    double loss_scale;                                   /* after that result */
    int counted, skipped;                                /* the epoch's steps with a loss; that overflowed float16 */
    bool stop;
} trainer;

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

static int report_step(trainer *t, const tn_step_result *r, int images, tn_error *err)
{
    t->images_done += images;
    const double spent = tn_now() - t->begin;
    const long long steps = (long long)t->s->training.epochs * t->deal.batches, left = steps - t->st.step;
    const double per_image = spent / fmax(t->images_done, 1);
    tn_step s = {t->epoch + 1,
                 t->s->training.epochs,
                 t->st.step,
                 steps,
                 r->loss,
                 r->lr,
                 1 / fmax(per_image, 1e-9),
                 per_image * (double)left * t->s->training.batch_size};
    const bool enough = (t->cb && t->cb->step && TN_CALLBACK(t->cb->step(t->cb->user, &s))) ||
                        tn_watch_tell(&t->e->watch, TN_PHASE_TRAINING, NULL, t->st.step, steps, err);
    t->asked |= enough;
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
    const int images = tn_deal_frames(&t->deal, r->index - t->first_step);
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

static void forget_features(trainer *t)
{
    if (t->features) tn_loader_labels_only(t->train_loader, false);
    tn_features_free(t->features);
    t->features = NULL;
}

/* ---- one epoch ---- */

static int train_batch(trainer *t, tn_step_job *j, int b, tn_error *err)
{
    const tn_step_part part = tn_deal_part(&t->deal, t->e, &t->train, b);
    if (t->ranks) j->part = &part;
    const int rc = with_backoff(t, j, err);
    j->part = NULL;
    return rc ? rc : t->ranks && t->asked ? tn_cancelled(TN_PHASE_TRAINING, err) : 0;
}

static int train_epoch(trainer *t, int epoch, double *mean, tn_error *err)
{
    int batches = 0;
    TN_TRY(tn_deal_start(&t->deal, t->train_loader, t->train.n, (uint64_t)t->s->training.seed, epoch, err));
    t->epoch = epoch;
    t->first_step = t->st.step;
    t->epoch_loss = t->epoch_images = 0;
    t->counted = t->skipped = 0;
    t->told = tn_now();
    tn_step_job j = {
        .index = t->st.step, .features = t->features, .groups = groups_of(t, epoch), .lr = tn_recipe_rate(t->s, epoch)};
    for (; batches < t->deal.batches; batches++, j.index++) {
        TN_TRY(tn_loader_next(t->train_loader, &j.batch, err));
        if (!t->ranks && !j.batch.n) break;
        TN_TRY(train_batch(t, &j, batches, err));
    }
    TN_TRY(tn_stepper_drain(t->stepper, err));
    tn_record_compare(t->variants_before, t->e); /* which kernels run is known once they were recorded */
    json_decref(t->variants_before);
    t->variants_before = NULL;
    *mean = t->counted ? t->epoch_loss / t->counted : NAN;
    return 0;
}

static int validate(trainer *t, tn_epoch *ep, tn_error *err)
{
    if (!t->val.n) return 0;
    char *dir = t->writes ? tn_strf("%s/previews/epoch_%03d", t->folder.at.out, ep->epoch) : NULL;
    int rc = !t->writes ? 0 : dir ? tn_mkdirs(dir, err) : tn_oom(err);
    const tn_evaluate_options o = {.previews = dir, .ranks = t->ranks};
    if (!rc) rc = tn_evaluate(t->e, &t->seen, t->val_loader, &o, &t->measured, err);
    free(dir);
    TN_TRY(rc);
    ep->validated = true;
    if (isnan(t->st.best)) tn_metric_resolution_note(&t->measured, t->o->log);
    ep->val = &t->measured;
    ep->val_loss = t->measured.loss, ep->val_l2 = t->measured.l2, ep->val_pck = t->measured.pck;
    t->st.threshold = (float)t->measured.threshold;
    return 0;
}

static int save(trainer *t, const char *name, tn_error *err)
{
    TN_TRY(tn_ctx_state_get(&t->e->session->ctx, &t->st.optim, err));
    char *dir = tn_path(t->folder.at.ckpt_dir, name);
    int rc = dir ? tn_checkpoint_save(dir, t->e, t->own_config, &t->st, err) : tn_oom(err);
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

/* ---- setting up ---- */

static int open_data(trainer *t, tn_error *err)
{
    const tn_settings *s = t->s;
    const bool strict = s->training.strict_labels;
    TN_TRY(tn_dataset_read(&t->train, s->data.root, &s->data.train_games, "train", strict, t->o->log, err));
    TN_TRY(tn_dataset_check_ball(&t->train, "train", err));
    if (s->data.val_games.n) TN_TRY(tn_dataset_read(&t->val, s->data.root, &s->data.val_games, "val", strict, t->o->log, err));
    t->seen = t->val;
    if (s->training.limit_val > 0)
        t->seen.n = TN_MIN(t->val.n, s->training.batch_size *
                                         tn_recipe_limit(TN_CEIL_DIV(t->val.n, s->training.batch_size), s->training.limit_val));
    tn_metric_notes(s, &t->train, &t->seen, t->o->log);
    return tn_deal_new(&t->deal, s, t->train.n, err);
}

/* Host memory that frames may stay in, bytes. What is read once is not kept. */
static size_t cache_limit(const trainer *t)
{
    const double gb = t->s->training.cache_gb;
    if (t->s->training.epochs - t->st.epoch <= 1) return 0;
    if (gb >= 0) return (size_t)(gb * 1e9);
    int which;
    const size_t there = tn_memory_free() / (size_t)tn_ranks_local(t->ranks, &which),
                 taken = t->e->dev->info.unified_memory ? t->sum->planned.total : 0;
    return there > taken ? (there - taken) / 4 : 0;
}

static int open_loader(trainer *t, tn_loader **l, const tn_dataset *d, bool training, size_t keep, tn_error *err)
{
    const tn_settings *s = t->s;
    tn_prep p = tn_engine_prep(t->e, training);
    int batch = TN_MIN(s->training.batch_size, d->n);
    if (t->ranks && training) {
        p.first = t->deal.share.first;
        p.whole = s->training.batch_size;
        batch = TN_MAX(TN_MIN(t->deal.share.n, d->n), 1);
    }
    return tn_loader_new(l, d, &p, batch, s->training.workers, s->training.prefetch, keep, err);
}

/* The training frames come first. */
static int open_loaders(trainer *t, tn_error *err)
{
    const size_t limit = cache_limit(t);
    size_t bytes;
    TN_TRY(open_loader(t, &t->train_loader, &t->train, true, limit, err));
    int kept = tn_loader_keeps(t->train_loader, &bytes);
    if (t->val.n) {
        TN_TRY(open_loader(t, &t->val_loader, &t->seen, false, limit - (size_t)kept * bytes, err));
        kept += tn_loader_keeps(t->val_loader, &bytes);
    }
    const int all = t->train.n + t->seen.n;
    if (limit)
        tn_logf(t->o->log, TN_LOG_INFO, "decoded frames kept in memory: %.3g GB of %.3g GB%s", 1e-9 * (double)bytes * kept,
                1e-9 * (double)limit, kept < all ? "; the frames beyond are decoded every epoch" : "");
    return 0;
}

/* The folder before anything else: what stands in it is told at once, and what a dead run left there is put right. */
static int open_folder(trainer *t, tn_error *err)
{
    if (!t->writes) return 0;
    TN_TRY(tn_run_folder_open(&t->folder, t->s, t->o, err));
    snprintf(t->sum->output_dir, sizeof t->sum->output_dir, "%s", t->folder.at.out);
    return tn_run_folder_config(&t->own_config, &t->folder, t->c, err);
}

/* What a rank does for itself. */
static int open_engine(trainer *t, tn_error *err)
{
    TN_TRY(open_data(t, err));
    TN_TRY(tn_engine_open(&t->e, t->s, t->o, true, false, err));
    t->st = (tn_trainer_state){
        .best = NAN, .es_best = NAN, .optim = {.factor = 1, .finite = 1, .loss_scale = t->e->act == TN_F16 ? 65536 : 1}};
    TN_TRY(tn_checkpoint_start(t->e, t->o->resume, &t->st, err));
    if (t->o->resume) t->variants_before = tn_record_variants(t->o->resume);
    return tn_ctx_state_set(&t->e->session->ctx, &t->st.optim, err);
}

static int plan_memory(trainer *t, tn_error *err)
{
    int micro;
    TN_TRY(tn_engine_fit(t->e, &micro, &t->sum->planned, err));
    tn_features_fit(&t->planned, t->e, t->train.n, &t->sum->planned);
    if (!t->st.micro || micro < t->st.micro) t->st.micro = micro;
    return 0;
}

/* All ranks have the micro-batch of the one with the least memory, so that their shares make up the batch. */
static int settle_micro(trainer *t, tn_error *err)
{
    TN_TRY(tn_ranks_least(t->ranks, &t->st.micro, err));
    t->deal.share = tn_share_of(tn_ranks_count(t->ranks), tn_ranks_number(t->ranks), t->s->training.batch_size, t->st.micro);
    if (t->st.micro < t->deal.share.batch)
        tn_logf(t->o->log, TN_LOG_INFO, "micro-batches of %d: a step of %d is summed from parts", t->st.micro, t->deal.share.batch);
    return 0;
}

static int open_stepper(trainer *t, tn_error *err)
{
    TN_TRY(tn_stepper_new(&t->stepper, t->e, TN_MAX(t->deal.share.n, 1), step_done, t, err));
    if (!t->ranks) return 0;
    TN_TRY(tn_gradsum_new(&t->gradsum, t->e, &t->asked, err));
    const tn_step_others others = tn_gradsum_others(t->gradsum);
    tn_stepper_join(t->stepper, &others);
    return 0;
}

static int open_rest(trainer *t, tn_error *err)
{
    TN_TRY(open_stepper(t, err));
    TN_TRY(open_loaders(t, err));
    return t->writes ? tn_logs_open(&t->logs, t->folder.at.log_dir, &t->st, t->o->resume != NULL, err) : 0;
}

/* A rank that fails meanwhile takes the others with it at the next check, which is before it is waited for in anything else. */
static int prepare(trainer *t, tn_error *err)
{
    TN_TRY(tn_ranks_check(t->ranks, open_folder(t, err), err));
    TN_TRY(tn_ranks_check(t->ranks, open_engine(t, err), err));
    TN_TRY(tn_agree(&(tn_agreement){t->c, &t->train, &t->val, t->e, t->o->resume}, err));
    TN_TRY(tn_engine_settle(t->e, err));
    TN_TRY(tn_ranks_check(t->ranks, plan_memory(t, err), err));
    TN_TRY(settle_micro(t, err));
    TN_TRY(tn_ranks_check(t->ranks, open_rest(t, err), err));
    return tn_engine_even(t->e, err);
}

static void close_all(trainer *t)
{
    tn_loader_free(t->train_loader);
    tn_loader_free(t->val_loader);
    tn_stepper_free(t->stepper);
    tn_gradsum_free(t->gradsum);
    tn_features_free(t->features);
    tn_logs_close(t->logs);
    json_decref(t->variants_before);
    tn_engine_close(t->e);
    tn_dataset_free(&t->train);
    tn_dataset_free(&t->val);
    tn_deal_free(&t->deal);
    tn_config_free(t->own_config);
    tn_run_folder_close(&t->folder);
}

static void sum_up(trainer *t)
{
    tn_train_summary *s = t->sum;
    s->seconds = tn_now() - t->begin;
    s->images_per_second = t->images_done / fmax(s->seconds, 1e-9);
    s->allocated_peak = t->e->dev->peak;
    s->trainable = tn_model_count(t->e->model, tn_engine_groups(t->e), true);
    s->parameters = tn_model_count(t->e->model, 7, false);
    s->quantized_modules = t->e->session->store->n_quantised;
    s->skipped_modules = t->e->session->store->n_skipped;
    snprintf(s->device, sizeof s->device, "%s", t->e->dev->info.name);
}

/* A few are how the loss scale finds its height; many say that float16 does not suit the run. */
static void say_skipped(trainer *t, tn_epoch *ep)
{
    ep->skipped = t->skipped;
    t->sum->skipped_steps += t->skipped;
    if (!ep->skipped) return;
    tn_logf(t->o->log, TN_LOG_INFO, "epoch %d: %d of %d steps overflowed float16 and were skipped; the loss scale is now %g",
            ep->epoch, ep->skipped, t->deal.batches, t->loss_scale);
}

static int run_epochs(trainer *t, tn_error *err)
{
    const int frozen = tn_engine_frozen_epochs(t->e);
    if (t->st.epoch < frozen) TN_TRY(keep_features(t, err));
    for (int epoch = t->st.epoch; epoch < t->s->training.epochs && !t->stop; epoch++) {
        if (epoch == frozen) forget_features(t);
        tn_epoch ep = {.epoch = epoch + 1, .lr = tn_recipe_rate(t->s, epoch)};
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
    *t.sum = (tn_train_summary)TN_TRAIN_SUMMARY_INIT;
    int rc = prepare(&t, err);
    t.begin = tn_now();
    if (!rc) rc = run_epochs(&t, err);
    if (t.e) sum_up(&t);
    tn_error unread; /* a run that was stopped has its own sentence */
    if (!rc) rc = tn_engine_full_float32(t.e, t.st.micro, &t.sum->planned.full_float32, err);
    else if (rc == TN_ERR_CANCELLED && t.e && t.st.micro)
        (void)tn_engine_full_float32(t.e, t.st.micro, &t.sum->planned.full_float32, &unread);
    close_all(&t);
    return rc;
}
