#include "dense.h"
#include "stream.h"

/* Convolutions have no place here but as copies with adapters in them, which they have where there is one group. */
static bool is_matrix(const tn_model *m, int i, bool merged)
{
    const tn_slot *s = &m->slots[i];
    return s->linear || (merged && tn_slot_is_kernel(s) && tn_slot_groups(s) == 1);
}

/* The next matrix of the same operation, or -1. */
static int next_of(const tn_model *m, int i)
{
    if (!m->slots[i].linear) return -1;
    for (i++; i < m->n_slots; i++)
        if (m->slots[i].linear) return m->slots[i].joins ? i : -1;
    return -1;
}

static bool is_first(const tn_model *m, int i)
{
    return is_matrix(m, i, true) && !m->slots[i].joins;
}

static tn_tensor *matrix(tn_store *st, int i, bool merged)
{
    return merged ? &st->s[i].merged : &st->s[i].t;
}

static bool has(const tn_store *st, int i, bool merged)
{
    return merged ? st->s[i].merged.rows > 0 : st->s[i].place == TN_PLACE_DENSE && !st->s[i].elsewhere;
}

/* Without its copy the matrix would be unpacked, or multiplied beside adapters, in every pass. */
static bool gains(const tn_store *st, int i)
{
    const tn_place place = st->s[i].place;
    return place == TN_PLACE_QUANT || (place == TN_PLACE_DENSE && tn_model_beside(st->m, &st->m->slots[i], "lora_A.weight") >= 0);
}

/* Do all matrices of the operation take the same layer norm in? */
static bool takes_norm(const tn_store *st, int first)
{
    bool all = st->norms && st->m->slots[first].linear;
    for (int i = first; all && i >= 0; i = next_of(st->m, i))
        all =
            !st->s[i].elsewhere && tn_model_norm_of(st->m, i) >= 0 && tn_model_norm_of(st->m, i) == tn_model_norm_of(st->m, first);
    return all;
}

/* All frozen matrices of an operation have copies where one of them gains by it. */
static void give_copies(tn_store *st, int first)
{
    const bool normed = takes_norm(st, first);
    bool any = normed;
    for (int i = first; i >= 0; i = next_of(st->m, i)) any |= gains(st, i);
    for (int i = first; any && i >= 0; i = next_of(st->m, i)) {
        tn_stored *e = &st->s[i];
        if (e->place == TN_PLACE_PARAM || e->elsewhere) continue;
        e->merged = tn_view(NULL, st->act, e->t.rows, e->t.cols);
        e->normed = normed;
        st->merged_bytes += tn_tensor_bytes(&e->merged) + (normed ? 2 * sizeof(float) * (size_t)e->t.rows : 0);
    }
}

static void lay_out(tn_store *st, int first, bool merged)
{
    size_t off = 0;
    for (int i = first; i >= 0; i = next_of(st->m, i)) {
        tn_tensor *t = matrix(st, i, merged);
        if (!has(st, i, merged)) continue;
        if (off * tn_dtype_size(t->dtype) + tn_tensor_bytes(t) > st->dev->info.largest_allocation) off = 0;
        t->off = off;
        off += tn_tensor_count(t);
    }
}

void tn_dense_lay_out(tn_store *st)
{
    for (int i = 0; i < st->m->n_slots; i++) {
        if (!is_first(st->m, i)) continue;
        give_copies(st, i);
        if (is_matrix(st->m, i, false)) lay_out(st, i, false);
        lay_out(st, i, true);
    }
}

/* Bytes of matrix i, which begins a buffer, and of those behind it. */
static size_t extent(tn_store *st, int i, bool merged)
{
    size_t bytes = tn_tensor_bytes(matrix(st, i, merged));
    while ((i = next_of(st->m, i)) >= 0) {
        const tn_tensor *t = matrix(st, i, merged);
        if (!has(st, i, merged)) continue;
        if (!t->off) break;
        bytes += tn_tensor_bytes(t);
    }
    return bytes;
}

/* For matrix i, which begins it. */
static int new_buffer(tn_buffer **out, tn_store *st, int i, bool merged, tn_error *err)
{
    const size_t bytes = extent(st, i, merged);
    tn_buffer *window = merged ? NULL : tn_stream_window(st, i);
    if (window) return tn_buffer_sub(out, window, st->s[i].at, bytes, err);
    return tn_buffer_new(out, st->dev, bytes, st->m->slots[i].name, err);
}

/* Of matrix `first` and of those behind it for the same operation. */
static int rows_of(const tn_store *st, int first)
{
    int rows = 0;
    for (int i = first; i >= 0; i = next_of(st->m, i)) rows += st->m->slots[i].rows;
    return rows;
}

static int new_vectors(tn_store *st, int first, tn_error *err)
{
    tn_stored *e = &st->s[first];
    const size_t bytes = sizeof(float) * (size_t)rows_of(st, first);
    if (!e->normed || st->m->slots[first].joins) return 0;
    TN_TRY(tn_buffer_new(&e->sums, st->dev, bytes, "sums of matrices", err));
    return tn_buffer_new(&e->shift, st->dev, bytes, "biases with norms", err);
}

int tn_dense_new(tn_store *st, bool merged, tn_error *err)
{
    tn_buffer *last = NULL;
    for (int i = 0; i < st->m->n_slots; i++) {
        tn_tensor *t = matrix(st, i, merged);
        if (!is_matrix(st->m, i, merged) || !has(st, i, merged)) continue;
        if (!t->off) TN_TRY(new_buffer(&last, st, i, merged, err));
        t->mem = last;
        if (merged) TN_TRY(new_vectors(st, i, err));
    }
    return 0;
}

static void free_vectors(tn_stored *e)
{
    tn_buffer_free(e->sums);
    tn_buffer_free(e->shift);
    e->sums = e->shift = NULL;
}

void tn_dense_free(tn_store *st, bool merged)
{
    for (int i = 0; i < st->m->n_slots; i++) {
        tn_tensor *t = matrix(st, i, merged);
        if (!is_matrix(st->m, i, merged) || !has(st, i, merged)) continue;
        if (!t->off) tn_buffer_free(t->mem); /* a buffer is its first matrix's */
        t->mem = NULL;
        if (merged) free_vectors(&st->s[i]);
    }
}

/* ---- what is frozen takes ---- */

/* A product of several matrices joins their vectors where one of them has any. */
static size_t joined_bytes(const tn_store *st, int first)
{
    size_t rows = 0;
    int n = 0, frozen = 0;
    for (int i = first; i >= 0; i = next_of(st->m, i), n++) {
        const int bias = tn_model_beside(st->m, &st->m->slots[i], "bias");
        frozen += bias >= 0 && st->s[bias].place == TN_PLACE_DENSE;
        rows += (size_t)st->m->slots[i].rows;
    }
    return n > 1 && frozen ? 4 * rows : 0;
}

size_t tn_store_weight_bytes(const tn_store *st, int window)
{
    const tn_stream *w = st->stream;
    size_t bytes =
        st->weight_bytes - (window ? w->stored - (size_t)window * w->largest : 0) + (st->n_quantised ? TN_QTABLE_BYTES : 0);
    for (int i = 0; i < st->m->n_slots; i++)
        if (st->m->slots[i].linear && !st->m->slots[i].joins && !st->s[i].elsewhere) bytes += joined_bytes(st, i);
    return bytes;
}
