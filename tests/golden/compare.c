/* What a session holds beside what the real library wrote. */
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The name that PyTorch gives a slot in these files; path: how its checkpoint or transformers 5 spells it. */
static char *torch_name(const test *t, const tn_slot *s, const char *path)
{
    if (s->group == TN_GROUP_HEAD) return strdup(path);
    const char *wrap = t->peft ? "backbone.base_model.model." : "backbone.";
    if (!strstr(path, ".lora_")) return tn_strf("%s%s", wrap, path);
    const size_t tail = tn_ends(path, ".weight") ? strlen(".weight") : 0; /* DoRA's magnitudes have none */
    return tn_strf("%s%.*s.default.weight", wrap, (int)(strlen(path) - tail), path);
}

static const tn_st_tensor *find_golden(const test *t, const char *kind, const tn_slot *s)
{
    const tn_st_tensor *v = NULL;
    for (int v5 = 0; !v && v5 < 2; v5++) {
        char path[300], full[400];
        snprintf(path, sizeof path, "%s", s->name);
        if (v5) tn_module_path(path, sizeof path, t->model->backbone.family, s->name);
        char *name = torch_name(t, s, path);
        snprintf(full, sizeof full, "%s.%s", kind, name ? name : "");
        v = tn_st_find(t->golden, full);
        free(name);
    }
    return v;
}

/* A slot's values, or those of its gradient, beside a tensor. */
static int compare_slot(test *t, int i, const tn_st_tensor *g, int kind, double floor, tn_error *err)
{
    const size_t n = (size_t)g->count;
    tn_store *st = t->session->store;
    float *want = malloc(n * 4), *got = malloc(n * 4);
    int rc = want && got ? tn_st_read_f32(t->golden, g, want, err) : tn_oom(err);
    if (!rc) rc = kind == GRADIENT ? tn_store_get_grad(st, i, got, err) : tn_store_get(st, i, got, err);
    if (!rc) note(kind, g->name, tn_relative_error(got, want, n, floor));
    free(want);
    free(got);
    return rc;
}

int compare_statistics(test *t, const tn_exec *e, tn_error *err)
{
    bool any = false;
    for (int i = 0; i < t->golden->n; i++) any |= tn_starts(t->golden->t[i].name, "buffer.");
    for (int i = 0; any && i < e->g.n_forward; i++) {
        const tn_gnode *n = &e->g.n[i];
        const bool few = n->op == TN_OP_NORM2D_FEW;
        if (!few && n->op != TN_OP_NORM2D) continue;
        if ((few ? n->a.norm2d_few.stats : n->a.norm2d.stats) != TN_STATS_TRACKED) continue;
        for (int k = 2; k < 4; k++) {
            const tn_st_tensor *g = find_golden(t, "buffer", &t->model->slots[n->w[k]]);
            if (!g) return tn_fail(err, TN_ERR_FORMAT, "%s: no buffer '%s'", t->dir, t->model->slots[n->w[k]].name);
            TN_TRY(compare_slot(t, n->w[k], g, STATISTICS, 0, err));
        }
    }
    return 0;
}

/* PyTorch lists what nothing reads among a trained part's parameters: without a gradient, and in the end as it was. */
static bool is_listed(const test *t, const tn_slot *s, int kind)
{
    const bool part = s->group == TN_GROUP_HEAD || (s->group == TN_GROUP_BACKBONE && t->model->train_backbone);
    return s->trainable || (kind == FINAL && part && !s->buffer);
}

int compare_slots(test *t, const char *prefix, int kind, tn_error *err)
{
    int compared = 0;
    float *norm = values_of(t->golden, "trace.grad_norm", NULL, err);
    const double whole = norm ? norm[0] : 0; /* a key's bias has no gradient but rounding: measured against the whole */
    free(norm);
    for (int i = 0; i < t->model->n_slots; i++) {
        const tn_slot *s = &t->model->slots[i];
        if (!is_listed(t, s, kind)) continue;
        const tn_st_tensor *g = find_golden(t, prefix, s);
        if (!g) return tn_fail(err, TN_ERR_FORMAT, "%s: no %s of '%s'", t->dir, prefix, s->name);
        TN_TRY(compare_slot(t, i, g, kind, kind == GRADIENT ? 1e-4 * whole : 0, err));
        compared++;
    }
    int listed = 0; /* mask_token is listed by PyTorch, but nothing but masked pre-training reads it */
    for (int i = 0; i < t->golden->n; i++) {
        const char *name = t->golden->t[i].name;
        listed += tn_starts(name, prefix) && name[strlen(prefix)] == '.' && !strstr(name, "mask_token");
    }
    if (listed != compared)
        return tn_fail(err, TN_ERR_FORMAT, "%s: %d values of '%s', but %d trained slots", t->dir, listed, prefix, compared);
    return 0;
}

/* [B, C, H*W] to channels last. */
static void channels_last(float *v, int64_t B, int64_t C, int64_t area)
{
    const size_t n = (size_t)(C * area);
    float *old = malloc(n * sizeof *old);
    for (int64_t b = 0; old && b < B; b++, v += n) {
        memcpy(old, v, n * sizeof *v);
        for (int64_t p = 0; p < area; p++)
            for (int64_t c = 0; c < C; c++) v[p * C + c] = old[c * area + p];
    }
    free(old);
}

/* What the library has as [B, C, H, W] as we have it. Of [B, 1 + N, C] with fewer rows here, those behind the first one of each
 * sample, or where ours has one alone, that. */
static float *as_ours(const test *t, const char *name, size_t rows, size_t *n, tn_error *err)
{
    float *v = values_of(t->golden, name, n, err);
    const tn_st_tensor *s = tn_st_find(t->golden, name);
    if (!v) return NULL;
    if (s->ndim == 4) channels_last(v, s->shape[0], s->shape[1], s->shape[2] * s->shape[3]);
    if (s->ndim != 3) return v;
    const size_t B = (size_t)s->shape[0], N = (size_t)s->shape[1], C = (size_t)s->shape[2], take = rows / B, first = take + 1 == N;
    for (size_t b = 0; b < B; b++) memmove(v + b * take * C, v + (b * N + first) * C, take * C * sizeof *v);
    *n = B * take * C;
    return v;
}

int compare_tensor(test *t, tn_exec *e, int id, int kind, const char *name, tn_error *err)
{
    size_t n = 0;
    float *want = as_ours(t, name, (size_t)e->g.t[id].rows, &n, err), *got = malloc((n + 1) * 4);
    int rc = !want ? err->status : got ? 0 : tn_oom(err);
    if (!rc && n != (size_t)e->g.t[id].rows * (size_t)e->g.t[id].cols)
        rc = tn_fail(err, TN_ERR_FORMAT, "%s: '%s' has %zu values", t->dir, name, n);
    if (!rc) rc = tn_session_download(t->session, e, id, got, err);
    if (!rc) note(kind, name, tn_relative_error(got, want, n, 0));
    free(want);
    free(got);
    return rc;
}

int upload(test *t, tn_exec *e, int id, const char *name, tn_error *err)
{
    size_t n;
    float *v = id == e->g.pixels ? values_of(t->golden, name, &n, err) : as_ours(t, name, (size_t)e->g.t[id].rows, &n, err);
    if (!v) return err->status;
    int rc = tn_session_upload(t->session, e, id, v, err);
    free(v);
    return rc;
}
