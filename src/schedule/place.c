#include "session.h"

int tn_place_layers(tn_placement *p, const tn_graph *g, const double *speed, int n, tn_error *err)
{
    if (n < 1 || n > (int)TN_COUNT(p->runs)) return tn_fail(err, TN_ERR_ARGUMENT, "between 1 and 16 devices can share a model");
    double total = 0, rate = 0, done = 0;
    for (int i = 0; i < g->n_layers; i++) total += g->layers[i].flops;
    for (int i = 0; i < n; i++) rate += speed[i];
    p->n = 0;
    int layer = 0;
    double share = 0;
    for (int d = 0; d < n && layer < g->n_layers; d++) {
        share += rate > 0 ? speed[d] / rate : 1.0 / n;
        int first = layer;
        while (layer < g->n_layers && (d == n - 1 || done + g->layers[layer].flops / 2 < share * total || layer == first))
            done += g->layers[layer++].flops;
        p->runs[p->n++] = (tn_run){d, first, layer - 1};
    }
    return 0;
}
