/* Matrices that products keep as they pack them, for passes that leave weights as they are. */
#include "store.h"

void tn_store_keep(tn_store *st)
{
    st->generation += !st->keeps; /* recorded passes pack */
    st->keeps = true;
}

/* Linear layers, and convolutions of single pixels or of a ViT's patches, which are such products too. */
static bool is_kept(const tn_store *st, const tn_slot *s)
{
    const int side = s->frames ? st->m->backbone.patch : 1;
    return s->linear || (s->ndim == 4 && s->shape[1] > 1 && s->shape[2] == side && s->shape[3] == side);
}

tn_packed *tn_store_kept(tn_store *st, int slot)
{
    return st->keeps && is_kept(st, &st->m->slots[slot]) ? &st->s[slot].kept : NULL;
}

/* What a product multiplies by; rows 0: it unpacks, or there is none. */
static tn_tensor multiplied(const tn_store *st, int slot)
{
    const tn_stored *e = &st->s[slot];
    if (!is_kept(st, &st->m->slots[slot]) || e->elsewhere) return (tn_tensor){0};
    if (e->merged.rows && (st->has_merged || st->unpacked)) return e->merged;
    return e->place == TN_PLACE_DENSE || e->place == TN_PLACE_PARAM ? tn_store_operand(st, slot) : (tn_tensor){0};
}

size_t tn_store_kept_bytes(const tn_store *st)
{
    size_t bytes = 0;
    for (int i = 0; i < st->m->n_slots; i++) {
        const tn_tensor t = multiplied(st, i);
        bytes += tn_packed_most(st->dev, &t);
    }
    return bytes;
}
