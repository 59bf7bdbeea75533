/** From one store of a model into another. */
#ifndef TN_COPY_SLOT_H
#define TN_COPY_SLOT_H
#include "engine.h"
#include "../testlib.h"

#include <stdlib.h>

static inline void copied(int rc, const tn_error *e)
{
    ck_assert_msg(rc == 0, "%s", e->message);
}

/* A slot's values; the caller frees them. */
static inline float *slot_values(tn_store *st, int slot, size_t *bytes)
{
    const tn_slot *s = &st->m->slots[slot];
    tn_error e = {0};
    *bytes = (size_t)s->rows * (size_t)s->cols * sizeof(float);
    float *v = malloc(*bytes);
    copied(tn_store_get(st, slot, v, &e), &e);
    return v;
}

/* What one store has, into another, by the bytes; and both read back alike. */
static inline void copy_slot(tn_store *to, tn_store *from, int slot)
{
    tn_error e = {0};
    tn_qmatrix q;
    size_t bytes;
    float *v = slot_values(from, slot, &bytes);
    if (from->s[slot].place == TN_PLACE_QUANT) {
        copied(tn_qtensor_get(&from->s[slot].q, from->dev, &q, &e), &e);
        copied(tn_store_set_packed(to, slot, &q, &e), &e);
        tn_qmatrix_free(&q);
    } else {
        copied(tn_store_set(to, slot, v, &e), &e);
    }
    free(v);
}

#endif
