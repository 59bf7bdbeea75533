/* How much device memory a run takes, from the plan, before it takes any. */
#include "channel.h"
#include "exchange.h"
#include "fit.h"
#include "lane.h"
#include "machine.h"
#include "predictor.h"
#include "replicas.h"
#include "stream.h"
#include "tensor_map.h"

#include <stdio.h>

enum { OPERANDS = 4 }; /* of a product, or of attention, that its descriptors are of */

/* How many operations of a node have descriptors. */
static int described(const tn_gnode *n)
{
    return n->n_parts + (n->op == TN_OP_ATTENTION || n->op == TN_OP_ATTENTION_BACK);
}

/* What the passes of a session take together. */
typedef struct {
    size_t chunk[TN_MAX_CHUNKS]; /* of the arena, which they share */
    size_t constants;            /* which they do not */
    int maps;                    /* descriptors of matrices that products may make */
    size_t workspace, crossing;
} takings;

/* times: executions of this kind that live beside each other, of a micro-batch and of a batch's rest. */
static int add_pass(takings *t, const tn_member *who, const tn_model *m, tn_store *st, tn_pass pass, int times, tn_error *err)
{
    tn_exec *x;
    TN_TRY(tn_exec_new(&x, who->dev, m, st, &pass, st == who->session->store ? &who->session->cut : NULL, err));
    for (int i = 0; i < x->plan.n_chunks; i++) t->chunk[i] = TN_MAX(t->chunk[i], x->plan.chunk_bytes[i]);
    for (int i = 0; i < x->g.n_t; i++)
        if (x->g.t[i].kind == TN_G_CONST && x->plan.t[i].last >= 0) t->constants += (size_t)times * tn_gtensor_bytes(&x->g.t[i]);
    for (int i = 0; pass.act != TN_F32 && i < x->g.n_n; i++) t->maps += times * OPERANDS * described(&x->g.n[i]);
    t->workspace = TN_MAX(t->workspace, x->workspace);
    t->crossing = TN_MAX(t->crossing, tn_channel_bytes(&x->g));
    tn_exec_free(NULL, x);
    return 0;
}

static size_t workspace_of(const takings *t, const tn_member *who)
{
    return t->workspace + tn_tensor_map_bytes(who->dev, t->maps);
}

static size_t arena_of(const takings *t)
{
    size_t sum = 0;
    for (int i = 0; i < TN_MAX_CHUNKS; i++) sum += t->chunk[i];
    return sum;
}

static size_t activations_of(const takings *t)
{
    return t->constants + arena_of(t);
}

static void sum_up(tn_memory *m)
{
    m->total = m->weights + m->parameters + m->gradients + m->optimizer + m->activations + m->workspace;
}

/* Training passes of a member, in all the flights that it has under way; then an evaluation's, in the first one's memory. */
static int member_activations(const tn_engine *e, const tn_member *who, int batch, int micro, tn_memory *m, tn_error *err)
{
    tn_store *st = who->session->store;
    takings t = {.workspace = 0};
    const int flights = tn_lane_flights(who, TN_CEIL_DIV(batch, micro)), times = 2 * flights;
    TN_TRY(add_pass(&t, who, e->model, st, tn_engine_train_pass(e, micro, tn_engine_groups(e)), times, err));
    if (e->s->training.freeze_epochs > 0)
        TN_TRY(add_pass(&t, who, e->model, st, tn_engine_train_pass(e, micro, TN_GROUP_HEAD), times, err));
    const size_t more = (size_t)(flights - 1) * arena_of(&t);
    TN_TRY(add_pass(&t, who, e->model, st, tn_engine_eval_pass(e, micro, true), 2, err));
    m->activations = activations_of(&t) + more;
    m->workspace = workspace_of(&t, who) + (who->dev->info.unified_memory ? t.crossing : 0);
    return 0;
}

/* What leaves for other ranks or replicas is staged in memory that the device may share. */
static size_t shared_gradient(const tn_engine *e, const tn_member *who)
{
    return (e->ranks || e->team.split.n_replicas > 1) && who->dev->info.unified_memory ? tn_replicas_bytes(who) : 0;
}

/* A CPU's caches unpack faster than its memory reads. Copies save more time for their memory than activations that are kept. */
static bool gains_by_unpacking(const tn_engine *e, const tn_member *who)
{
    const bool fast = !(who->dev->caps & TN_CAP_CPU) || e->unpacks_on_cpus;
    return fast && !who->window && who->session->store->n_quantised > 0;
}

/* Of quantised matrices, for a run that takes `total` without them: a quarter of what that leaves is theirs. */
static size_t unpacked_bytes(const tn_engine *e, const tn_member *who, size_t total)
{
    const tn_store *st = who->session->store;
    if (!gains_by_unpacking(e, who)) return 0;
    const size_t room = tn_member_room(who), left = room - TN_MIN(room, total);
    return st->merged_bytes > left / 4 ? 0 : st->merged_bytes;
}

static int plain_memory(const tn_engine *e, const tn_member *who, int micro, tn_memory *m, tn_error *err)
{
    const tn_store *st = who->session->store;
    const int batch = e->team.n > 1 ? e->team.split.replica[who->replica].images : tn_engine_batch(e, micro);
    const int part = TN_MIN(micro, batch);
    *m = (tn_memory){.version = TN_MEMORY_VERSION,
                     .weights = tn_store_weight_bytes(st, who->window),
                     .weights_float32 = st->float_bytes,
                     .parameters = 4 * st->n_params + tn_store_shadow_bytes(st),
                     .gradients = 4 * st->n_params,
                     .optimizer = 8 * st->n_params,
                     .micro_batch = part,
                     .streamed = who->window ? st->stream->total : 0};
    TN_TRY(member_activations(e, who, batch, part, m, err));
    m->workspace += tn_lane_bytes(e, who, batch, part, false) + tn_predictor_bytes(e, who, part) + shared_gradient(e, who);
    sum_up(m);
    return 0;
}

int tn_engine_member_memory(const tn_engine *e, const tn_member *who, int micro, tn_memory *m, tn_error *err)
{
    TN_TRY(plain_memory(e, who, micro, m, err));
    m->weights += unpacked_bytes(e, who, m->total);
    sum_up(m);
    return 0;
}

static int unpack_of(const tn_engine *e, const tn_member *who, int micro, tn_error *err)
{
    tn_store *st = who->session->store;
    tn_memory m;
    if (!gains_by_unpacking(e, who)) return 0; /* no plan is made for nothing */
    TN_TRY(plain_memory(e, who, micro, &m, err));
    const size_t copies = unpacked_bytes(e, who, m.total);
    if (!copies) return 0;
    const int rc = tn_store_unpack(st, err);
    if (!rc)
        tn_logf(e->log, TN_LOG_INFO, "quantised weights are unpacked once: %.1f MiB beside the %.1f as stored",
                (double)copies / 1048576, (double)st->weight_bytes / 1048576);
    return rc == TN_ERR_MEMORY ? 0 : rc; /* others took it meanwhile: passes unpack */
}

int tn_engine_unpack(tn_engine *e, int micro, tn_error *err)
{
    if (e->unpack_settled) return 0;
    e->unpack_settled = true;
    for (int i = 0; i < e->team.n; i++) TN_TRY(unpack_of(e, &e->team.member[i], micro, err));
    return 0;
}

int tn_engine_memory(const tn_engine *e, int micro, tn_memory *m, tn_error *err)
{
    const tn_store *st = e->session->store;
    *m = (tn_memory){.version = TN_MEMORY_VERSION,
                     .micro_batch = micro,
                     .quantized_modules = st->n_quantised,
                     .skipped_modules = st->n_skipped,
                     .indivisible_modules = st->n_indivisible};
    for (int i = 0; i < e->team.n; i++) {
        tn_memory own;
        TN_TRY(tn_engine_member_memory(e, &e->team.member[i], micro, &own, err));
        m->weights += own.weights, m->weights_float32 += own.weights_float32;
        m->parameters += own.parameters, m->gradients += own.gradients, m->optimizer += own.optimizer;
        m->activations += own.activations, m->workspace += own.workspace, m->streamed += own.streamed;
    }
    sum_up(m);
    return 0;
}

int tn_engine_pass_memory(const tn_engine *e, const tn_member *who, int frames, size_t *bytes, tn_error *err)
{
    tn_store *st = who->session->store;
    takings t = {.workspace = 0};
    TN_TRY(add_pass(&t, who, e->model, st, tn_engine_eval_pass(e, frames, true), 2, err));
    *bytes = tn_store_weight_bytes(st, who->window) + (st->keeps ? tn_store_kept_bytes(st) : 0) + 4 * st->n_params +
             tn_store_shadow_bytes(st) + activations_of(&t) + workspace_of(&t, who) + tn_predictor_bytes(e, who, frames) +
             sizeof(tn_step_constants) + sizeof(tn_optim_state);
    return 0;
}

/* What a step's frames and results take, where all is on one device. */
static size_t staging_bytes(const tn_engine *e, int micro, bool features)
{
    return tn_lane_bytes(e, &e->team.member[0], tn_engine_batch(e, micro), micro, features);
}

int tn_engine_full_float32(const tn_engine *e, int micro, size_t *bytes, tn_error *err)
{
    tn_model *full;
    tn_store *st = NULL;
    const tn_model *m = e->model;
    const tn_model_spec spec = {.backbone = &m->backbone,
                                .dec = &m->dec,
                                .image_h = m->image_h,
                                .image_w = m->image_w,
                                .heat_h = m->heat_h,
                                .heat_w = m->heat_w,
                                .train_backbone = true,
                                .frames = m->frames,
                                .heats = m->heats};
    TN_TRY(tn_model_new(&full, &spec, NULL, err));
    takings t = {.workspace = 0};
    tn_pass pass = {.batch = micro, .act = TN_F32, .groups = 7, .training = true, .loss = true, .heat = true, .frames = true};
    int rc = tn_store_new(&st, e->dev, full, NULL, TN_F32, true, true, err);
    if (!rc) rc = add_pass(&t, &e->team.member[0], full, st, pass, 1, err);
    if (!rc) *bytes = st->weight_bytes + 16 * st->n_params + activations_of(&t) + t.workspace + staging_bytes(e, micro, false);
    tn_store_free(st);
    tn_model_free(full);
    return rc;
}

static bool shares_memory(const tn_dev *d)
{
    return d->info.unified_memory || (d->caps & TN_CAP_CPU);
}

size_t tn_member_room(const tn_member *who)
{
    const tn_dev *d = who->dev;
    const size_t all = d->info.global_memory / 10 * 9, free = shares_memory(d) ? d->host_free / 10 * 9 : 0;
    if (d->memory_limit) return d->memory_limit;
    return free ? TN_MIN(all, free) : all; /* the host's programs live in it too */
}

/* ---- features of a frozen backbone ---- */

/* What of the configuration makes them not worth keeping, or wrong; NULL: nothing. */
static const char *why_none(const tn_engine *e)
{
    const tn_settings *s = e->s;
    const tn_prep prep = tn_engine_prep(e, true);
    if (e->team.n > 1) return "the layers lie on several devices";
    if (!s->training.feature_cache) return "training.feature_cache is 0";
    if (tn_engine_frozen_epochs(e) < 2) return tn_engine_frozen_epochs(e) ? "one epoch alone reads them" : "no epoch reads them";
    if (s->data.flip_prob > 0) return "data.preprocess.flip_prob is above 0, so frames differ from epoch to epoch";
    if (tn_prep_varies(&prep)) return "data.preprocess.random_crop or color_jitter makes frames differ from epoch to epoch";
    if (e->model->frames > 1 && !s->model.lora.enabled && !e->model->train_backbone)
        return "model.frames concat trains the patch embedding, so they differ from step to step";
    if (tn_engine_draws_rope(e)) return "model.backbone.rope_augment makes them differ from step to step";
    if (s->training.limit_train > 0) return "training.limit_train_batches leaves out frames";
    return NULL;
}

/* Host memory for them; on a device that shares the host's, the device's too. */
static size_t host_room(const tn_engine *e)
{
    const int mib = e->s->training.feature_cache;
    int which;
    return mib < 0 ? tn_memory_free() / 4 / (size_t)tn_ranks_local(e->ranks, &which) : (size_t)mib << 20;
}

static void find_place(tn_features_plan *p, const tn_engine *e, tn_memory *m)
{
    const bool shared = e->dev->info.unified_memory;
    const size_t room = tn_member_room(&e->team.member[0]), host = host_room(e), left = room > m->total ? room - m->total : 0;
    const size_t more = staging_bytes(e, m->micro_batch, true) - staging_bytes(e, m->micro_batch, false);
    p->device = p->bytes <= left && (!shared || p->bytes <= host);
    p->host = !shared && p->bytes <= host && more <= left;
    if (p->device) m->activations += p->bytes, m->total += p->bytes;
    else if (p->host) m->workspace += more, m->total += more;
    else
        snprintf(p->why_not, sizeof p->why_not,
                 "they take %zu MiB; there are %zu on the device, %zu in host memory (training.feature_cache)",
                 TN_CEIL_DIV(p->bytes, (size_t)1 << 20), left >> 20, host >> 20);
}

void tn_features_fit(tn_features_plan *p, const tn_engine *e, int frames, tn_memory *m)
{
    *p = (tn_features_plan){.frames = frames, .bytes = (size_t)frames * tn_features_frame_bytes(e)};
    const char *why = why_none(e);
    if (why) snprintf(p->why_not, sizeof p->why_not, "%s", why);
    else find_place(p, e, m);
}

/* ---- merged copies of the weights ---- */

/* A CPU unpacks in its caches faster than it reads from memory what is unpacked, but DoRA's norms cost it more than both, and what
 * is packed in bfloat16 for its products is half as much. */
static bool gains_by_copies(const tn_engine *e)
{
    const bool packs_halves = e->act == TN_BF16 && e->dev->info.bf16_units;
    return !(e->dev->caps & TN_CAP_CPU) || packs_halves || !e->session->store->n_quantised || e->model->lora.dora;
}

/* Half of what is free, a quarter where the host lives in it too; and a pass beside them. */
static int copies_fit(const tn_engine *e, const tn_member *who, int batch, size_t copies, bool *fit, tn_error *err)
{
    const tn_dev *d = who->dev;
    const size_t room = tn_member_room(who), left = room - TN_MIN(room, d->allocated);
    size_t bytes = 0;
    tn_pass pass = tn_engine_eval_pass(e, batch, true);
    pass.merged = true, pass.norms = e->session->store->norms;
    *fit = false;
    const int rc = tn_pass_bytes(&bytes, d, e->model, &pass, &who->session->cut, err);
    if (rc) return rc == TN_ERR_MEMORY ? 0 : rc;
    *fit = copies <= left / (shares_memory(d) ? 4 : 2) && copies + bytes <= left;
    return 0;
}

static int all_copies_fit(const tn_engine *e, int batch, bool *fit, tn_error *err)
{
    *fit = true;
    for (int i = 0; *fit && i < e->team.n; i++) {
        const tn_member *who = &e->team.member[i];
        TN_TRY(copies_fit(e, who, batch, who->session->store->merged_bytes, fit, err));
    }
    return 0;
}

static size_t copies_of(const tn_engine *e)
{
    size_t bytes = 0;
    for (const tn_store *st = e->session->store; st; st = st->next) bytes += st->merged_bytes;
    return bytes;
}

/* The first time. */
static int try_to_merge(tn_engine *e, int batch, tn_error *err)
{
    tn_store *st = e->session->store;
    size_t bytes, as_float32;
    tn_store_weights(st, &bytes, &as_float32);
    const double copies = (double)copies_of(e) / 1048576, stored = (double)bytes / 1048576;
    bool fit;
    TN_TRY(all_copies_fit(e, batch, &fit, err));
    const int rc = fit ? tn_store_merge(st, err) : 0;
    if (rc && rc != TN_ERR_MEMORY) return rc;
    e->stays_apart = !st->merged;
    if (st->merged)
        tn_logf(e->log, TN_LOG_INFO,
                "adapters merged into unpacked weights%s: %.1f MiB beside the %.1f as stored; a smaller --memory-limit leaves them "
                "apart",
                st->norms ? ", and layer norms" : "", copies, stored);
    else
        tn_logf(e->log, TN_LOG_INFO,
                "weights stay as stored, %.1f MiB: no room for the %.1f MiB that they take unpacked, with adapters merged", stored,
                copies);
    return 0;
}

/* Then there is no room. */
static bool streams(const tn_engine *e)
{
    for (int i = 0; i < e->team.n; i++)
        if (e->team.member[i].window) return true;
    return false;
}

static int merge(tn_engine *e, int batch, tn_error *err)
{
    tn_store *st = e->session->store;
    if (!copies_of(e) || st->merged || e->stays_apart || streams(e) || !gains_by_copies(e)) return 0;
    return st->has_merged ? tn_store_merge(st, err) : try_to_merge(e, batch, err);
}

/* ---- matrices as products pack them ---- */

static int keep_of(const tn_engine *e, const tn_member *who, int batch, size_t *kept, tn_error *err)
{
    tn_store *st = who->session->store;
    const size_t bytes = tn_store_kept_bytes(st);
    bool fit = false;
    if (bytes) TN_TRY(copies_fit(e, who, batch, bytes, &fit, err));
    if (!fit) return 0;
    tn_store_keep(st);
    *kept += bytes;
    return 0;
}

/* Once; what an optimiser changes is packed in every use. */
static int keep_packed(tn_engine *e, int batch, tn_error *err)
{
    size_t kept = 0;
    if (e->keep_settled || e->optimises || streams(e)) return 0;
    e->keep_settled = true;
    for (int i = 0; i < e->team.n; i++) TN_TRY(keep_of(e, &e->team.member[i], batch, &kept, err));
    if (kept)
        tn_logf(
            e->log, TN_LOG_INFO,
            "weights are packed for products once: %.1f MiB beside the others; a smaller --memory-limit has every pass pack them",
            (double)kept / 1048576);
    return 0;
}

int tn_engine_merge(tn_engine *e, int batch, tn_error *err)
{
    TN_TRY(merge(e, batch, err));
    return keep_packed(e, batch, err);
}
