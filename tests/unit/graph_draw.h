/** Small random graphs over every operation that has a gradient, with the slots that they need: test_graph.c's subjects. */
#ifndef GRAPH_DRAW_H
#define GRAPH_DRAW_H
#include "model.h"

enum { DRAW_B = 2, DRAW_H = 2, DRAW_W = 3, DRAW_P = DRAW_H * DRAW_W, DRAW_N = 2 + DRAW_P, DRAW_C = 8, DRAW_POOL = 96 };

/** Tensors to go on from, [B*N, C] and [B*P, C]. */
typedef struct drawing {
    tn_graph *g;
    tn_model *m;
    tn_rng r;
    tn_trained trained;
    int tokens[DRAW_POOL], n_tokens, images[DRAW_POOL], n_images, positions;
    int level_positions; /* 0: not drawn yet */
    uint32_t salt;
} drawing;

/** An empty graph with a layer, and inputs in both pools, some of which take a gradient. */
void draw_begin(drawing *d, tn_graph *g, tn_model *m, uint64_t seed, tn_recompute recompute);
/** The seed's whole graph, loss included. */
void draw_graph(tn_graph *g, tn_model *m, uint64_t seed, tn_recompute recompute);
/** Ends with a projection of `image` to one column and the loss. */
void draw_end(drawing *d, int image);
int draw_input(drawing *d, int rows, bool needs_grad, const char *name);
/** By hand. */
int draw_linear(drawing *d, int x, int cols);
int draw_act(drawing *d, int x);
int draw_residual(drawing *d, int x, int y, bool scaled);
int draw_sample_mean(drawing *d, int x);
int draw_scale_channels(drawing *d, int x, int z);
#endif
