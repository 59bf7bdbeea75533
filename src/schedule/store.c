#include "store.h"
#include "names.h"
#include "qfile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int tn_group_index(tn_group g)
{
    return g == TN_GROUP_HEAD ? 0 : g == TN_GROUP_LORA ? 1 : 2;
}

static bool skipped(const tn_quant_spec *q, const char *name)
{
    for (int i = 0; i < q->skip.n; i++)
        if (strstr(name, q->skip.v[i])) return true;
    return false;
}

static tn_dtype frozen_dtype(const tn_store *st, const tn_slot *s)
{
    return s->linear || s->ndim == 4 ? st->act : TN_F32;
}

static int choose(tn_store *st, int i, tn_error *err)
{
    const tn_slot *s = &st->m->slots[i];
    tn_stored *e = &st->s[i];
    const bool quant = st->quant.enabled && s->linear && s->group == TN_GROUP_BACKBONE && !s->trainable;
    const bool skip = quant && skipped(&st->quant, s->name);
    const bool odd = quant && !skip && !tn_qdivides(st->quant.type, st->quant.block, s->cols);
    e->place = s->trainable ? TN_PLACE_PARAM : quant && !skip && !odd ? TN_PLACE_QUANT : TN_PLACE_DENSE;
    st->n_quantised += e->place == TN_PLACE_QUANT;
    st->n_skipped += skip;
    st->n_indivisible += odd;
    e->t = tn_view(NULL, e->place == TN_PLACE_DENSE ? frozen_dtype(st, s) : TN_F32, s->rows, s->cols);
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    e->grad = e->t;
    if (e->place == TN_PLACE_DENSE) e->bytes = tn_tensor_bytes(&e->t);
    if (e->place == TN_PLACE_QUANT) {
        e->q.s = (tn_qshape){.type = st->quant.type,
                             .rows = s->rows,
                             .cols = s->cols,
                             .block = st->quant.block,
                             .nested = st->quant.nested && tn_qformats[st->quant.type].nestable};
        if (tn_qblock(&e->q.s.block, e->q.s.type, st->quant.block, s->cols, s->name, err)) return err->status;
        e->bytes = tn_qbytes(&e->q.s);
    }
    if (e->place != TN_PLACE_PARAM) {
        st->weight_bytes += e->bytes;
        st->float_bytes += 4 * n;
    }
    return 0;
}

static void lay_out_params(tn_store *st)
{
    const size_t align = st->dev->align / 4;
    static const tn_group order[TN_GROUPS] = {TN_GROUP_HEAD, TN_GROUP_LORA, TN_GROUP_BACKBONE};
    for (int g = 0; g < TN_GROUPS; g++) {
        st->group_off[g] = st->n_params;
        for (int i = 0; i < st->m->n_slots; i++) {
            const tn_slot *s = &st->m->slots[i];
            if (st->s[i].place != TN_PLACE_PARAM || s->group != order[g]) continue;
            st->s[i].off = st->n_params;
            st->n_params += TN_ROUND_UP((size_t)s->rows * (size_t)s->cols, align);
        }
        st->group_len[g] = st->n_params - st->group_off[g];
    }
}

static int new_zeroed(tn_buffer **m, tn_store *st, const char *what, tn_error *err)
{
    TN_TRY(tn_buffer_new(m, st->dev, st->n_params * 4, what, err));
    return tn_buffer_fill(*m, 0, st->n_params * 4, 0, err);
}

static int bind_param(tn_store *st, tn_stored *e, tn_error *err)
{
    size_t bytes = tn_tensor_bytes(&e->t);
    TN_TRY(tn_buffer_sub(&e->t.mem, st->params, e->off * 4, bytes, err));
    if (!st->grads) return 0;
    return tn_buffer_sub(&e->grad.mem, st->grads, e->off * 4, bytes, err);
}

/* Every matrix of a format reads the first one's tables. */
static int new_quant(tn_store *st, tn_stored *e, tn_error *err)
{
    const tn_qshape shape = e->q.s;
    TN_TRY(tn_qtensor_new(&e->q, st->dev, &shape, st->tables, err));
    if (!st->tables) st->tables = e->q.tables;
    return 0;
}

static int allocate(tn_store *st, bool optimiser, tn_error *err)
{
    if (st->n_params) {
        TN_TRY(new_zeroed(&st->params, st, "trainable parameters", err));
        if (optimiser) {
            TN_TRY(new_zeroed(&st->grads, st, "gradients", err));
            TN_TRY(new_zeroed(&st->moment1, st, "optimiser state", err));
            TN_TRY(new_zeroed(&st->moment2, st, "optimiser state", err));
        }
    }
    for (int i = 0; i < st->m->n_slots; i++) {
        tn_stored *e = &st->s[i];
        if (e->place == TN_PLACE_PARAM) TN_TRY(bind_param(st, e, err));
        else if (e->place == TN_PLACE_QUANT) TN_TRY(new_quant(st, e, err));
        else TN_TRY(tn_buffer_new(&e->t.mem, st->dev, e->bytes, st->m->slots[i].name, err));
    }
    return 0;
}

int tn_store_new(tn_store **out, tn_dev *d, const tn_model *m, const tn_quant_spec *quant, tn_dtype act, bool optimiser, bool dry,
                 tn_error *err)
{
    tn_store *st = calloc(1, sizeof *st);
    if (!st || !(st->s = calloc((size_t)m->n_slots + 1, sizeof *st->s))) {
        free(st);
        return tn_oom(err);
    }
    st->dev = d;
    st->m = m;
    st->act = act;
    int rc = 0;
    if (quant) {
        st->quant = *quant;
        if (!tn_strs_copy(&st->quant.skip, &quant->skip)) rc = tn_oom(err);
    }
    for (int i = 0; !rc && i < m->n_slots; i++) rc = choose(st, i, err);
    lay_out_params(st);
    if (!rc && !dry) rc = allocate(st, optimiser, err);
    if (rc) {
        tn_store_free(st);
        st = NULL;
    }
    *out = st;
    return rc;
}

void tn_store_free(tn_store *st)
{
    if (!st) return;
    tn_dev *d = st->dev;
    for (int i = st->m->n_slots - 1; i >= 0; i--) {
        tn_stored *e = &st->s[i];
        tn_buffer_free(e->grad.mem);
        tn_buffer_free(e->t.mem);
        if (e->place == TN_PLACE_QUANT) tn_qtensor_free(&e->q, d);
    }
    tn_buffer *arenas[] = {st->params, st->grads, st->moment1, st->moment2};
    for (size_t i = 0; i < TN_COUNT(arenas); i++) tn_buffer_free(arenas[i]);
    tn_strs_free(&st->quant.skip);
    free(st->s);
    free(st);
}

static int set_quant(tn_store *st, int slot, const float *v, tn_error *err)
{
    tn_ctx c;
    tn_ctx_init(&c, st->dev, TN_F32);
    st->generation++;
    return tn_qtensor_quantize(&c, &st->s[slot].q, v, st->m->slots[slot].name, err);
}

int tn_store_set(tn_store *st, int slot, const float *values, tn_error *err)
{
    if (st->s[slot].place == TN_PLACE_QUANT) return set_quant(st, slot, values, err);
    return tn_tensor_set(st->dev, &st->s[slot].t, values, err);
}

static int get_quant(tn_store *st, const tn_stored *e, float *values, tn_error *err)
{
    tn_ctx c;
    tn_tensor t;
    tn_ctx_init(&c, st->dev, TN_F32);
    TN_TRY(tn_tensor_new(&t, st->dev, TN_F32, e->q.s.rows, e->q.s.cols, "a dequantised weight", err));
    int rc = tn_unpack(&c, &e->q, &t, err);
    if (!rc) rc = tn_tensor_get(st->dev, &t, values, err);
    tn_tensor_free(st->dev, &t);
    return rc;
}

int tn_store_get(tn_store *st, int slot, float *values, tn_error *err)
{
    const tn_stored *e = &st->s[slot];
    if (e->place == TN_PLACE_QUANT) return get_quant(st, e, values, err);
    return tn_tensor_get(st->dev, &e->t, values, err);
}

int tn_store_get_grad(tn_store *st, int slot, float *values, tn_error *err)
{
    const tn_stored *e = &st->s[slot];
    if (e->place != TN_PLACE_PARAM || !e->grad.mem)
        return tn_fail(err, TN_ERR_ARGUMENT, "%s is not trained and has no gradient", st->m->slots[slot].name);
    return tn_tensor_get(st->dev, &e->grad, values, err);
}

static void initial(float *v, const tn_slot *s, uint64_t seed)
{
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    tn_rng r = tn_rng_named(seed, s->name);
    const double fan = s->init_fan > 0 ? s->init_fan : 1;
    for (size_t i = 0; i < n; i++) {
        double x = 0;
        switch (s->init) {
        case TN_INIT_ZERO: break;
        case TN_INIT_ONE: x = 1; break;
        case TN_INIT_KAIMING_OUT: x = tn_rng_normal(&r) * (s->init_std > 0 ? s->init_std : sqrt(2 / fan)); break;
        case TN_INIT_LORA_GAUSSIAN: x = tn_rng_normal(&r) / s->rows; break;
        case TN_INIT_LORA_A: x = (2 * tn_rng_uniform(&r) - 1) / sqrt(fan); break;
        case TN_INIT_CONV_BIAS: break;
        case TN_INIT_TRUNC:
            do x = tn_rng_normal(&r);
            while (fabs(x) > 2);
            x *= s->ndim == 2 ? fmin(0.02 * sqrt(768 / fan), 0.08) : 0.02;
            break;
        }
        v[i] = (float)x;
    }
}

int tn_store_init(tn_store *st, int groups, uint64_t seed, tn_error *err)
{
    int rc = 0;
    for (int i = 0; !rc && i < st->m->n_slots; i++) {
        const tn_slot *s = &st->m->slots[i];
        const bool adapter = strstr(s->name, ".lora_") != NULL;
        const bool wanted = s->group == TN_GROUP_LORA ? adapter ? (groups & TN_GROUP_LORA) != 0 : (groups & TN_GROUP_BACKBONE) != 0
                                                      : (s->group & groups) != 0;
        if (!wanted || tn_adapt_sets(st, i)) continue;
        float *v = malloc((size_t)s->rows * (size_t)s->cols * sizeof *v);
        if (!v) return tn_oom(err);
        initial(v, s, seed);
        if (s->group == TN_GROUP_BACKBONE) rc = tn_adapt_base(st, i, v, seed, err);
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
    int rc = tn_fail(err, TN_ERR_FORMAT, "%s: tensor '%s' has shape [%s] where config.json makes it [%s]", path, t->name,
                     have.s ? have.s : "", want.s ? want.s : "");
    tn_text_free(&want);
    tn_text_free(&have);
    return rc;
}

static bool is_backbone_weight(const tn_slot *s)
{
    return s->group == TN_GROUP_BACKBONE || (s->group == TN_GROUP_LORA && !strstr(s->name, ".lora_"));
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
        st->generation++;
        rc = tn_qtensor_set(&e->q, st->dev, &q, err);
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

static int load_slot(tn_store *st, int i, const tn_hf_dir *dir, uint64_t seed, int *requantised, tn_error *err)
{
    const tn_slot *s = &st->m->slots[i];
    const tn_st_file *f;
    const tn_st_tensor *t = tn_hf_find(dir, s->name, &f);
    if (!t) return load_fused(st, i, dir, seed, err);
    if (s->linear && tn_qfile_is_packed(t)) return load_packed(st, i, f, t, seed, requantised, err);
    if (lacks_cls(s, t)) return load_patch_positions(st, i, f, t, err);
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
static bool expected_extra(const char *name)
{
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
        if (is_backbone_weight(&st->m->slots[i]) && !strcmp(want, have)) return true;
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
    for (int i = 0; i < st->m->n_slots; i++)
        if (is_backbone_weight(&st->m->slots[i])) TN_TRY(load_slot(st, i, dir, seed, &requantised, err));
    if (requantised)
        tn_logf(log, TN_LOG_WARN,
                "%s: %d matrices were quantised in another format or block size and were quantised again, "
                "which loses a little; set model.quantization as the checkpoint has it",
                dir->path, requantised);
    name_extras(st, dir, log);
    return 0;
}

int tn_store_zero_grad(tn_store *st, tn_error *err)
{
    return st->grads ? tn_buffer_fill(st->grads, 0, st->n_params * 4, 0, err) : 0;
}

static void name_dense(const tn_store *st, const tn_log *log, bool by_name, int count)
{
    tn_text names = {0};
    for (int i = 0; i < st->m->n_slots; i++) {
        const tn_slot *s = &st->m->slots[i];
        if (st->s[i].place != TN_PLACE_DENSE || !s->linear || s->group != TN_GROUP_BACKBONE) continue;
        if (skipped(&st->quant, s->name) == by_name)
            tn_text_addf(&names, "%s%.*s", names.len ? ", " : "", (int)(strlen(s->name) - strlen(".weight")), s->name);
    }
    if (count)
        tn_logf(log, TN_LOG_INFO,
                by_name ? "%d linear layers left in float by skip_modules: %s"
                        : "%d linear layers left in float, because blocks do not divide their rows: %s",
                count, names.s ? names.s : "");
    tn_text_free(&names);
}

void tn_store_report(const tn_store *st, const tn_log *log)
{
    const tn_qformat *f = &tn_qformats[st->quant.type];
    char block[32] = "a scale for each row";
    if (f->max_block) snprintf(block, sizeof block, "blocks of %d", st->quant.block ? st->quant.block : f->default_block);
    tn_logf(log, TN_LOG_INFO, "quantised %d linear layers to %s (%s%s); %.1f MiB of frozen weights instead of %.1f",
            st->n_quantised, f->name, block, st->quant.nested && f->nestable ? ", double quantisation" : "",
            (double)st->weight_bytes / 1048576, (double)st->float_bytes / 1048576);
    name_dense(st, log, true, st->n_skipped);
    name_dense(st, log, false, st->n_indivisible);
}
