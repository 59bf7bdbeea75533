/* Adapters in an engine: one model that holds them all, and one of them in place. */
#include "adapter_use.h"
#include "checkpoint.h"
#include "files.h"
#include "names.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A number for one module; dots are literal in a pattern. */
static int add_pattern(tn_lora_pattern *p, const char *module, double value, tn_error *err)
{
    double *v = realloc(p->value, sizeof *v * (size_t)(p->key.n + 1));
    if (!v) return tn_oom(err);
    p->value = v;
    v[p->key.n] = value;
    tn_text key = {0};
    for (const char *s = module; *s; s++) tn_text_addf(&key, *s == '.' ? "\\." : "%c", *s);
    const bool ok = !key.oom && tn_strs_add(&p->key, key.s);
    tn_text_free(&key);
    return ok ? 0 : tn_oom(err);
}

static int widen(tn_lora *l, const tn_adapter_module *m, tn_error *err)
{
    for (int i = 0; i < l->targets.n; i++)
        if (!strcmp(l->targets.v[i], m->common)) {
            l->rank_pattern.value[i] = fmax(l->rank_pattern.value[i], m->r);
            return 0;
        }
    TN_TRY(add_pattern(&l->rank_pattern, m->common, m->r, err));
    return tn_strs_add(&l->targets, m->common) ? 0 : tn_oom(err);
}

/* Modules trained whole must stand in float, whatever the base is quantised to; biases always do. */
static int add_whole(tn_lora *l, const tn_adapter *a, tn_error *err)
{
    for (int i = 0; i < a->file->n; i++) {
        char name[320];
        if (!tn_adapter_whole(a, i) || tn_ends(a->common.v[i], ".bias")) continue;
        snprintf(name, sizeof name, "%s", a->common.v[i]);
        char *dot = strrchr(name, '.');
        if (dot) *dot = 0;
        if (!tn_strs_has(&l->modules_to_save, name) && !tn_strs_add(&l->modules_to_save, name)) return tn_oom(err);
    }
    return 0;
}

/* A start that changes the base has to be made again, and by one adapter alone. */
static int begin_as(tn_lora *l, const tn_adapter *a, bool alone, tn_error *err)
{
    const char *init = tn_adapter_init(a);
    const int pissa = tn_pissa_iterations(init);
    tn_loftq_start q;
    TN_TRY(tn_adapter_loftq(&q, a, err));
    if (pissa >= 0) {
        l->init = TN_LORA_PISSA;
        l->iterations = pissa;
    } else if (!strcasecmp(init, "olora")) {
        l->init = TN_LORA_OLORA;
        for (int i = 0; i < a->n; i++) /* what is taken out of the base depends on the scale */
            TN_TRY(add_pattern(&l->alpha_pattern, a->modules[i].common, (double)a->modules[i].scale * a->modules[i].r, err));
    } else if (q.iterations > 1) {
        l->init = TN_LORA_LOFTQ;
        l->iterations = q.iterations;
    } else {
        return 0;
    }
    if (alone) return 0;
    return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': %s changes the base, so this adapter cannot share it with others: '%s'",
                   a->dir,
                   pissa >= 0                 ? "PiSSA"
                   : l->init == TN_LORA_OLORA ? "OLoRA"
                                              : "LoftQ",
                   init);
}

int tn_adapter_union(tn_lora *l, tn_adapter *const *a, int n, tn_error *err)
{
    *l = (tn_lora){.enabled = true, .r = 1, .alpha = 1, .bias = "none", .foreign = true};
    int rc = 0;
    for (int i = 0; !rc && i < n; i++) {
        l->dora |= a[i]->dora;
        for (int k = 0; !rc && k < a[i]->n; k++) rc = widen(l, &a[i]->modules[k], err);
        if (!rc) rc = add_whole(l, a[i], err);
        if (!rc) rc = begin_as(l, a[i], n == 1, err);
    }
    if (rc) tn_lora_free(l);
    return rc;
}

static int other_base(const tn_adapter *a, const tn_adapter_module *m, const tn_slot *w, tn_error *err)
{
    return tn_fail(err, TN_ERR_FORMAT,
                   "adapter '%s': module '%s' is [%d, %d] where this base has [%d, %d]; it was made for another "
                   "base",
                   a->dir, m->path, m->out, m->in, w->rows, w->cols);
}

/* values [rows, cols] into the corner of a slot [R, C], times k; the rest is zero. Of `groups` groups of rows, each into the corner
 * of its own. */
static int set_padded(tn_engine *e, int slot, const float *values, int rows, int cols, int groups, float k, tn_error *err)
{
    const tn_slot *s = &e->model->slots[slot];
    float *v = calloc((size_t)s->rows * (size_t)s->cols + 1, sizeof *v);
    if (!v) return tn_oom(err);
    for (int r = 0; values && r < rows; r++) {
        const int each = rows / groups, to = r / each * (s->rows / groups) + r % each;
        for (int c = 0; c < cols; c++)
            v[(size_t)to * (size_t)s->cols + (size_t)c] = values[(size_t)r * (size_t)cols + (size_t)c] * k;
    }
    int rc = tn_store_set(e->session->store, slot, v, err);
    free(v);
    return rc;
}

static int use_slot_of(const tn_model *m, const char *module, const char *suffix)
{
    char name[320];
    snprintf(name, sizeof name, "%s%s", module, suffix);
    return tn_model_slot(m, name);
}

static bool fits(const tn_adapter_module *x, const tn_slot *w)
{
    const int groups = tn_slot_groups(w);
    if ((w->ndim == 4) != (x->groups > 0) || (x->groups && x->groups != groups)) return false;
    return x->out == w->rows && x->in == w->cols * groups && (!x->groups || x->a->shape[2] == w->shape[2]);
}

/* One adapted module of the model: from the adapter, or silenced where it has none. */
static int apply_module(const tn_adapter *a, tn_engine *e, const char *module, int *used, tn_error *err)
{
    char common[320];
    tn_model *m = e->model;
    const int sa = use_slot_of(m, module, ".lora_A.weight"), sb = use_slot_of(m, module, ".lora_B.weight"),
              sw = use_slot_of(m, module, ".weight");
    tn_common_name(common, sizeof common, module);
    const tn_adapter_module *x = tn_adapter_find(a, common);
    if (!x) {
        TN_TRY(set_padded(e, sa, NULL, 0, 0, 1, 0, err));
        return set_padded(e, sb, NULL, 0, 0, 1, 0, err);
    }
    ++*used;
    if (!fits(x, &m->slots[sw])) return other_base(a, x, &m->slots[sw], err);
    const int groups = TN_MAX(x->groups, 1);
    float *A = tn_adapter_values(a, x->a, err), *B = A ? tn_adapter_values(a, x->b, err) : NULL;
    int rc = B ? set_padded(e, sa, A, x->r, x->in, groups, 1, err) : err->status;
    if (!rc) rc = set_padded(e, sb, B, x->out, x->r / groups, 1, x->scale / m->slots[sb].lora_scale, err);
    free(A);
    free(B);
    return rc;
}

static int apply_magnitudes(const tn_adapter *a, tn_engine *e, tn_error *err)
{
    TN_TRY(tn_adapt_magnitudes(e->session->store, err)); /* a factor of one where the adapter has none */
    for (int i = 0; a->dora && i < e->model->n_slots; i++) {
        const tn_slot *s = &e->model->slots[i];
        char module[320], common[320];
        if (!tn_ends(s->name, ".lora_magnitude_vector")) continue;
        snprintf(module, sizeof module, "%.*s", (int)(strlen(s->name) - strlen(".lora_magnitude_vector")), s->name);
        tn_common_name(common, sizeof common, module);
        const tn_adapter_module *x = tn_adapter_find(a, common);
        if (!x) continue;
        float *v = tn_adapter_values(a, x->magnitude, err);
        int rc = v ? tn_store_set(e->session->store, i, v, err) : err->status;
        free(v);
        TN_TRY(rc);
    }
    return 0;
}

/* The base's own value, kept the first time that an adapter replaces it. */
static int keep(tn_engine *e, int slot, tn_error *err)
{
    const tn_slot *s = &e->model->slots[slot];
    if (!e->kept && !(e->kept = calloc((size_t)e->model->n_slots, sizeof *e->kept))) return tn_oom(err);
    if (e->kept[slot]) return 0;
    e->kept[slot] = malloc((size_t)s->rows * (size_t)s->cols * sizeof(float));
    return e->kept[slot] ? tn_store_get(e->session->store, slot, e->kept[slot], err) : tn_oom(err);
}

/* "X.bias" of a module whose lora_B has a bias of its own. */
static const tn_adapter_module *biased(const tn_adapter *a, const char *common)
{
    char module[320];
    if (!a->lora_bias || !tn_ends(common, ".bias")) return NULL;
    snprintf(module, sizeof module, "%.*s", (int)(strlen(common) - strlen(".bias")), common);
    return tn_adapter_find(a, module);
}

/* v [n] += scale * lora_B.bias */
static int add_bias(float *v, const tn_adapter *a, const tn_adapter_module *x, tn_error *err)
{
    float *b = tn_adapter_values(a, x->bias, err);
    for (int i = 0; b && i < x->out; i++) v[i] += x->scale * b[i];
    free(b);
    return b ? 0 : err->status;
}

/* A slot as the adapter has it: its own tensor t, or the base's value, plus the bias of module x; either may be NULL. */
static int set_other(const tn_adapter *a, tn_engine *e, int slot, const tn_st_tensor *t, const tn_adapter_module *x, tn_error *err)
{
    const tn_slot *s = &e->model->slots[slot];
    const long long n = (long long)s->rows * s->cols;
    if ((t && t->count != n) || (x && x->out != n))
        return tn_fail(err, TN_ERR_FORMAT,
                       "adapter '%s': '%s' has %lld values where this base has %lld; it was made for another base", a->dir,
                       t ? t->name : x->bias->name, (long long)(t ? t->count : x->out), n);
    TN_TRY(keep(e, slot, err));
    float *v = malloc((size_t)n * sizeof *v);
    if (!v) return tn_oom(err);
    memcpy(v, e->kept[slot], (size_t)n * sizeof *v);
    int rc = t ? tn_st_read_f32(a->file, t, v, err) : 0;
    if (!rc && x) rc = add_bias(v, a, x, err);
    if (!rc) rc = tn_store_set(e->session->store, slot, v, err);
    free(v);
    return rc;
}

/* Every tensor that is no LoRA must have found its slot, and every bias of lora_B the base's. */
static int all_taken(const tn_adapter *a, const bool *taken, int biases, tn_error *err)
{
    for (int i = 0; i < a->file->n; i++)
        if (tn_adapter_whole(a, i) && !taken[i])
            return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': '%s' is not in this base; it was made for another base", a->dir,
                           a->file->t[i].name);
    const int inside = tn_adapter_inside(a);
    if (!a->lora_bias || biases == inside) return 0;
    return tn_fail(err, TN_ERR_FORMAT,
                   "adapter '%s': lora_bias needs a bias in every adapted layer, and %d of %d have none in this base", a->dir,
                   inside - biases, inside);
}

/* Biases and modules trained whole; what an adapter before this one replaced is put back. */
static int apply_others(const tn_adapter *a, tn_engine *e, tn_error *err)
{
    bool *taken = calloc((size_t)a->file->n + 1, sizeof *taken);
    int rc = taken ? 0 : tn_oom(err), biases = 0;
    for (int i = 0; !rc && i < e->model->n_slots; i++) {
        const tn_slot *s = &e->model->slots[i];
        char common[320];
        if (!s->backbone) continue;
        tn_common_name(common, sizeof common, s->name);
        const tn_st_tensor *t = tn_adapter_other(a, common);
        const tn_adapter_module *x = biased(a, common);
        biases += x != NULL;
        if (t) taken[t - a->file->t] = true;
        if (t || x) rc = set_other(a, e, i, t, x, err);
        else if (e->kept && e->kept[i]) rc = tn_store_set(e->session->store, i, e->kept[i], err);
    }
    if (!rc) rc = all_taken(a, taken, biases, err);
    free(taken);
    return rc;
}

int tn_adapter_apply(const tn_adapter *a, tn_engine *e, tn_error *err)
{
    int used = 0;
    TN_TRY(apply_others(a, e, err));
    for (int i = 0; i < e->model->n_slots; i++) {
        char module[320];
        const char *name = e->model->slots[i].name;
        if (!tn_ends(name, ".lora_A.weight")) continue;
        snprintf(module, sizeof module, "%.*s", (int)(strlen(name) - strlen(".lora_A.weight")), name);
        TN_TRY(apply_module(a, e, module, &used, err));
    }
    const int inside = tn_adapter_inside(a);
    if (used < inside)
        return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': %d of its %d modules are not in this base; it was made for another base",
                       a->dir, inside - used, inside);
    return apply_magnitudes(a, e, err);
}

/* LoftQ made up for one way of quantising, which must be this engine's. */
static int check_loftq(const tn_adapter *a, const tn_engine *e, tn_error *err)
{
    const tn_quant_spec *q = &e->session->store->quant;
    tn_loftq_start s;
    TN_TRY(tn_adapter_loftq(&s, a, err));
    const bool same_block = tn_adapter_block(q->type, q->block) == tn_adapter_block(s.type, s.block);
    if (!s.iterations || (q->enabled && q->type == s.type && same_block && q->nested == s.nested)) return 0;
    char block[40] = "";
    if (s.block) snprintf(block, sizeof block, ", block_size %d,", s.block);
    return tn_fail(err, TN_ERR_CONFIG, "adapter '%s' began from LoftQ on a base in %s%s%s; set model.quantization so", a->dir,
                   tn_qformats[s.type].name, block, s.nested ? " with double quantisation" : "");
}

int tn_adapters_engine(tn_engine **e, tn_adapter *list[TN_MAX_ADAPTERS], int *n, const tn_settings *s, const tn_run_options *o,
                       tn_error *err)
{
    tn_lora all;
    *e = NULL;
    *n = 0;
    if (!o->n_adapters) {
        TN_TRY(tn_engine_open(e, s, o, false, false, err));
        return o->checkpoint ? tn_checkpoint_load(o->checkpoint, *e, err) : 0;
    }
    if (o->n_adapters > TN_MAX_ADAPTERS) return tn_fail(err, TN_ERR_ARGUMENT, "at most %d adapters at once", TN_MAX_ADAPTERS);
    for (; *n < o->n_adapters; ++*n) TN_TRY(tn_adapter_open(&list[*n], o->adapters[*n], err));
    TN_TRY(tn_adapter_union(&all, list, *n, err));
    int rc = tn_engine_open_with(e, s, o, &all, err);
    tn_lora_free(&all);
    for (int i = 0; !rc && i < *n; i++) {
        rc = check_loftq(list[i], *e, err);
        tn_adapter_warn(list[i], NULL, o->log);
    }
    if (!rc && o->checkpoint) rc = tn_checkpoint_load(o->checkpoint, *e, err);
    return rc;
}

int tn_adapters_use(const tn_adapter *a, tn_engine *e, const tn_run_options *o, tn_error *err)
{
    char *decoder = tn_path(a->dir, "decoder.safetensors");
    int rc = !decoder              ? tn_oom(err)
             : tn_is_file(decoder) ? tn_checkpoint_load(a->dir, e, err)
             : o->checkpoint       ? 0
                                   : tn_fail(err, TN_ERR_IO,
                                             "adapter '%s' has no decoder.safetensors beside it; name a --checkpoint that "
                                                   "brings decoder and head",
                                             a->dir);
    free(decoder);
    return rc ? rc : tn_adapter_apply(a, e, err);
}
