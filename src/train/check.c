/* What can be known of a training run before it begins. */
#include "checkpoint.h"
#include "dataset.h"
#include "entry.h"
#include "frozen.h"
#include "run_folder.h"
#include <tracknet/train.h>

static int plan(tn_engine *e, tn_memory *m, tn_error *err)
{
    int micro;
    TN_TRY(tn_engine_fit(e, &micro, m, err));
    return tn_engine_full_float32(e, micro, &m->full_float32, err);
}

int tn_plan_memory(const tn_config *c, const tn_run_options *o, tn_memory *m, tn_error *err)
{
    TN_ENTRY(err);
    tn_engine *e;
    TN_TRY(tn_required(c, "tn_plan_memory's configuration", err));
    TN_TRY(tn_struct(m, TN_MEMORY_VERSION, "tn_memory", err));
    TN_TRY(tn_run_check(&o, err));
    TN_TRY(tn_engine_open(&e, tn_config_settings(c), o, true, true, err));
    const int rc = plan(e, m, err);
    tn_engine_close(e);
    return rc;
}

/* n: the samples that there are. */
static int check_split(int *n, const tn_settings *s, bool training, const tn_log *log, tn_error *err)
{
    tn_dataset d = {0};
    const int rc = tn_samples_read(&d, s, training, training, log, err);
    *n = tn_samples(&d);
    tn_dataset_free(&d);
    return rc;
}

int tn_train_check(const tn_config *c, const tn_run_options *o, tn_memory *m, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_train_check's configuration", err));
    TN_TRY(tn_struct(m, TN_MEMORY_VERSION, "tn_memory", err));
    TN_TRY(tn_run_check(&o, err));
    const tn_settings *s = tn_config_settings(c);
    tn_engine *e;
    tn_trainer_state st;
    tn_features_plan features;
    int n;
    TN_TRY(tn_engine_open(&e, s, o, true, true, err));
    int rc = plan(e, m, err);
    if (!rc) rc = tn_run_folder_check(s, o, err);
    if (!rc) rc = check_split(&n, s, true, o->log, err);
    if (!rc) tn_features_fit(&features, e, n, m);
    if (!rc && s->data.val_games.n) rc = check_split(&n, s, false, o->log, err);
    if (!rc) rc = tn_checkpoint_start(e, o->resume, &st, err);
    tn_engine_close(e);
    return rc;
}
