#include "fit.h"
#include "parts_of.h"
#include "qfile.h"
#include "stream.h"

#include <stdlib.h>
#include <string.h>

static tn_dtype storage_type(const tn_settings *s, const tn_team *t, const tn_log *log)
{
    const char *p = s->training.precision;
    if (!strcmp(p, "auto")) {
        const tn_dev *d = t->dev[0];
        for (int i = 1; i < t->n_dev && d->info.bf16_units; i++) d = t->dev[i]; /* one that has none decides */
        p = d->info.bf16_units ? "bf16" : "fp32";
        tn_logf(log, TN_LOG_INFO, "training.precision auto: %s, since %s %s hardware that multiplies bf16", p, d->info.name,
                d->info.bf16_units ? "has" : "has no");
    }
    if (!strcmp(p, "bf16")) return TN_BF16;
    if (!strcmp(p, "fp16")) return TN_F16;
    return TN_F32; /* 4-bit weights are unpacked to the activations' type, whatever compute_dtype says */
}

/* backbone_freeze_epochs ends a freeze, as in the Python project; a base that is kept in few bits is never trained. */
static bool trains_backbone(const tn_settings *s, const tn_hf_dir *hf)
{
    tn_qshape have;
    if (s->model.lora.enabled || s->model.quant.enabled) return false;
    return !s->model.freeze || (s->training.freeze_epochs > 0 && !tn_qfile_config(hf, &have));
}

/* A checkpoint that is already quantised stays so, unless the configuration says how it is to be. */
static bool quant_of_checkpoint(tn_quant_spec *q, const tn_settings *s, const tn_hf_dir *hf)
{
    tn_qshape have;
    if (s->model.quant.enabled || trains_backbone(s, hf) || !tn_qfile_config(hf, &have)) return false;
    *q = (tn_quant_spec){.enabled = true, .type = have.type, .nested = have.nested, .block = have.block};
    return true;
}

/* Layers that a quantised checkpoint left in float stay so: found by looking, or where no weights are looked at, by its list. */
static int float_of_checkpoint(tn_strs *skip, const tn_model *m, const tn_hf_dir *hf, tn_error *err)
{
    if (!hf->n_files) return tn_qfile_skipped(skip, hf, err);
    for (int i = 0; i < m->n_slots; i++) {
        const tn_slot *s = &m->slots[i];
        const tn_st_file *f;
        const tn_st_tensor *t = s->linear && s->group == TN_GROUP_BACKBONE ? tn_hf_find(hf, s->name, &f) : NULL;
        if (t && !tn_qfile_is_packed(f, t) && !tn_strs_add(skip, s->name)) return tn_oom(err);
    }
    return 0;
}

/* q->skip is the caller's. */
static int quant_of(tn_quant_spec *q, const tn_engine *e, const tn_hf_dir *hf, tn_error *err)
{
    const tn_settings *s = e->s;
    tn_strs skip = {0};
    if (!tn_strs_copy(&skip, &s->model.quant.skip)) return tn_oom(err);
    if (quant_of_checkpoint(q, s, hf)) {
        q->skip = skip;
        return float_of_checkpoint(&q->skip, e->model, hf, err);
    }
    const bool like_hf = !strcmp(s->model.quant.mode, "hf");
    *q = (tn_quant_spec){.enabled = s->model.quant.enabled,
                         .nested = like_hf ? s->model.quant.use_double_quant : s->model.quant.compress_statistics,
                         .block = s->model.quant.block_size,
                         .skip = skip};
    return tn_qtype_find(&q->type, s->model.quant.type, err);
}

static int engine_image_size(tn_engine *e, tn_error *err)
{
    const tn_settings *s = e->s;
    if (s->data.resize.set) {
        e->image_w = s->data.resize.w, e->image_h = s->data.resize.h;
        return 0;
    }
    return tn_fail(err, TN_ERR_CONFIG, "data.preprocess.resize is null: the model needs one size for all frames; give [W, H]");
}

static int build_model(tn_engine *e, const tn_hf_dir *hf, const tn_lora *other, tn_error *err)
{
    const tn_settings *s = e->s;
    tn_backbone body;
    tn_decoder dec;
    TN_TRY(tn_backbone_configure(&body, hf->config, hf->path, err));
    if (body.patch && body.patch != s->model.patch_size)
        return tn_fail(err, TN_ERR_CONFIG, "model.backbone.patch_size is %d, but '%s' has patches of %d; set it to %d",
                       s->model.patch_size, hf->path, body.patch, body.patch);
    TN_TRY(tn_backbone_return(&body, s->model.return_stages.v, s->model.return_stages.n, err));
    TN_TRY(tn_decoder_of_settings(&dec, s, err));
    const tn_lora lora = other ? *other : tn_lora_of_settings(s);
    const bool full = !lora.enabled && trains_backbone(s, hf), all = !strcmp(s->model.heatmaps, "all");
    const int frames = tn_engine_frames(s);
    const tn_model_spec spec = {.backbone = &body,
                                .dec = &dec,
                                .lora = &lora,
                                .image_h = e->image_h,
                                .image_w = e->image_w,
                                .heat_h = s->model.heat_size.h,
                                .heat_w = s->model.heat_size.w,
                                .train_backbone = full,
                                .frames = frames,
                                .heats = all ? frames : 1};
    return tn_model_new(&e->model, &spec, e->log, err);
}

/* Files of the Python project may have them beside a ConvNeXt. */
static void warn_unread(const tn_engine *e, const tn_hf_dir *hf, bool trains)
{
    const tn_settings *s = e->s;
    const char *patch = s->place.patch_size, *rope = s->place.rope_augment;
    if (patch && !e->model->backbone.patch)
        tn_logf(e->log, TN_LOG_WARN, "%s: key 'model.backbone.patch_size' has no effect: '%s' is no ViT", patch, hf->path);
    if (rope && trains && !tn_model_drawn(e->model))
        tn_logf(e->log, TN_LOG_WARN,
                "%s: key 'model.backbone.rope_augment' has no effect: '%s' has no rotary positions (RoPE), as a DINOv3 ViT has",
                rope, hf->path);
}

static int load_weights(tn_engine *e, const tn_hf_dir *hf, tn_error *err)
{
    const tn_settings *s = e->s;
    tn_store *st = e->session->store;
    const uint64_t seed = (uint64_t)s->training.seed;
    if (s->model.random_init) TN_TRY(tn_store_init(st, TN_GROUP_BACKBONE, seed, err));
    else TN_TRY(tn_store_load_backbone(st, hf, seed, e->log, err));
    TN_TRY(tn_store_init(st, TN_GROUP_LORA, seed, err));
    TN_TRY(tn_adapt_magnitudes(st, err));
    TN_TRY(tn_store_init(st, TN_GROUP_HEAD, seed, err));
    if (st->quant.enabled) tn_store_report(st, e->log);
    return 0;
}

/* Have all devices products that take layer norms in? Elsewhere it would be done in two steps again. */
static bool takes_norms(const tn_team *t, tn_dtype act)
{
    bool all = act != TN_F32;
    for (int i = 0; i < t->n_dev; i++) all = all && t->dev[i]->caps & TN_CAP_NV_MMA80;
    return all;
}

static int open_team(tn_engine *e, const tn_quant_spec *quant, const tn_run_options *o, bool optimiser, bool dry, tn_error *err)
{
    tn_team *t = &e->team;
    TN_TRY(tn_team_open(t, e->model, e->s->training.batch_size, o, e->log, e->watch, err));
    e->dev = t->member[0].dev;
    e->act = storage_type(e->s, t, e->log);
    const tn_store_spec spec = {
        .quant = quant, .act = e->act, .optimiser = optimiser, .dry = dry, .norms = !optimiser && takes_norms(t, e->act)};
    if (!dry) TN_TRY(tn_engine_choose(e, &spec, err));
    TN_TRY(tn_team_store(t, e->model, &spec, err));
    e->session = t->member[0].session;
    e->optimises = optimiser && !dry;
    return 0;
}

/* Where a pass turns and goes back, what is in the window then comes once for both ways. */
static int say_streamed(const tn_engine *e, const tn_member *who, tn_error *err)
{
    tn_stream *s = who->session->store->stream;
    const double mib = 1048576, all = (double)s->total, window = (double)s->largest * s->window;
    double rate;
    TN_TRY(tn_stream_measure(s, &rate, err));
    tn_logf(e->log, TN_LOG_INFO,
            "'%s' cannot hold the weights of its layers: %.1f MiB stay in the host's memory and pass through a window of %d layers "
            "(%.1f MiB); about %.3g ms of copies in %s, at %.1f GB/s",
            who->dev->info.name, all / mib, s->window, window / mib, 1e3 * (e->optimises ? all - window : all) / rate,
            e->optimises ? "a forward pass and as much in a backward pass" : "each pass", 1e-9 * rate);
    return 0;
}

static int open_engine(tn_engine **out, const tn_settings *s, const tn_run_options *o, const tn_lora *lora, bool optimiser,
                       bool dry, tn_error *err)
{
    tn_engine *e = calloc(1, sizeof *e);
    tn_hf_dir *hf = NULL;
    tn_quant_spec quant = {0};
    *out = NULL;
    if (!e) return tn_oom(err);
    e->s = s;
    e->ranks = o->ranks;
    e->recompute = tn_engine_least_again(s);
    if (o->log) e->own_log = *o->log;
    e->log = &e->own_log;
    e->watch = (tn_watch){o->progress, o->user};
    e->foreign_lora = lora != NULL;
    int rc = engine_image_size(e, err);
    if (!rc) rc = tn_hf_open(&hf, s->model.pretrained, !s->model.random_init && !dry, err);
    if (!rc) tn_hf_warn(hf, e->log);
    if (!rc) rc = build_model(e, hf, lora, err);
    if (!rc) warn_unread(e, hf, optimiser);
    if (!rc) rc = quant_of(&quant, e, hf, err);
    if (!rc) rc = open_team(e, &quant, o, optimiser, dry, err);
    if (!rc && !dry) rc = load_weights(e, hf, err);
    for (int i = 0; !rc && i < e->team.n; i++)
        if (e->team.member[i].window) rc = say_streamed(e, &e->team.member[i], err);
    tn_hf_close(hf);
    tn_strs_free(&quant.skip);
    if (rc) {
        tn_engine_close(e);
        return rc;
    }
    *out = e;
    return 0;
}

int tn_engine_open(tn_engine **out, const tn_settings *s, const tn_run_options *o, bool optimiser, bool dry, tn_error *err)
{
    if (optimiser && s->training.loraplus_ratio != 1 && !s->model.lora.enabled)
        return tn_fail(
            err, TN_ERR_CONFIG,
            "training.optimizer.loraplus_lr_ratio is %g, but there are no adapters: set model.lora.enabled, or leave it at 1",
            s->training.loraplus_ratio);
    return open_engine(out, s, o, NULL, optimiser, dry, err);
}

int tn_engine_open_with(tn_engine **out, const tn_settings *s, const tn_run_options *o, const tn_lora *lora, tn_error *err)
{
    return open_engine(out, s, o, lora, false, false, err);
}

void tn_engine_close(tn_engine *e)
{
    if (!e) return;
    for (int i = 0; e->kept && i < e->model->n_slots; i++) free(e->kept[i]);
    free(e->kept);
    tn_team_close(&e->team);
    tn_model_free(e->model);
    free(e);
}
