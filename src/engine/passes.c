/* What an open engine is asked for: its state, its loss, and the passes that runs make. */
#include "engine.h"
#include "share.h"

#include <string.h>

int tn_engine_state_set(tn_engine *e, const tn_optim_state *s, tn_error *err)
{
    for (int i = 0; i < e->team.n; i++) TN_TRY(tn_ctx_state_set(&e->team.member[i].session->ctx, s, err));
    return 0;
}

int tn_engine_state_get(tn_engine *e, tn_optim_state *s, tn_error *err)
{
    return tn_ctx_state_get(&e->session->ctx, s, err);
}

int tn_engine_finish(tn_engine *e, tn_error *err)
{
    for (int i = 0; i < e->team.n_dev; i++) TN_TRY(tn_dev_finish(e->team.dev[i], err));
    return 0;
}

tn_loss_spec tn_engine_loss(const tn_engine *e)
{
    return tn_loss_named(e->s->training.loss, e->s->training.alpha, e->s->training.beta, e->s->training.pos_weight);
}

int tn_engine_batch(const tn_engine *e, int micro)
{
    const int batch = e->s->training.batch_size, micros = TN_CEIL_DIV(batch, micro);
    return TN_MIN(batch, micro * TN_CEIL_DIV(micros, tn_ranks_count(e->ranks)));
}

int tn_engine_groups(const tn_engine *e)
{
    return TN_GROUP_HEAD | (e->s->model.lora.enabled ? TN_GROUP_LORA : 0) | (e->model->train_backbone ? TN_GROUP_BACKBONE : 0);
}

int tn_engine_frozen_epochs(const tn_engine *e)
{
    const int all = e->s->training.epochs;
    return tn_engine_groups(e) == TN_GROUP_HEAD ? all : TN_MIN(e->s->training.freeze_epochs, all);
}

bool tn_engine_draws_rope(const tn_engine *e)
{
    return e->s->model.rope_augment && tn_model_drawn(e->model) > 0;
}

void tn_engine_features(tn_feature_list *f, const tn_engine *e)
{
    e->model->backbone.family->architecture->features(e->model, f);
}

tn_pass tn_engine_train_pass(const tn_engine *e, int batch, int groups)
{
    return (tn_pass){.batch = batch,
                     .act = e->act,
                     .groups = groups,
                     .training = true,
                     .loss = true,
                     .logits = tn_loss_logits(e->s->training.loss),
                     .heat = true,
                     .recompute = e->recompute,
                     .kept = e->recompute ? e->layers_kept : 0,
                     .frames = true,
                     .normalize = e->s->data.normalize,
                     .sigma = (float)e->s->model.sigma,
                     .negative = tn_engine_teaches_empty(e)};
}

tn_pass tn_engine_features_pass(const tn_engine *e, int batch)
{
    return (tn_pass){
        .batch = batch, .act = e->act, .frames = true, .normalize = e->s->data.normalize, .stretch = TN_STRETCH_TO_FEATURES};
}

tn_pass tn_engine_head_pass(const tn_engine *e, int batch)
{
    tn_pass p = tn_engine_train_pass(e, batch, TN_GROUP_HEAD);
    p.stretch = TN_STRETCH_FROM_FEATURES;
    return p;
}

tn_pass tn_engine_eval_pass(const tn_engine *e, int batch, bool loss)
{
    return (tn_pass){.batch = batch,
                     .act = e->act,
                     .loss = loss,
                     .logits = tn_loss_logits(e->s->training.loss),
                     .heat = true,
                     .merged = e->session->store->merged,
                     .norms = e->session->store->merged && e->session->store->norms,
                     .frames = true,
                     .normalize = e->s->data.normalize,
                     .sigma = (float)e->s->model.sigma,
                     .negative = tn_engine_teaches_empty(e)};
}
