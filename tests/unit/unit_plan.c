/* The plan of a graph's memory. */
#include "numeric.h"
#include "plan.h"
#include "unit.h"

#include <stdint.h>

START_TEST(planned_tensors_that_live_together_never_overlap)
{
    tn_graph g;
    tn_rng r = tn_rng_named((uint64_t)_i, "plan");
    tn_graph_init(&g, 1);
    tn_graph_layer(&g, "l", 0);
    for (int i = 0; i < 60; i++) tn_graph_tensor(&g, TN_G_ACT, TN_F32, 1 + (int)tn_rng_below(&r, 40), 64, "t");
    for (int i = 0; i < 80; i++) {
        tn_gnode *n = tn_graph_node(&g, TN_OP_RESIDUAL);
        n->in[0] = (int)tn_rng_below(&r, 60), n->in[1] = (int)tn_rng_below(&r, 60), n->out[0] = (int)tn_rng_below(&r, 60);
    }
    tn_plan p;
    tn_error e;
    const size_t largest = 64 << 10;
    ck_assert_int_eq(tn_plan_make(&p, &g, 256, largest, &e), 0);
    for (int i = 0; i < g.n_t; i++) {
        if (p.t[i].last < 0) continue;
        ck_assert(p.t[i].offset % 256 == 0 && p.t[i].offset + p.t[i].bytes <= largest);
        for (int k = 0; k < i; k++) {
            const tn_planned *a = &p.t[i], *b = &p.t[k];
            if (b->last < 0 || a->chunk != b->chunk || a->last < b->first || b->last < a->first) continue;
            ck_assert(a->offset + a->bytes <= b->offset || b->offset + b->bytes <= a->offset);
        }
    }
    ck_assert_uint_ge(p.total, p.live_peak);
    tn_plan_free(&p);
    tn_graph_free(&g);
}
END_TEST

void unit_plan(Suite *s)
{
    add_tests(s, "plan", 120, TESTS(TIMES(planned_tensors_that_live_together_never_overlap, 10)));
}
