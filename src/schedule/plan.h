/**
 * Memory of a graph before anything runs: from the first write and the last read of every storage (tensors that
 * tn_graph_merge let share one) follows an offset in an arena, cut into chunks no larger than the device's largest allocation.
 */
#ifndef TN_PLAN_H
#define TN_PLAN_H
#include "graph.h"
#include <stddef.h>

typedef struct tn_planned {
    int first, last; /* nodes; last -1: never used */
    int chunk;       /* -1: not in the arena (constants) */
    size_t offset, bytes;
} tn_planned;

enum { TN_MAX_CHUNKS = 64 };

typedef struct tn_plan {
    tn_planned *t; /* one a tensor of the graph; the same for tensors of one storage */
    int n_chunks;
    size_t chunk_bytes[TN_MAX_CHUNKS];
    size_t total, live_peak; /* bytes; live_peak: the largest sum alive at once, a lower bound of total */
} tn_plan;

int tn_plan_make(tn_plan *p, const tn_graph *g, size_t align, size_t largest, tn_error *err);
void tn_plan_free(tn_plan *p);
#endif
