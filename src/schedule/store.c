#include "dense.h"
#include "stream.h"

#include <stdlib.h>
#include <string.h>

static int group_index(tn_group g)
{
    return g == TN_GROUP_HEAD ? 0 : g == TN_GROUP_LORA ? 1 : 2;
}

/** Biases of one product's parts. */
struct tn_joined {
    int slots[TN_NODE_PARTS], n, generation;
    tn_buffer *buffer;
};

static bool skipped(const tn_quant_spec *q, const char *name)
{
    for (int i = 0; i < q->skip.n; i++)
        if (strstr(name, q->skip.v[i])) return true;
    return false;
}

static tn_dtype frozen_dtype(const tn_store *st, const tn_slot *s)
{
    if (s->group == TN_GROUP_HEAD) return TN_F32;                         /* of a decoder: what nothing reads */
    return s->linear || (s->ndim == 4 && s->rows > 1) ? st->act : TN_F32; /* one row is a vector, whatever its shape */
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
    if (e->place != TN_PLACE_PARAM && !e->elsewhere) {
        st->weight_bytes += e->bytes;
        st->float_bytes += 4 * n;
    }
    return 0;
}

/* Places in LoRA's group: A's of modules that follow each other (query, key, value) lie side by side, and their B's: one product
 * takes them all. What LoRA+ gives another rate comes last. */
enum { WHOLE, LORA_A, LORA_B, VECTORS, KINDS };

static int kind_of(const tn_slot *s)
{
    if (s->group != TN_GROUP_LORA) return WHOLE;
    if (tn_ends(s->name, ".lora_A.weight")) return LORA_A;
    return tn_ends(s->name, ".lora_B.weight") ? LORA_B : s->ndim == 1 ? VECTORS : WHOLE;
}

static void lay_out_group(tn_store *st, tn_group group)
{
    const size_t align = st->dev->align / 4;
    for (int kind = 0; kind < KINDS; kind++) {
        if (group == TN_GROUP_LORA && kind == LORA_B) st->late_off = st->n_params;
        for (int i = 0; i < st->m->n_slots; i++) {
            const tn_slot *s = &st->m->slots[i];
            if (st->s[i].place != TN_PLACE_PARAM || st->s[i].elsewhere || s->group != group || kind_of(s) != kind) continue;
            st->s[i].off = st->n_params;
            st->n_params += TN_ROUND_UP((size_t)s->rows * (size_t)s->cols, align);
        }
    }
}

static bool has_shadow(const tn_store *st)
{
    return st->act != TN_F32;
}

static void lay_out_params(tn_store *st)
{
    static const tn_group order[TN_GROUPS] = {TN_GROUP_HEAD, TN_GROUP_LORA, TN_GROUP_BACKBONE};
    for (int g = 0; g < TN_GROUPS; g++) {
        st->group_off[g] = st->n_params;
        lay_out_group(st, order[g]);
        st->group_len[g] = st->n_params - st->group_off[g];
    }
}

static int new_zeroed(tn_buffer **m, tn_store *st, size_t bytes, const char *what, tn_error *err)
{
    TN_TRY(tn_buffer_new(m, st->dev, bytes, what, err));
    return tn_buffer_fill(*m, 0, TN_ROUND_UP(bytes, (size_t)4), 0, err);
}

static int bind_param(tn_store *st, tn_stored *e, tn_error *err)
{
    size_t bytes = tn_tensor_bytes(&e->t);
    TN_TRY(tn_buffer_sub(&e->t.mem, st->params, e->off * 4, bytes, err));
    if (!st->grads) return 0;
    return tn_buffer_sub(&e->grad.mem, st->grads, e->off * 4, bytes, err);
}

/* Every matrix of a format reads the first one's tables. */
static int new_quant(tn_store *st, int i, tn_error *err)
{
    tn_stored *e = &st->s[i];
    const tn_qshape shape = e->q.s;
    TN_TRY(tn_qtensor_new_in(&e->q, st->dev, &shape, st->tables, tn_stream_window(st, i), e->at, err));
    if (!st->tables) st->tables = e->q.tables;
    return 0;
}

static int allocate(tn_store *st, bool optimiser, tn_error *err)
{
    if (st->n_params) {
        const size_t bytes = st->n_params * 4;
        TN_TRY(new_zeroed(&st->params, st, bytes, "trainable parameters", err));
        if (has_shadow(st)) TN_TRY(new_zeroed(&st->shadow, st, tn_store_shadow_bytes(st), "parameters in half storage", err));
        if (optimiser) {
            TN_TRY(new_zeroed(&st->grads, st, bytes, "gradients", err));
            TN_TRY(new_zeroed(&st->moment1, st, bytes, "optimiser state", err));
            TN_TRY(new_zeroed(&st->moment2, st, bytes, "optimiser state", err));
        }
    }
    for (int i = 0; i < st->m->n_slots; i++) {
        tn_stored *e = &st->s[i];
        if (e->elsewhere) continue;
        if (e->place == TN_PLACE_PARAM) TN_TRY(bind_param(st, e, err));
        else if (e->place == TN_PLACE_QUANT) TN_TRY(new_quant(st, i, err));
        else if (!st->m->slots[i].linear) TN_TRY(tn_buffer_new(&e->t.mem, st->dev, e->bytes, st->m->slots[i].name, err));
    }
    return tn_dense_new(st, false, err);
}

int tn_store_new_of(tn_store **out, tn_dev *d, const tn_model *m, const tn_store_spec *spec, tn_error *err)
{
    const tn_quant_spec *quant = spec->quant;
    tn_store *st = calloc(1, sizeof *st);
    if (!st || !(st->s = calloc((size_t)m->n_slots + 1, sizeof *st->s))) {
        free(st);
        return tn_oom(err);
    }
    st->dev = d;
    st->m = m;
    st->act = spec->act;
    st->dry = spec->dry;
    st->norms = spec->norms;
    int rc = 0;
    for (int i = 0; i < m->n_slots; i++) st->s[i].elsewhere = spec->held && !spec->held[i];
    if (quant) {
        st->quant = *quant;
        if (!tn_strs_copy(&st->quant.skip, &quant->skip)) rc = tn_oom(err);
    }
    for (int i = 0; !rc && i < m->n_slots; i++) rc = choose(st, i, err);
    lay_out_params(st);
    tn_dense_lay_out(st);
    if (!rc) rc = tn_stream_new(&st->stream, st, err);
    if (!rc && !spec->dry && spec->window) rc = tn_stream_open(st->stream, spec->window, err);
    if (!rc && !spec->dry) rc = allocate(st, spec->optimiser, err);
    if (rc) {
        tn_store_free(st);
        st = NULL;
    }
    *out = st;
    return rc;
}

int tn_store_new(tn_store **out, tn_dev *d, const tn_model *m, const tn_quant_spec *quant, tn_dtype act, bool optimiser, bool dry,
                 tn_error *err)
{
    return tn_store_new_of(out, d, m, &(tn_store_spec){.quant = quant, .act = act, .optimiser = optimiser, .dry = dry}, err);
}

void tn_store_free(tn_store *st)
{
    if (!st) return;
    tn_dev *d = st->dev;
    tn_dense_free(st, false);
    tn_dense_free(st, true);
    for (int i = st->m->n_slots - 1; i >= 0; i--) {
        tn_stored *e = &st->s[i];
        tn_buffer_free(e->kept.mem);
        tn_buffer_free(e->grad.mem);
        tn_buffer_free(e->t.mem);
        if (e->place == TN_PLACE_QUANT) tn_qtensor_free(&e->q, d);
    }
    tn_stream_free(st->stream);
    for (int i = 0; i < st->n_joined; i++) tn_buffer_free(st->joined[i].buffer);
    free(st->joined);
    tn_buffer *arenas[] = {st->shadow, st->params, st->grads, st->moment1, st->moment2};
    for (size_t i = 0; i < TN_COUNT(arenas); i++) tn_buffer_free(arenas[i]);
    tn_strs_free(&st->quant.skip);
    free(st->s);
    free(st);
}

tn_store *tn_store_of(const tn_store *st, int slot)
{
    while (st->s[slot].elsewhere && st->next) st = st->next;
    return (tn_store *)st;
}

void tn_store_weights(const tn_store *st, size_t *stored, size_t *as_float32)
{
    *stored = *as_float32 = 0;
    for (; st; st = st->next) *stored += st->weight_bytes, *as_float32 += st->float_bytes;
}

size_t tn_store_shadow_bytes(const tn_store *st)
{
    return has_shadow(st) ? st->n_params * tn_dtype_size(st->act) : 0;
}

static tn_optim_range range_of(const tn_store *st, int g, size_t off, size_t end, float rate)
{
    tn_optim_range r = {
        .p = st->params, .g = st->grads, .m = st->moment1, .v = st->moment2, .off = off, .n = end - off, .group = g, .rate = rate};
    if (st->shadow) r.shadow = st->shadow, r.shadow_type = st->act;
    return r;
}

int tn_store_ranges(const tn_store *st, int g, float ratio, tn_optim_range ranges[TN_STORE_RANGES])
{
    const size_t off = st->group_off[g], end = off + st->group_len[g];
    const size_t late = g == group_index(TN_GROUP_LORA) && ratio != 1 ? st->late_off : end;
    int n = 0;
    if (late > off) ranges[n++] = range_of(st, g, off, late, 1);
    if (end > late) ranges[n++] = range_of(st, g, late, end, ratio);
    return n;
}

tn_tensor tn_store_operand(const tn_store *st, int slot)
{
    const tn_stored *e = &st->s[slot];
    tn_tensor t = e->t;
    if (e->place != TN_PLACE_PARAM) return t;
    t.mem = has_shadow(st) ? st->shadow : st->params;
    t.off = e->off;
    if (has_shadow(st)) t.dtype = st->act;
    return t;
}

static int fill_joined(tn_store *st, struct tn_joined *j, const int *cols, tn_error *err)
{
    j->generation = st->generation;
    size_t at = 0;
    for (int i = 0; i < j->n; at += (size_t)cols[i++] * 4) {
        const size_t bytes = (size_t)cols[i] * 4;
        if (j->slots[i] < 0) TN_TRY(tn_buffer_fill(j->buffer, at, bytes, 0, err));
        else TN_TRY(tn_buffer_copy(st->s[j->slots[i]].t.mem, 0, j->buffer, at, bytes, err));
    }
    return 0;
}

static int new_joined(struct tn_joined **out, tn_store *st, const int *slots, const int *cols, int n, tn_error *err)
{
    struct tn_joined *v = realloc(st->joined, sizeof *v * (size_t)(st->n_joined + 1));
    if (!v) return tn_oom(err);
    st->joined = v;
    struct tn_joined *j = *out = &v[st->n_joined];
    *j = (struct tn_joined){.n = n, .generation = -1};
    memcpy(j->slots, slots, sizeof *slots * (size_t)n);
    size_t bytes = 0;
    for (int i = 0; i < n; i++) bytes += (size_t)cols[i] * 4;
    TN_TRY(tn_buffer_new(&j->buffer, st->dev, bytes, "joined biases", err));
    st->n_joined++;
    return 0;
}

int tn_store_join(tn_store *st, const int *slots, const int *cols, int n, bool *can, tn_buffer **out, tn_error *err)
{
    bool any = false;
    *can = true;
    *out = NULL;
    for (int i = 0; i < n; i++) {
        any |= slots[i] >= 0;
        *can = *can && (slots[i] < 0 || st->s[slots[i]].place == TN_PLACE_DENSE);
    }
    if (!*can || !any || st->dry) return 0;
    struct tn_joined *j = NULL;
    for (int i = 0; i < st->n_joined && !j; i++)
        if (st->joined[i].n == n && !memcmp(st->joined[i].slots, slots, sizeof *slots * (size_t)n)) j = &st->joined[i];
    if (!j) TN_TRY(new_joined(&j, st, slots, cols, n, err));
    if (j->generation != st->generation) TN_TRY(fill_joined(st, j, cols, err));
    *out = j->buffer;
    return 0;
}

void tn_store_changed(tn_store *st)
{
    st->generation += st->keeps;
    for (int i = 0; st->keeps && i < st->m->n_slots; i++) st->s[i].kept.filled = false;
}

static int set_quant(tn_store *st, int slot, const float *v, tn_error *err)
{
    tn_ctx c;
    tn_ctx_init(&c, st->dev);
    st->generation++;
    return tn_qtensor_quantize(&c, &st->s[slot].q, v, st->m->slots[slot].name, err);
}

int tn_store_set_packed(tn_store *first, int slot, const tn_qmatrix *q, tn_error *err)
{
    for (; first; first = first->twin) {
        tn_store *st = tn_store_of(first, slot);
        st->generation++;
        st->merged = first->merged = st->unpacked = false;
        tn_store_changed(st);
        TN_TRY(tn_stream_hold(st, slot, err));
        TN_TRY(tn_qtensor_set(&st->s[slot].q, st->dev, q, err));
        TN_TRY(tn_stream_take(st, slot, err));
    }
    return 0;
}

static int set_values(tn_store *st, int slot, const float *values, tn_error *err)
{
    const tn_stored *e = &st->s[slot];
    if (st->m->slots[slot].group != TN_GROUP_HEAD) st->merged = false;
    if (e->merged.rows) st->unpacked = false; /* and below the generation goes up */
    tn_store_changed(st);
    if (e->place == TN_PLACE_QUANT) return set_quant(st, slot, values, err);
    if (e->place == TN_PLACE_DENSE) st->generation++; /* joined vectors are copies */
    TN_TRY(tn_tensor_set(st->dev, &e->t, values, err));
    const tn_tensor operand = tn_store_operand(st, slot);
    return operand.mem == st->shadow && st->shadow ? tn_tensor_set(st->dev, &operand, values, err) : 0;
}

static int set_one(tn_store *st, int slot, const float *values, tn_error *err)
{
    TN_TRY(tn_stream_hold(st, slot, err));
    TN_TRY(set_values(st, slot, values, err));
    return tn_stream_take(st, slot, err);
}

int tn_store_set(tn_store *first, int slot, const float *values, tn_error *err)
{
    for (; first; first = first->twin) {
        TN_TRY(set_one(tn_store_of(first, slot), slot, values, err));
        first->merged = first->merged && tn_store_of(first, slot)->merged;
    }
    return 0;
}

static int get_quant(tn_store *st, const tn_stored *e, float *values, tn_error *err)
{
    tn_ctx c;
    tn_tensor t;
    tn_ctx_init(&c, st->dev);
    TN_TRY(tn_tensor_new(&t, st->dev, TN_F32, e->q.s.rows, e->q.s.cols, "a dequantised weight", err));
    int rc = tn_unpack(&c, &e->q, &t, err);
    if (!rc) rc = tn_tensor_get(st->dev, &t, values, err);
    tn_tensor_free(st->dev, &t);
    return rc;
}

int tn_store_get(tn_store *first, int slot, float *values, tn_error *err)
{
    tn_store *st = tn_store_of(first, slot);
    const tn_stored *e = &st->s[slot];
    TN_TRY(tn_stream_hold(st, slot, err));
    if (e->place == TN_PLACE_QUANT) return get_quant(st, e, values, err);
    return tn_tensor_get(st->dev, &e->t, values, err);
}

int tn_store_set_moments(tn_store *first, int slot, const float *m, const float *v, tn_error *err)
{
    for (; first; first = first->twin) {
        const tn_store *st = tn_store_of(first, slot);
        const tn_stored *e = &st->s[slot];
        const size_t bytes = tn_tensor_bytes(&e->t);
        if (m) TN_TRY(tn_buffer_write(st->moment1, e->off * 4, m, bytes, err));
        if (v) TN_TRY(tn_buffer_write(st->moment2, e->off * 4, v, bytes, err));
    }
    return 0;
}

int tn_store_get_grad(tn_store *first, int slot, float *values, tn_error *err)
{
    tn_store *st = tn_store_of(first, slot);
    const tn_stored *e = &st->s[slot];
    if (e->place != TN_PLACE_PARAM || !e->grad.mem)
        return tn_fail(err, TN_ERR_ARGUMENT, "%s is not trained and has no gradient", st->m->slots[slot].name);
    return tn_tensor_get(st->dev, &e->grad, values, err);
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
    size_t stored, as_float32;
    tn_store_weights(st, &stored, &as_float32);
    if (f->max_block) snprintf(block, sizeof block, "blocks of %d", st->quant.block ? st->quant.block : f->default_block);
    tn_logf(log, TN_LOG_INFO, "quantised %d linear layers to %s (%s%s); %.1f MiB of frozen weights instead of %.1f",
            st->n_quantised, f->name, block, st->quant.nested && f->nestable ? ", double quantisation" : "",
            (double)stored / 1048576, (double)as_float32 / 1048576);
    name_dense(st, log, true, st->n_skipped);
    name_dense(st, log, false, st->n_indivisible);
}
