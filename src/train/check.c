/* What can be known of a training run before it begins. */
#include "dataset.h"
#include "engine.h"
#include "entry.h"
#include <tracknet/train.h>

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

static int check_split(const tn_config *c, const tn_strs *games, const char *what, const tn_log *log, tn_error *err)
{
    const tn_settings *s = tn_config_settings(c);
    tn_dataset d = {0};
    int rc = tn_dataset_read(&d, s->data.root, games, what, s->training.strict_labels, log, err);
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
    TN_TRY(tn_plan_memory(c, o, m, err));
    TN_TRY(check_split(c, &s->data.train_games, "train", o->log, err));
    return s->data.val_games.n ? check_split(c, &s->data.val_games, "val", o->log, err) : 0;
}
