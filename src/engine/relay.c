#include "relay.h"

#include <stdlib.h>

static size_t bytes_of(const tn_exec *x, const tn_gedge *e)
{
    return tn_gtensor_bytes(&x->g.t[e->tensor]);
}

int tn_relay_bring(tn_relay *r, const tn_exec *x, tn_error *err)
{
    for (int i = 0; i < x->g.n_edges; i++) {
        const tn_gedge *e = &x->g.edges[i];
        for (int k = 0; k < r->n && !e->leaves; k++)
            if (r->item[k].tag == e->tag)
                TN_TRY(
                    tn_buffer_write_async(x->mem[e->tensor], TN_QUEUE_MAIN, 0, r->item[k].host, bytes_of(x, e), NULL, NULL, err));
    }
    return 0;
}

static bool holds(const tn_relay *r, int tag)
{
    for (int i = 0; i < r->n; i++)
        if (r->item[i].tag == tag) return true;
    return false;
}

static int add(tn_relay *r, int tag, size_t bytes, tn_error *err)
{
    tn_relay_item *v = realloc(r->item, sizeof *v * (size_t)(r->n + 1));
    if (v) r->item = v;
    void *host = v ? malloc(bytes) : NULL;
    if (!host) return tn_oom(err);
    v[r->n++] = (tn_relay_item){tag, host};
    return 0;
}

int tn_relay_take(tn_relay *r, const tn_exec *x, tn_error *err)
{
    for (int i = 0; i < x->g.n_edges; i++) {
        const tn_gedge *e = &x->g.edges[i];
        if (!e->leaves || holds(r, e->tag)) continue; /* several stages may read it */
        TN_TRY(add(r, e->tag, bytes_of(x, e), err));
        TN_TRY(tn_buffer_read(x->mem[e->tensor], 0, r->item[r->n - 1].host, bytes_of(x, e), err));
    }
    return 0;
}

void tn_relay_free(tn_relay *r)
{
    for (int i = 0; i < r->n; i++) free(r->item[i].host);
    free(r->item);
    *r = (tn_relay){0};
}
