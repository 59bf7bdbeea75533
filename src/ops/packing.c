#include "packing.h"
#include "cpu.h"

#include <stdio.h>
#include <string.h>

/* Which row runs is known once shapes were measured: a walk before that decides nothing. */
static bool is_settled(const tn_ctx *c)
{
    return !c->dry || (!c->plan_only && !c->wanted);
}

static bool holds(const tn_packed *k, const char *form, const tn_tensor *B)
{
    return !k->form[0] || (!strcmp(k->form, form) && k->from == B->mem && k->off == B->off);
}

/* In a dry pass the packing is walked through, so that its kernel is known. */
static int keep(tn_packing *p, tn_ctx *c, tn_packed *k, tn_tensor *P, tn_error *err)
{
    p->keeps = k;
    p->needed = c->dry || !k->filled;
    if (c->dry) return 0;
    if (!k->mem) TN_TRY(tn_buffer_new(&k->mem, c->dev, tn_tensor_bytes(P), "a packed matrix", err));
    P->mem = k->mem;
    c->tape = NULL;
    return 0;
}

int tn_packing_begin(tn_packing *p, tn_ctx *c, tn_packed *k, const char *form, const tn_tensor *B, tn_tensor *P, tn_error *err)
{
    *p = (tn_packing){.tape = c->tape, .needed = true};
    if (!k || !is_settled(c) || !holds(k, form, B)) return tn_ws_take(c, P, P->dtype, P->rows, P->cols, err);
    snprintf(k->form, sizeof k->form, "%s", form);
    k->from = B->mem;
    k->off = B->off;
    return keep(p, c, k, P, err);
}

int tn_packing_end(tn_packing *p, tn_ctx *c, int rc)
{
    c->tape = p->tape;
    if (p->keeps && !c->dry) p->keeps->filled = !rc;
    return rc;
}

/* Of the CPU's rows: whole panels of 64 columns, or tiles of 32 along K, of a float in three parts. */
size_t tn_packed_most(const tn_dev *d, const tn_tensor *B)
{
    enum { PANEL = 64, TILE = 32, PARTS = 3 * sizeof(uint16_t) };
    const bool in_parts = (d->caps & TN_CAP_AMX_BF16) && B->dtype == TN_F32;
    if (!tn_cpu_kernels(d)) return 0;
    return (size_t)TN_ROUND_UP(B->rows, PANEL) * (size_t)TN_ROUND_UP(B->cols, TILE) *
           (in_parts ? (size_t)PARTS : tn_dtype_size(B->dtype));
}
