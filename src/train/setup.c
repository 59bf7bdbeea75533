/* What a training run opens before its first step, and closes. */
#include "agree.h"
#include "even.h"
#include "exchange.h"
#include "files.h"
#include "machine.h"
#include "record.h"
#include "report.h"
#include "trainer.h"

#include <math.h>
#include <stdlib.h>

static int read_splits(trainer *t, tn_error *err)
{
    const tn_settings *s = t->s;
    TN_TRY(tn_samples_read(&t->train, s, true, true, t->o->log, err));
    if (s->data.val_games.n) TN_TRY(tn_samples_read(&t->val, s, false, false, t->o->log, err));
    t->seen = t->val;
    const int batch = s->training.batch_size, all = TN_CEIL_DIV(tn_samples(&t->val), batch);
    if (s->training.limit_val > 0) tn_dataset_limit(&t->seen, batch * tn_recipe_limit(all, s->training.limit_val));
    tn_metric_notes(s, &t->train, &t->seen, t->o->log);
    return 0;
}

static int open_data(trainer *t, tn_error *err)
{
    const tn_settings *s = t->s;
    TN_TRY(read_splits(t, err));
    const int n = tn_samples(&t->train), batch = s->training.batch_size;
    const bool drop = s->training.drop_last && n >= batch;
    t->samples = drop ? n - n % batch : n;
    t->batches = tn_recipe_limit(TN_CEIL_DIV(t->samples, batch), s->training.limit_train);
    t->order = malloc(2 * sizeof *t->order * (size_t)n);
    t->own = t->order ? t->order + n : NULL;
    t->labels = malloc((size_t)batch * (size_t)tn_sample_answers(&t->train) * 3 * sizeof *t->labels);
    return t->order && t->labels ? 0 : tn_oom(err);
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
    const int n = tn_samples(d);
    int batch = TN_MIN(s->training.batch_size, n);
    if (t->ranks && training) {
        p.first = t->share.first;
        p.whole = s->training.batch_size;
        batch = TN_MAX(TN_MIN(t->share.n, n), 1);
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
    const int all = tn_sampled_frames(&t->train) + tn_sampled_frames(&t->seen);
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

int tn_trainer_engine(trainer *t, tn_error *err)
{
    TN_TRY(tn_trainer_divide(t, err));
    TN_TRY(tn_engine_open(&t->e, t->s, t->o, true, false, err));
    t->st = (tn_trainer_state){
        .best = NAN, .es_best = NAN, .optim = {.factor = 1, .finite = 1, .loss_scale = t->e->act == TN_F16 ? 65536 : 1}};
    TN_TRY(tn_checkpoint_start(t->e, t->o->resume, &t->st, err));
    if (t->o->resume) t->variants_before = tn_record_variants(t->o->resume);
    return tn_engine_state_set(t->e, &t->st.optim, err);
}

int tn_trainer_plan(trainer *t, tn_error *err)
{
    int micro;
    TN_TRY(tn_engine_fit(t->e, &micro, &t->sum->planned, err));
    tn_features_fit(&t->planned, t->e, tn_samples(&t->train), &t->sum->planned);
    if (!t->st.micro || micro < t->st.micro) t->st.micro = micro;
    return 0;
}

/* All ranks have the micro-batch of the one with the least memory, so that their shares make up the batch. */
static int settle_micro(trainer *t, tn_error *err)
{
    const int n = tn_ranks_count(t->ranks);
    int *all = malloc(sizeof *all * (size_t)n);
    const int rc = all ? tn_ranks_collect(t->ranks, &t->st.micro, sizeof *all, all, err) : tn_oom(err);
    for (int i = 0; !rc && i < n; i++) t->st.micro = TN_MIN(t->st.micro, all[i]);
    free(all);
    if (rc) return rc;
    t->share = tn_share_of(n, tn_ranks_number(t->ranks), t->s->training.batch_size, t->st.micro);
    if (t->st.micro < t->share.batch)
        tn_logf(t->o->log, TN_LOG_INFO, "micro-batches of %d: a step of %d is summed from parts", t->st.micro, t->share.batch);
    return 0;
}

static int open_stepper(trainer *t, tn_step_done done, tn_error *err)
{
    TN_TRY(tn_stepper_new(&t->stepper, t->e, TN_MAX(t->share.n, 1), done, t, err));
    if (!t->ranks) return 0;
    TN_TRY(tn_gradsum_new(&t->gradsum, t->e, &t->asked, err));
    const tn_step_others others = tn_gradsum_others(t->gradsum);
    tn_stepper_join(t->stepper, &others);
    return 0;
}

static int open_rest(trainer *t, tn_step_done done, tn_error *err)
{
    TN_TRY(open_stepper(t, done, err));
    TN_TRY(open_loaders(t, err));
    return t->writes ? tn_logs_open(&t->logs, t->folder.at.log_dir, &t->st, t->o->resume != NULL, err) : 0;
}

/* What a rank does for itself. */
static int open_own(trainer *t, tn_error *err)
{
    TN_TRY(open_data(t, err));
    return tn_trainer_engine(t, err);
}

/* A rank that fails meanwhile takes the others with it at the next check, which is before it is waited for in anything else. */
int tn_trainer_open(trainer *t, tn_step_done done, tn_error *err)
{
    TN_TRY(tn_ranks_check(t->ranks, open_folder(t, err), err));
    TN_TRY(tn_ranks_check(t->ranks, open_own(t, err), err));
    TN_TRY(tn_agree(&(tn_agreement){t->c, &t->train, &t->val, t->e, t->o->resume}, err));
    TN_TRY(tn_engine_settle(t->e, err));
    TN_TRY(tn_ranks_check(t->ranks, tn_trainer_plan(t, err), err));
    TN_TRY(settle_micro(t, err));
    TN_TRY(tn_ranks_check(t->ranks, open_rest(t, done, err), err));
    return tn_engine_even(t->e, err);
}

void tn_trainer_forget_features(trainer *t)
{
    if (t->features) tn_loader_labels_only(t->train_loader, false);
    tn_features_free(t->features);
    t->features = NULL;
}

void tn_trainer_close(trainer *t)
{
    tn_loader_free(t->train_loader);
    tn_loader_free(t->val_loader);
    tn_stepper_free(t->stepper);
    tn_gradsum_free(t->gradsum);
    tn_features_free(t->features);
    tn_rescue_free(&t->rescued);
    free(t->stages);
    free(t->watched);
    tn_logs_close(t->logs);
    json_decref(t->variants_before);
    tn_engine_close(t->e);
    tn_dataset_free(&t->train);
    tn_dataset_free(&t->val);
    free(t->order);
    free(t->labels);
    tn_config_free(t->own_config);
    tn_run_folder_close(&t->folder);
}
