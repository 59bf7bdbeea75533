/* A recorded pass's turns: which block is read when, and what is brought meanwhile. */
#include "stream.h"

#include <stdlib.h>

/* The block that a node reads, or -1. */
static int read_by(const tn_store *st, const tn_gnode *n)
{
    for (int i = 0; i < n->n_parts; i++)
        if (n->part[i].w >= 0 && tn_stream_has(st, n->part[i].w)) return st->m->slots[n->part[i].w].layer - 1;
    return -1;
}

/* Runs of nodes that read one block; with p NULL they are only counted. */
static int find_runs(tn_stream_pass *p, const tn_store *st, const tn_graph *g)
{
    int n = 0, now = -1;
    for (int i = 0; i < g->n_n; i++) {
        const int b = read_by(st, &g->n[i]);
        if (b < 0 || b == now) continue;
        now = b;
        if (p) p->block[n] = b, p->first[n] = i;
        n++;
    }
    return n;
}

int tn_stream_pass_new(tn_stream_pass **out, const tn_store *st, const tn_graph *g, tn_error *err)
{
    const int n = find_runs(NULL, st, g);
    *out = NULL;
    if (!n) return 0;
    tn_stream_pass *p = calloc(1, sizeof *p);
    if (!p) return tn_oom(err);
    *p =
        (tn_stream_pass){.s = st->stream, .n = n, .block = calloc((size_t)n, sizeof(int)), .first = calloc((size_t)n, sizeof(int))};
    if (!p->block || !p->first) {
        free(p->block);
        free(p->first);
        free(p);
        return tn_oom(err);
    }
    find_runs(p, st, g);
    p->list = p->s->passes;
    p->s->passes = p;
    *out = p;
    return 0;
}

void tn_stream_pass_free(tn_stream_pass *p)
{
    if (!p) return;
    tn_stream *s = p->s;
    if (s->last == p) s->last = NULL;
    for (tn_stream_pass **q = &s->passes; *q;) {
        if ((*q)->next == p) (*q)->next = NULL;
        if (*q == p) *q = p->list;
        else q = &(*q)->list;
    }
    free(p->block);
    free(p->first);
    free(p);
}

/* The block that the slot of run i is read for next, in this pass from run `from` on; -1: none. */
static int next_in(const tn_stream_pass *p, int from, int slot)
{
    for (int i = from; i < p->n; i++)
        if (p->block[i] % p->s->window == slot) return p->block[i];
    return -1;
}

/* The same in whatever pass comes: after the last one of the slot the pass that followed before, or the same again. */
static int next_of(const tn_stream_pass *p, int run)
{
    const int slot = p->block[run] % p->s->window, here = next_in(p, run + 1, slot);
    return here >= 0 ? here : next_in(p->next ? p->next : p, 0, slot);
}

typedef struct {
    tn_stream_pass *p;
    int run; /* that begins; n: the pass ends */
} turn;

static int take_turn(tn_dev *d, const void *args, tn_error *err)
{
    const turn *t = args;
    tn_stream_pass *p = t->p;
    tn_stream *s = p->s;
    (void)d;
    if (!t->run) {
        if (s->last) s->last->next = p;
        s->last = p;
    } else {
        const int b = next_of(p, t->run - 1);
        if (b >= 0 && s->slot[b % s->window].holds != b) TN_TRY(tn_stream_bring(s, b, err));
    }
    return t->run < p->n ? tn_stream_arrive(s, p->block[t->run], err) : 0;
}

enum { NODES = 1 << 21 }; /* turns' commands count on from here, beyond any graph's nodes and the optimiser's */

/* A turn that brings a block is that block's layer's; one that only waits costs nothing that a roofline could know. */
static tn_note note_of(const tn_stream_pass *p, const tn_graph *g, int run)
{
    const int now = p->block[TN_MIN(run, p->n - 1)], next = run ? next_of(p, run - 1) : -1;
    const bool brings = next >= 0 && next != p->block[TN_MAX(run, 1) - 1];
    const int of = brings ? next : now;
    tn_note n = {.layer = "", .op = "weights", .node = brings ? NODES + run : -1};
    if (brings) n.bytes = (double)p->s->block[of].bytes;
    for (int i = 0; i < p->n; i++)
        if (p->block[i] == of) n.layer = g->layers[g->n[p->first[i]].layer].name;
    return n;
}

int tn_stream_record(tn_stream_pass *p, tn_tape *t, const tn_graph *g, int node, tn_error *err)
{
    if (!p) return 0;
    for (int run = 0; run <= p->n; run++) {
        if (node != (run < p->n ? p->first[run] : g->n_n)) continue;
        const tn_note note = note_of(p, g, run);
        const turn args = {p, run};
        tn_tape_note(t, &note);
        TN_TRY(tn_tape_call(t, note.node < 0 ? "a wait for weights" : "a copy of weights", take_turn, &args, sizeof args, err));
    }
    return 0;
}
