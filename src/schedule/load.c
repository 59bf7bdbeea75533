/* What a store begins with: initial values from the seed, or a checkpoint's; adapters' starts take their part of the base. */
#include "load.h"
#include "initial.h"
#include "names.h"
#include "qfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tn_store_init(tn_store *st, int groups, uint64_t seed, tn_error *err)
{
    int rc = 0;
    for (int i = 0; !rc && i < st->m->n_slots; i++) {
        const tn_slot *s = &st->m->slots[i];
        const int group = s->backbone ? TN_GROUP_BACKBONE : s->group;
        if (!(group & groups) || tn_adapt_sets(st, i)) continue;
        TN_TRY(tn_watch_tell(&st->dev->watch, TN_PHASE_LOADING, s->name, i, st->m->n_slots, err));
        float *v = malloc((size_t)s->rows * (size_t)s->cols * sizeof *v);
        if (!v) return tn_oom(err);
        rc = tn_initial(v, s, seed, err);
        if (!rc && s->group == TN_GROUP_BACKBONE) rc = tn_adapt_base(st, i, v, seed, err);
        if (!rc) rc = tn_store_set(st, i, v, err);
        free(v);
    }
    return rc;
}

static int wrong_shape(const tn_slot *s, const tn_st_tensor *t, const char *path, tn_error *err)
{
    tn_text want = {0}, have = {0};
    for (int i = 0; i < s->ndim; i++) tn_text_addf(&want, "%s%d", i ? ", " : "", s->shape[i]);
    for (int i = 0; i < t->ndim; i++) tn_text_addf(&have, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    char frames[40] = "";
    if (s->frames > 1) snprintf(frames, sizeof frames, " with %d frames", s->frames);
    int rc = tn_fail(err, TN_ERR_FORMAT, "%s: tensor '%s' has shape [%s] where config.json%s makes it [%s]", path, t->name,
                     have.s ? have.s : "", frames, want.s ? want.s : "");
    tn_text_free(&want);
    tn_text_free(&have);
    return rc;
}

/* Values that are ready to be stored. Takes v over. */
static int store_values(tn_store *st, int i, float *v, uint64_t seed, tn_error *err)
{
    int rc = tn_adapt_base(st, i, v, seed, err);
    if (!rc) rc = tn_store_set(st, i, v, err);
    free(v);
    return rc;
}

/* A matrix that the checkpoint holds quantised: taken over as it is where the slot is stored the same way. */
static int load_packed(tn_store *st, int i, const tn_st_file *f, const tn_st_tensor *t, uint64_t seed, int *requantised,
                       tn_error *err)
{
    const tn_slot *s = &st->m->slots[i];
    tn_stored *e = &st->s[i];
    tn_qmatrix q;
    TN_TRY(tn_qfile_read(&q, f, t, NULL, err));
    int rc = 0;
    if (q.s.rows != s->rows || q.s.cols != s->cols) {
        rc = tn_fail(err, TN_ERR_FORMAT, "%s: tensor '%s' is [%d, %d] where config.json makes it [%d, %d]", f->path, t->name,
                     q.s.rows, q.s.cols, s->rows, s->cols);
    } else if (e->place == TN_PLACE_QUANT && tn_qshape_equal(&q.s, &e->q.s) && st->m->lora.init < TN_LORA_PISSA) {
        rc = tn_store_set_packed(st, i, &q, err);
    } else {
        float *v = malloc((size_t)s->rows * (size_t)s->cols * sizeof *v);
        if (v) tn_dequantize(&q, v);
        rc = v ? store_values(st, i, v, seed, err) : tn_oom(err);
        *requantised += e->place == TN_PLACE_QUANT;
    }
    tn_qmatrix_free(&q);
    return rc;
}

/* timm keeps query, key and value as one matrix, a third of its rows each. */
static int load_fused(tn_store *st, int i, const tn_hf_dir *dir, uint64_t seed, tn_error *err)
{
    static const char *const parts[] = {".attention.q_proj.", ".attention.k_proj.", ".attention.v_proj."};
    const tn_slot *s = &st->m->slots[i];
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    char name[320];
    tn_common_name(name, sizeof name, s->name);
    for (size_t k = 0; k < 3; k++) {
        const tn_st_file *f;
        const char *at = strstr(name, parts[k]);
        char *fused = at ? tn_strf("%.*s.attention.qkv.%s", (int)(at - name), name, at + strlen(parts[k])) : NULL;
        const tn_st_tensor *t = fused ? tn_hf_find(dir, fused, &f) : NULL;
        free(fused);
        if (!t) continue;
        if ((size_t)t->count != 3 * n) return wrong_shape(s, t, f->path, err);
        float *all = malloc(3 * n * sizeof *all), *v = malloc(n * sizeof *v);
        int rc = all && v ? tn_st_read_f32(f, t, all, err) : tn_oom(err);
        if (!rc) memcpy(v, all + k * n, n * sizeof *v);
        free(all);
        if (!rc) return store_values(st, i, v, seed, err);
        free(v);
        return rc;
    }
    return tn_fail(err, TN_ERR_FORMAT, "%s: tensor '%s' is missing; the weights do not belong to this config.json", dir->path,
                   s->name);
}

/* timm's no_embed_class: positions for the patches alone, the class token's already added to it. */
static bool lacks_cls(const tn_slot *s, const tn_st_tensor *t)
{
    return strstr(s->name, "position_embeddings") && s->ndim == 3 && t->ndim == 3 && t->shape[2] == s->shape[2] &&
           t->shape[1] == s->shape[1] - 1;
}

static int load_patch_positions(tn_store *st, int i, const tn_st_file *f, const tn_st_tensor *t, tn_error *err)
{
    const tn_slot *s = &st->m->slots[i];
    float *v = calloc((size_t)s->rows * (size_t)s->cols, sizeof *v);
    int rc = v ? tn_st_read_f32(f, t, v + s->shape[2], err) : tn_oom(err);
    if (!rc) return store_values(st, i, v, 0, err);
    free(v);
    return rc;
}

/* One frame's channels for a slot of several frames. */
static bool is_of_one(const tn_slot *s, const tn_st_tensor *t)
{
    return s->frames > 1 && t->ndim == s->ndim && t->count * s->frames == (int64_t)s->rows * s->cols &&
           t->shape[0] == s->shape[0] && t->shape[1] * s->frames == s->shape[1];
}

static int load_inflated(tn_store *st, int i, const tn_st_file *f, const tn_st_tensor *t, tn_error *err)
{
    const tn_slot *s = &st->m->slots[i];
    float *v = malloc((size_t)s->rows * (size_t)s->cols * sizeof *v);
    int rc = v ? tn_st_read_f32(f, t, v, err) : tn_oom(err);
    if (!rc) tn_inflate(v, s);
    if (!rc) return store_values(st, i, v, 0, err);
    free(v);
    return rc;
}

static int load_slot(tn_store *st, int i, const tn_hf_dir *dir, uint64_t seed, int *requantised, tn_error *err)
{
    const tn_slot *s = &st->m->slots[i];
    const tn_st_file *f;
    const tn_st_tensor *t = tn_hf_find(dir, s->name, &f);
    if (!t) return load_fused(st, i, dir, seed, err);
    if (s->linear && tn_qfile_is_packed(f, t)) return load_packed(st, i, f, t, seed, requantised, err);
    if (lacks_cls(s, t)) return load_patch_positions(st, i, f, t, err);
    if (is_of_one(s, t)) return load_inflated(st, i, f, t, err);
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    if ((size_t)t->count != n || (t->ndim != s->ndim && n != (size_t)t->count)) return wrong_shape(s, t, f->path, err);
    for (int k = 0; k < s->ndim && t->ndim == s->ndim; k++)
        if (t->shape[k] != s->shape[k]) return wrong_shape(s, t, f->path, err);
    float *v = malloc(n * sizeof *v);
    if (!v) return tn_oom(err);
    int rc = tn_st_read_f32(f, t, v, err);
    if (!rc) return store_values(st, i, v, seed, err);
    free(v);
    return rc;
}

/* Tensors that such checkpoints often hold and a heatmap model never reads. */
static bool expected_extra(const char *stored)
{
    char name[320];
    tn_unwrapped_name(name, sizeof name, stored);
    return strstr(name, "mask_token") || strstr(name, "pooler.") || tn_starts(name, "classifier.") || tn_starts(name, "head.") ||
           tn_starts(name, "fc_norm.") || tn_qfile_is_part(name);
}

static bool is_read(const tn_store *st, const tn_st_tensor *t)
{
    char want[320], have[320];
    tn_common_name(have, sizeof have, t->name);
    if (strstr(have, ".attention.qkv.")) return true; /* timm's fused matrix */
    for (int i = 0; i < st->m->n_slots; i++) {
        tn_common_name(want, sizeof want, st->m->slots[i].name);
        if (st->m->slots[i].backbone && !strcmp(want, have)) return true;
    }
    return false;
}

static void name_extras(const tn_store *st, const tn_hf_dir *dir, const tn_log *log)
{
    tn_text names = {0};
    int extra = 0;
    for (int f = 0; f < dir->n_files; f++)
        for (int i = 0; i < dir->files[f]->n; i++) {
            const tn_st_tensor *t = &dir->files[f]->t[i];
            if (expected_extra(t->name) || is_read(st, t)) continue;
            if (++extra <= 5) tn_text_addf(&names, "%s%s", extra > 1 ? ", " : "", t->name);
        }
    if (extra)
        tn_logf(log, TN_LOG_WARN, "%s: %d tensors are not part of this model and are left out: %s%s", dir->path, extra, names.s,
                extra > 5 ? ", ..." : "");
    tn_text_free(&names);
}

int tn_store_load_backbone(tn_store *st, const tn_hf_dir *dir, uint64_t seed, const tn_log *log, tn_error *err)
{
    int requantised = 0;
    for (int i = 0; i < st->m->n_slots; i++) {
        if (!st->m->slots[i].backbone) continue;
        TN_TRY(tn_watch_tell(&st->dev->watch, TN_PHASE_LOADING, st->m->slots[i].name, i, st->m->n_slots, err));
        TN_TRY(load_slot(st, i, dir, seed, &requantised, err));
    }
    if (requantised)
        tn_logf(log, TN_LOG_WARN,
                "%s: %d matrices were quantised in another format or block size and were quantised again, "
                "which loses a little; set model.quantization as the checkpoint has it",
                dir->path, requantised);
    name_extras(st, dir, log);
    return 0;
}
