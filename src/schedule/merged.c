/* Dense copies of matrices: with their adapters in them, what prediction multiplies with, or without. */
#include "dense.h"
#include "svd.h"

#include <stdlib.h>

/* Adapter's slot of matrix i, by suffix, or -1. */
static int adapter(const tn_store *st, int i, const char *suffix)
{
    return tn_model_beside(st->m, &st->m->slots[i], suffix);
}

/* A slot's values, or NULL with the error set. */
static float *values(tn_store *st, int slot, tn_error *err)
{
    const tn_slot *s = &st->m->slots[slot];
    float *v = malloc(sizeof *v * (size_t)s->rows * (size_t)s->cols);
    if (!v) tn_oom(err);
    else if (tn_store_get(st, slot, v, err)) {
        free(v);
        v = NULL;
    }
    return v;
}

/* w becomes W + s B A, and with DoRA the rows of that have the norms m. */
static int add_adapter(tn_store *st, int i, float *w, tn_error *err)
{
    const tn_slot *s = &st->m->slots[i];
    const int a = adapter(st, i, "lora_A.weight"), mag = adapter(st, i, "lora_magnitude_vector");
    if (a < 0) return 0;
    const tn_slot *A = &st->m->slots[a];
    float *va = values(st, a, err), *vb = va ? values(st, adapter(st, i, "lora_B.weight"), err) : NULL;
    float *vm = vb && mag >= 0 ? values(st, mag, err) : NULL;
    const bool all = vb && (mag < 0 || vm);
    if (all) tn_matmul_add(w, A->lora_scale, vb, va, s->rows, A->rows, s->cols);
    if (vm) tn_rows_to_norms(w, vm, s->rows, s->cols);
    free(va);
    free(vb);
    free(vm);
    return all ? 0 : err->status;
}

/* The matrix that begins i's operation, and the rows between. */
static int first_of(const tn_store *st, int i, int *rows)
{
    int first = i;
    *rows = 0;
    while (st->m->slots[first].joins) {
        do first--;
        while (!st->m->slots[first].linear);
        *rows += st->m->slots[first].rows;
    }
    return first;
}

/* The sum of a (times b); n: a multiple of TN_SUM_COLUMNS. Several sums at once, for one would wait for itself. */
static double sum_of(const float *a, const float *b, int n)
{
    double part[8] = {0}, all = 0;
    for (int i = 0; i < n; i += 8)
        for (int k = 0; k < 8; k++) part[k] += b ? (double)a[i + k] * (double)b[i + k] : (double)a[i + k];
    for (int k = 0; k < 8; k++) all += part[k];
    return all;
}

/* w's columns are scaled by gamma and rounded; sums: of its rows then; shift: bias and what they make of beta before. `stored`:
 * room for a row. */
static void fold_gamma(const tn_store *st, int i, float *w, const float *gamma, const float *beta, void *stored, float *sums,
                       float *shift)
{
    const int rows = st->m->slots[i].rows, cols = st->m->slots[i].cols;
    for (int r = 0; r < rows; r++, w += cols) {
        shift[r] += (float)sum_of(w, beta, cols);
        for (int c = 0; c < cols; c++) w[c] *= gamma[c];
        tn_from_f32(stored, w, st->act, (size_t)cols);
        tn_to_f32(w, stored, st->act, (size_t)cols);
        sums[r] = (float)sum_of(w, NULL, cols);
    }
}

/* The norm's vectors go into w, matrix i's copy, and into those beside it. */
static int fold_norm(tn_store *st, int i, float *w, tn_error *err)
{
    int before;
    const int norm = tn_model_norm_of(st->m, i), first = first_of(st, i, &before), bias = adapter(st, i, "bias");
    const size_t rows = (size_t)st->m->slots[i].rows, at = sizeof(float) * (size_t)before, bytes = sizeof(float) * rows;
    float *gamma = values(st, norm, err), *beta = gamma ? values(st, norm + 1, err) : NULL, *sums = malloc(bytes);
    void *stored = malloc(sizeof(float) * (size_t)st->m->slots[i].cols);
    float *shift = !beta ? NULL : bias >= 0 ? values(st, bias, err) : calloc(rows, sizeof(float));
    int rc = shift && sums && stored ? 0 : err->status ? err->status : tn_oom(err);
    if (!rc) fold_gamma(st, i, w, gamma, beta, stored, sums, shift);
    if (!rc) rc = tn_buffer_write(st->s[first].sums, at, sums, bytes, err);
    if (!rc) rc = tn_buffer_write(st->s[first].shift, at, shift, bytes, err);
    free(gamma);
    free(beta);
    free(stored);
    free(sums);
    free(shift);
    return rc;
}

static int fill(tn_store *st, int i, bool adapters, tn_error *err)
{
    tn_stored *e = &st->s[i];
    const bool normed = adapters && e->normed;
    if (e->place == TN_PLACE_QUANT && !normed && (!adapters || adapter(st, i, "lora_A.weight") < 0)) {
        tn_ctx c;
        tn_ctx_init(&c, st->dev);
        return tn_unpack(&c, &e->q, &e->merged, err);
    }
    float *w = values(st, i, err);
    if (!w) return err->status;
    int rc = adapters ? add_adapter(st, i, w, err) : 0;
    if (!rc && normed) rc = fold_norm(st, i, w, err);
    if (!rc) rc = tn_tensor_set(st->dev, &e->merged, w, err);
    free(w);
    return rc;
}

static int fill_all(tn_store *st, bool adapters, tn_error *err)
{
    for (int i = 0; i < st->m->n_slots; i++) {
        if (!st->s[i].merged.rows) continue;
        TN_TRY(tn_watch_tell(&st->dev->watch, TN_PHASE_LOADING, st->m->slots[i].name, i, st->m->n_slots, err));
        TN_TRY(fill(st, i, adapters, err));
    }
    return 0;
}

/* What is recorded of passes that read the copies for unpacked matrices is stale. */
static void forget_unpacked(tn_store *st)
{
    st->generation += st->unpacked;
    st->unpacked = false;
}

static int merge_one(tn_store *st, bool adapters, tn_error *err)
{
    const bool had = st->has_merged;
    int rc = had ? 0 : tn_dense_new(st, true, err);
    st->merged = false;
    forget_unpacked(st);
    tn_store_changed(st);
    if (!rc) rc = fill_all(st, adapters, err);
    if (!rc) st->has_merged = true;
    else if (!had) tn_dense_free(st, true);
    return rc;
}

int tn_store_unpack(tn_store *st, tn_error *err)
{
    TN_TRY(merge_one(st, false, err));
    st->unpacked = true;
    st->generation++;
    return 0;
}

int tn_store_merge(tn_store *first, tn_error *err)
{
    int rc = 0;
    for (; first && !rc; first = first->twin) {
        for (tn_store *st = first; st && !rc; st = st->next) {
            rc = merge_one(st, true, err);
            st->merged = !rc;
        }
        first->merged = first->merged && !rc;
    }
    return rc;
}
