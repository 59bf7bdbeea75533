/* The plan of a graph's memory; values that a model begins with. */
#include "initial.h"
#include "numeric.h"
#include "plan.h"
#include "unit.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

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

/* Threads make the values that one generator gives in turn, of sizes that parts divide and do not. */
START_TEST(initial_values_are_those_of_one_generator)
{
    static const int cols[] = {1, 977, 65536, 70001, 300007};
    char name[] = "layer.0.mlp.up_proj.weight";
    const int n = cols[_i];
    const tn_slot s = {.name = name, .ndim = 2, .rows = 1, .cols = n, .init = TN_INIT_TRUNC, .init_fan = 3000};
    float *v = malloc((size_t)n * sizeof *v);
    tn_rng r = tn_rng_named(9, name);
    tn_error e;
    ck_assert_int_eq(tn_initial(v, &s, 9, &e), 0);
    for (int i = 0; i < n; i++) {
        double x;
        do x = tn_rng_normal(&r);
        while (fabs(x) > 2);
        ck_assert_msg(v[i] == (float)(x * (0.02 * sqrt(768 / 3000.0))), "value %d of %d", i, n);
    }
    free(v);
}
END_TEST

void unit_plan(Suite *s)
{
    add_tests(s, "initial", 120, TESTS(TIMES(initial_values_are_those_of_one_generator, 5)));
    add_tests(s, "plan", 120, TESTS(TIMES(planned_tensors_that_live_together_never_overlap, 10)));
}
