/* The training loop. Everything it decides is in the configuration, the plan and the checkpoint's state, so that the
 * same seed gives the same bits and a resumed run equals one that was never stopped. */
#include "clock.h"
#include "entry.h"
#include "files.h"
#include "metrics.h"

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
    tn_loader *train_loader, *val_loader;
    tn_trainer_state st;
    tn_train_summary *sum;
    tn_step_constants now;
    int *order, batches;
    char *out, *log_dir, *ckpt_dir;
    double begin, images_done;
    bool stop;
} trainer;

/* LinearLR, then CosineAnnealingLR restarting at the full rate (torch.optim.lr_scheduler, closed forms). */
static double rate_of(const tn_settings *s, int epoch)
{
    const double base = s->training.lr, f = s->training.warmup_factor;
    const int m = s->training.warmup_epochs;
    if (!s->training.scheduler || !strcmp(s->training.scheduler, "none")) return base;
    if (epoch < m) return base * (f + (1 - f) * epoch / m);
    const int t_max = TN_MAX(1, s->training.epochs - m);
    return base * (1 + cos(M_PI * (epoch - m) / t_max)) / 2;
}

static int groups_of(const trainer *t, int epoch)
{
    return epoch < t->s->training.freeze_epochs ? TN_GROUP_HEAD : tn_engine_groups(t->e);
}

/* ---- one step ---- */

/* DINOv3's coordinate augmentation: one draw for each forward pass, shared by batch and layers. */
static int augment_rope(trainer *t, tn_exec *x, uint32_t seed, tn_error *err)
{
    const tn_vit *v = &t->e->model->vit;
    if (!t->s->model.rope_augment || !v->rope) return 0;
    tn_rng r = tn_rng_named(seed, "rope");
    double d[4] = {0, 0, 1, 1};
    if (v->rope_shift > 0)
        for (int i = 0; i < 2; i++) d[i] = (2 * tn_rng_uniform(&r) - 1) * v->rope_shift;
    for (int i = 2; v->rope_jitter > 0 && i < 4; i++) d[i] *= exp((2 * tn_rng_uniform(&r) - 1) * log((double)v->rope_jitter));
    if (v->rope_rescale > 0) {
        double k = exp((2 * tn_rng_uniform(&r) - 1) * log((double)v->rope_rescale));
        d[2] *= k, d[3] *= k;
    }
    const int gh = t->e->image_h / v->patch, gw = t->e->image_w / v->patch, hd = v->hidden / v->heads;
    const size_t n = (size_t)gh * (size_t)gw * (size_t)hd;
    float *table = malloc(n * sizeof *table);
    if (!table) return tn_oom(err);
    tn_rope_table(v, gh, gw, d, table);
    int rc = tn_buffer_write(x->mem[x->g.rope_table], 0, table, n * 4, err);
    free(table);
    return rc;
}

static int run_micro(trainer *t, const tn_batch *b, int first, int n, int groups, double inv, double *loss, tn_error *err)
{
    tn_engine *e = t->e;
    tn_session *s = e->session;
    tn_exec *x;
    tn_pass pass = tn_engine_train_pass(e, n, groups);
    const size_t image = 3 * (size_t)e->image_w * (size_t)e->image_h;
    TN_TRY(tn_session_get(&x, s, &pass, err));
    const uint32_t seed = tn_hash_u32((uint32_t)t->s->training.seed, (uint32_t)(t->st.step * 4096 + first));
    TN_TRY(augment_rope(t, x, seed, err));
    t->now.seed = seed;
    t->now.inv_mask = (float)inv;
    TN_TRY(tn_ctx_step(&s->ctx, &t->now, err));
    s->loss = (tn_loss_spec){!strcmp(t->s->training.loss, "focal"), (float)t->s->training.alpha, (float)t->s->training.beta};
    TN_TRY(tn_session_upload(s, x, x->g.pixels, b->frames + (size_t)first * image, err));
    TN_TRY(tn_session_upload(s, x, x->g.labels, b->labels + 3 * (size_t)first, err));
    TN_TRY(tn_session_run(s, x, err));
    double part;
    TN_TRY(tn_session_loss(s, x, &part, err));
    *loss += part;
    return 0;
}

static int forward_backward(trainer *t, const tn_batch *b, int groups, double *loss, tn_error *err)
{
    double visible = 0;
    for (int i = 0; i < b->n; i++) visible += b->labels[3 * i + 2];
    const double inv = 1 / fmax(visible * t->e->model->heat_w * t->e->model->heat_h, 1e-8);
    *loss = 0;
    TN_TRY(tn_store_zero_grad(t->e->session->store, err));
    for (int i = 0; i < b->n; i += t->st.micro) TN_TRY(run_micro(t, b, i, TN_MIN(t->st.micro, b->n - i), groups, inv, loss, err));
    return 0;
}

/* The same, with a smaller micro-batch each time the device refuses memory. */
static int with_backoff(trainer *t, const tn_batch *b, int groups, double *loss, tn_error *err)
{
    for (int tries = 0;; tries++) {
        int rc = forward_backward(t, b, groups, loss, err);
        if (rc != TN_ERR_MEMORY || !t->s->training.adaptive || tries >= t->s->training.oom_retries) return rc;
        int next = TN_MAX(t->s->training.min_micro, TN_MIN(t->st.micro - 1, (int)(t->st.micro / t->s->training.backoff)));
        if (next < 1 || next >= t->st.micro) return rc;
        tn_logf(t->o->log, TN_LOG_WARN, "%s; the micro-batch shrinks from %d to %d", err->message, t->st.micro, next);
        t->st.micro = next;
    }
}

static const tn_adam_spec adam = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};
static const int group_bits[TN_GROUPS] = {TN_GROUP_HEAD, TN_GROUP_LORA, TN_GROUP_BACKBONE};

/* What the checkpoint remembers of the optimiser, to the device. */
static int put_state(trainer *t, tn_error *err)
{
    tn_optim_state o = {.factor = 1, .finite = 1, .loss_scale = (float)t->st.loss_scale};
    for (int g = 0; g < TN_GROUPS; g++) o.steps[g] = (uint32_t)t->st.group_steps[g];
    return tn_ctx_state_set(&t->e->session->ctx, &o, err);
}

static int get_state(trainer *t, tn_error *err)
{
    tn_optim_state o;
    TN_TRY(tn_ctx_state_get(&t->e->session->ctx, &o, err));
    t->st.loss_scale = o.loss_scale;
    for (int g = 0; g < TN_GROUPS; g++) t->st.group_steps[g] = (int)o.steps[g];
    if (o.finite || t->e->act == TN_F16) return 0; /* float16 overflowed: the step was skipped, the next is scaled less */
    return tn_fail(err, TN_ERR_NUMERIC,
                   "the gradient is no longer finite at step %lld; lower training.optimizer.lr or set "
                   "training.grad_clip_norm",
                   t->st.step + 1);
}

static int apply_group(trainer *t, int g, tn_error *err)
{
    tn_store *st = t->e->session->store;
    tn_ctx *c = &t->e->session->ctx;
    const tn_optim_range r = tn_store_range(st, g);
    if (!strcmp(t->s->training.optimizer, "sgd")) return tn_sgd(c, &r, (float)t->s->training.momentum, err);
    return tn_adamw(c, &r, &adam, err);
}

static int optimise(trainer *t, int groups, tn_error *err)
{
    tn_store *st = t->e->session->store;
    TN_TRY(tn_clip(&t->e->session->ctx, st->grads, 0, st->n_params, &adam, err));
    for (int g = 0; g < TN_GROUPS; g++)
        if (groups & group_bits[g]) TN_TRY(apply_group(t, g, err));
    return get_state(t, err);
}

/* What the device needs to know of a step, but for each micro-batch's own. */
static void set_step(trainer *t, int groups, double lr)
{
    const tn_store *st = t->e->session->store;
    t->now = (tn_step_constants){.lr = (float)lr,
                                 .weight_decay = (float)t->s->training.weight_decay,
                                 .max_norm = (float)t->s->training.grad_clip_norm,
                                 .scaling = t->e->act == TN_F16};
    for (int g = 0; g < TN_GROUPS; g++)
        if ((groups & group_bits[g]) && st->group_len[g]) t->now.groups |= 1u << g;
}

static int report_step(trainer *t, int epoch, double loss, double lr, int images, tn_error *err)
{
    t->images_done += images;
    const double spent = tn_now() - t->begin;
    const long long steps = (long long)t->s->training.epochs * t->batches, left = steps - t->st.step;
    const double per_image = spent / fmax(t->images_done, 1);
    tn_step s = {epoch + 1,
                 t->s->training.epochs,
                 t->st.step,
                 steps,
                 loss,
                 lr,
                 1 / fmax(per_image, 1e-9),
                 per_image * (double)left * t->s->training.batch_size};
    if (t->cb && t->cb->step && t->cb->step(t->cb->user, &s)) return tn_cancelled(TN_PHASE_TRAINING, err);
    return tn_watch_tell(&t->e->watch, TN_PHASE_TRAINING, NULL, t->st.step, steps, err);
}

/* ---- one epoch ---- */

static int train_epoch(trainer *t, int epoch, double *mean, tn_error *err)
{
    const double lr = rate_of(t->s, epoch);
    const int groups = groups_of(t, epoch);
    int n = t->train.n, batches = 0;
    if (t->s->training.drop_last && n >= t->s->training.batch_size) n -= n % t->s->training.batch_size;
    tn_shuffle(t->order, t->train.n, (uint64_t)t->s->training.seed, epoch);
    TN_TRY(tn_loader_start(t->train_loader, t->order, n, epoch, err));
    *mean = 0;
    while (batches < t->batches) {
        tn_batch b;
        double loss;
        TN_TRY(tn_loader_next(t->train_loader, &b, err));
        if (!b.n) break;
        set_step(t, groups, lr);
        TN_TRY(with_backoff(t, &b, groups, &loss, err));
        if (!isfinite(loss) && t->e->act != TN_F16)
            return tn_fail(err, TN_ERR_NUMERIC, "the loss is %f at step %lld; lower training.optimizer.lr", loss, t->st.step + 1);
        TN_TRY(optimise(t, groups, err));
        if (!t->st.step) t->sum->first_loss = loss;
        t->st.step++;
        batches++;
        *mean += loss;
        t->sum->last_loss = loss;
        TN_TRY(report_step(t, epoch, loss, lr, b.n, err));
    }
    *mean /= TN_MAX(batches, 1);
    return 0;
}

static int log_line(const trainer *t, const tn_epoch *e, tn_error *err)
{
    char *path = tn_path(t->log_dir, "log.csv");
    if (!path) return tn_oom(err);
    const bool fresh = !tn_is_file(path);
    FILE *f = fopen(path, "a");
    bool ok = f != NULL;
    if (ok && fresh) ok = fprintf(f, "epoch,step,train/loss,lr,val/loss,val/l2,val/pck,seconds,images_per_second\n") > 0;
    if (ok) ok = fprintf(f, "%d,%lld,%.9g,%.9g,", e->epoch, t->st.step, e->train_loss, e->lr) > 0;
    if (ok && e->validated) ok = fprintf(f, "%.9g,%.6g,%.6g", e->val_loss, e->val_l2, e->val_pck) > 0;
    else if (ok) ok = fprintf(f, ",,") > 0;
    if (ok) ok = fprintf(f, ",%.3f,%.3f\n", e->seconds, t->train.n / fmax(e->seconds, 1e-9)) > 0;
    int code = errno;
    if (f && fclose(f)) ok = false, code = errno;
    int rc = ok ? 0 : tn_fail(err, TN_ERR_IO, "cannot write '%s': %s", path, strerror(code));
    free(path);
    return rc;
}

static int validate(trainer *t, tn_epoch *ep, tn_error *err)
{
    if (!t->val.n) return 0;
    tn_eval_result r;
    char *previews = tn_path(t->out, "previews"), *dir = previews ? tn_strf("%s/epoch_%03d", previews, ep->epoch) : NULL;
    int rc = dir ? tn_mkdirs(dir, err) : tn_oom(err);
    if (!rc) rc = tn_evaluate(t->e, &t->val, t->val_loader, dir, &r, err);
    free(previews);
    free(dir);
    TN_TRY(rc);
    ep->validated = true;
    ep->val_loss = r.loss, ep->val_l2 = r.l2, ep->val_pck = r.pck;
    return 0;
}

/* The value early stopping and "best" look at; without a validation split, the training loss. */
static double monitored(const trainer *t, const tn_epoch *ep, bool *larger_is_better)
{
    const char *what = t->s->training.es_monitor ? t->s->training.es_monitor : "val/loss";
    *larger_is_better = ep->validated && t->s->training.es_mode && !strcmp(t->s->training.es_mode, "max");
    if (!ep->validated) return ep->train_loss;
    if (!strcmp(what, "val/l2")) return ep->val_l2;
    if (!strcmp(what, "val/pck")) return ep->val_pck;
    return ep->val_loss;
}

static int save(trainer *t, const char *name, tn_error *err)
{
    char *dir = tn_path(t->ckpt_dir, name);
    int rc = dir ? tn_checkpoint_save(dir, t->e, t->c, &t->st, err) : tn_oom(err);
    free(dir);
    return rc;
}

static int end_epoch(trainer *t, tn_epoch *ep, tn_error *err)
{
    TN_TRY(validate(t, ep, err));
    bool larger;
    const double v = monitored(t, ep, &larger), gain = larger ? v - t->st.best : t->st.best - v;
    ep->best = isnan(t->st.best) || gain > t->s->training.es_min_delta;
    t->st.epoch = ep->epoch;
    if (ep->best) t->st.best = v, t->st.bad_epochs = 0;
    else t->st.bad_epochs++;
    t->sum->best_metric = t->st.best;
    TN_TRY(log_line(t, ep, err));
    if (ep->best) TN_TRY(save(t, "best", err));
    TN_TRY(save(t, "last", err));
    t->sum->epochs_run++;
    if (t->cb && t->cb->epoch && t->cb->epoch(t->cb->user, ep)) return tn_cancelled(TN_PHASE_TRAINING, err);
    if (t->s->training.es_patience > 0 && t->st.bad_epochs >= t->s->training.es_patience) {
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
    TN_TRY(tn_dataset_read(&t->train, s->data.root, &s->data.train_games, "train", t->o->log, err));
    if (s->data.val_games.n) TN_TRY(tn_dataset_read(&t->val, s->data.root, &s->data.val_games, "val", t->o->log, err));
    t->batches = TN_CEIL_DIV(t->train.n, s->training.batch_size);
    if (s->training.drop_last && t->train.n >= s->training.batch_size) t->batches = t->train.n / s->training.batch_size;
    if (s->training.limit_batches) t->batches = TN_MIN(t->batches, s->training.limit_batches);
    t->order = malloc(sizeof *t->order * (size_t)t->train.n);
    return t->order ? 0 : tn_oom(err);
}

static int open_loader(trainer *t, tn_loader **l, const tn_dataset *d, bool training, size_t *keep, tn_error *err)
{
    const tn_settings *s = t->s;
    const tn_prep p = tn_engine_prep(t->e, training);
    TN_TRY(tn_loader_new(l, d, &p, TN_MIN(s->training.batch_size, d->n), s->training.workers, s->training.prefetch, *keep, err));
    size_t bytes;
    const int kept = tn_loader_keeps(*l, &bytes);
    *keep -= (size_t)kept * bytes;
    if (kept < d->n)
        tn_logf(t->o->log, TN_LOG_INFO, "%d of the %s split's %d frames are kept in memory; the others are decoded every epoch",
                kept, training ? "train" : "val", d->n);
    return 0;
}

static int open_loaders(trainer *t, tn_error *err)
{
    size_t keep = TN_KEEP_BYTES;
    TN_TRY(open_loader(t, &t->train_loader, &t->train, true, &keep, err));
    return t->val.n ? open_loader(t, &t->val_loader, &t->val, false, &keep, err) : 0;
}

static int prepare(trainer *t, tn_error *err)
{
    const tn_settings *s = t->s;
    t->out = tn_expand_path(s->training.output_dir);
    t->log_dir = tn_expand_path(s->training.log_dir ? s->training.log_dir : s->training.output_dir);
    t->ckpt_dir = tn_expand_path(s->training.ckpt_dir ? s->training.ckpt_dir : s->training.output_dir);
    if (!t->out || !t->log_dir || !t->ckpt_dir) return tn_oom(err);
    TN_TRY(tn_check_writable_dir(t->out, err));
    TN_TRY(tn_check_writable_dir(t->log_dir, err));
    TN_TRY(tn_check_writable_dir(t->ckpt_dir, err));
    TN_TRY(open_data(t, err));
    TN_TRY(tn_engine_open(&t->e, s, t->o, true, false, err));
    t->st = (tn_trainer_state){.best = NAN, .loss_scale = t->e->act == TN_F16 ? 65536 : 1};
    if (s->training.init_from) TN_TRY(tn_checkpoint_load(s->training.init_from, t->e, err));
    if (t->o->resume) {
        TN_TRY(tn_checkpoint_load(t->o->resume, t->e, err));
        TN_TRY(tn_checkpoint_load_state(t->o->resume, t->e, &t->st, err));
    }
    TN_TRY(put_state(t, err));
    int micro;
    TN_TRY(tn_engine_fit(t->e, &micro, &t->sum->planned, err));
    if (!t->st.micro || micro < t->st.micro) t->st.micro = micro;
    if (t->st.micro < s->training.batch_size)
        tn_logf(t->o->log, TN_LOG_INFO, "micro-batches of %d: a step of %d is summed from parts", t->st.micro,
                s->training.batch_size);
    return open_loaders(t, err);
}

static void close_all(trainer *t)
{
    tn_loader_free(t->train_loader);
    tn_loader_free(t->val_loader);
    tn_engine_close(t->e);
    tn_dataset_free(&t->train);
    tn_dataset_free(&t->val);
    free(t->order);
    free(t->out);
    free(t->log_dir);
    free(t->ckpt_dir);
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

static int run_epochs(trainer *t, tn_error *err)
{
    for (int epoch = t->st.epoch; epoch < t->s->training.epochs && !t->stop; epoch++) {
        tn_epoch ep = {.epoch = epoch + 1, .lr = rate_of(t->s, epoch)};
        const double from = tn_now();
        TN_TRY(train_epoch(t, epoch, &ep.train_loss, err));
        ep.seconds = tn_now() - from;
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
    trainer t = {.c = c, .s = tn_config_settings(c), .o = o, .cb = cb, .sum = summary ? summary : &unused};
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

int tn_plan_memory(const tn_config *c, const tn_run_options *o, tn_memory *m, tn_error *err)
{
    TN_ENTRY(err);
    tn_engine *e;
    int micro;
    TN_TRY(tn_required(c, "tn_plan_memory's configuration", err));
    TN_TRY(tn_struct(m, TN_MEMORY_VERSION, "tn_memory", err));
    TN_TRY(tn_run_check(&o, err));
    TN_TRY(tn_engine_open(&e, tn_config_settings(c), o, true, true, err));
    int rc = tn_engine_fit(e, &micro, m, err);
    if (!rc) rc = tn_engine_full_float32(e, micro, &m->full_float32, err);
    tn_engine_close(e);
    return rc;
}
