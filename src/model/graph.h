/**
 * A model as data: a list of operations on matrices, forward and then backward, with no device in sight.
 *
 * Every activation is a matrix [rows, cols], rows being batch x positions (channels last everywhere). Weights are
 * slots of the model (model.h) and are named by index. Operations of one layer stand together; the schedule places
 * layers on devices and decides per layer whether activations are kept or computed again.
 */
#ifndef TN_GRAPH_H
#define TN_GRAPH_H
#include "fail.h"
#include "numeric.h"
#include <stdbool.h>

typedef enum tn_opcode {
    TN_OP_PATCHIFY,       /* pixels or frames -> columns                i: height, width, patch, normalise (frames) */
    TN_OP_LINEAR,         /* x -> y (, t); parts side by side in y      f0: dropout  i0: salt */
    TN_OP_POSITIONS,      /* const R, slot w0 -> resized position rows */
    TN_OP_TOKENS,         /* patches (, positions) -> x                 w0 cls, w1 registers  i0: registers */
    TN_OP_LAYERNORM,      /* x -> y, stats                              w0 gamma, w1 beta  f0: eps */
    TN_OP_ROPE,           /* qkv, table -> qkv in place                 i: heads, skip */
    TN_OP_ATTENTION,      /* qkv -> o, lse                              i0: heads */
    TN_OP_RESIDUAL,       /* x, y -> x + w0*y (w0 -1: x + y) */
    TN_OP_ACT,            /* x -> y                                     i0: function */
    TN_OP_GLU,            /* u [.., 2c] -> y [.., c]                    i0: function */
    TN_OP_GRID,           /* tokens -> patches                          i0: skip */
    TN_OP_BILINEAR,       /* x -> y                                     i: h, w, H, W  f: sy, sx */
    TN_OP_DWCONV,         /* x -> y                                     w0  i: h, w */
    TN_OP_CONV3,          /* x -> y                                     w0  i: h, w */
    TN_OP_NORM2D,         /* x -> y, stats      w: gamma, beta, running mean, running var  i: unit rows, groups, track */
    TN_OP_SAMPLE_MEAN,    /* x -> s [B, C]                              i0: rows of a sample */
    TN_OP_SCALE_CHANNELS, /* x, z -> y                                  i0: rows of a sample */
    TN_OP_DROPOUT2D,      /* x -> y                                     f0: p  i: rows of a sample, salt */
    TN_OP_DROPOUT,        /* x -> y                                     f0: p  i0: salt  i1: 1 gives x - dropout(x) */
    TN_OP_DORA_SCALE,     /* -> g, 1/n [1, cols]: magnitude over row norm of W + s B A, 1 where a part has none */
    TN_OP_DORA,           /* u, g (, v) -> y = g*u + v + bias */
    TN_OP_TARGET,         /* labels (x, y, visible) -> target, mask     f0: sigma  i: height, width */
    TN_OP_LOSS,           /* heat, target, mask -> dheat, partial */
    /* backward */
    TN_OP_LINEAR_DT,           /* dy -> dt: s dy B for each adapted part */
    TN_OP_LINEAR_GRAD,         /* x, dy, t, dt: every trainable slot of the parts */
    TN_OP_LINEAR_DX,           /* dy (, dt) -> dx */
    TN_OP_POSITIONS_GRAD,      /* const R, d positions */
    TN_OP_TOKENS_GRAD,         /* dx: w0 cls, w1 registers, out: d positions when wanted */
    TN_OP_TOKENS_DX,           /* dx -> dpatches                             i0: skip */
    TN_OP_LAYERNORM_GRAD,      /* x, stats, dy */
    TN_OP_LAYERNORM_DX,        /* x, stats, dy -> dx */
    TN_OP_ROPE_BACK,           /* dqkv, table -> dqkv in place */
    TN_OP_ATTENTION_BACK,      /* qkv, o, lse, do -> dqkv, delta */
    TN_OP_SCALE_COLS,          /* do -> w0*do */
    TN_OP_SCALE_GRAD,          /* do, y: w0 += sum do*y */
    TN_OP_ADD_INTO,            /* src -> dst += src */
    TN_OP_ACT_BACK,            /* x, dy -> dx (may be dy) */
    TN_OP_GLU_BACK,            /* u, dy -> du */
    TN_OP_GRID_BACK,           /* dgrid -> dx */
    TN_OP_BILINEAR_BACK,       /* dy -> dx */
    TN_OP_DWCONV_BACK,         /* x, dy -> dx; w0 */
    TN_OP_CONV3_BACK,          /* x, dy -> dx; w0 */
    TN_OP_NORM2D_BACK,         /* x, stats, dy -> dx; w0, w1 */
    TN_OP_DROPOUT_BACK,        /* dy -> dx (+)= */
    TN_OP_DORA_GRAD,           /* dy, u, 1/n: magnitudes and biases of the parts */
    TN_OP_DORA_DU,             /* dy, g -> g*dy */
    TN_OP_SAMPLE_MEAN_BACK,    /* ds -> dx += ds / rows */
    TN_OP_SCALE_CHANNELS_BACK, /* x, z, dy -> dx, dz */
    TN_OP_COUNT
} tn_opcode;

typedef enum tn_gkind { TN_G_ACT, TN_G_INPUT, TN_G_CONST, TN_G_OUTPUT } tn_gkind;

/** An activation. Outputs and inputs live as long as the plan; the rest from first write to last use. */
typedef struct tn_gtensor {
    char name[48];
    tn_gkind kind;
    tn_dtype dtype;
    int rows, cols, layer;
    float *host; /* TN_G_CONST: owned values, float32 */
    bool needs_grad;
    int grad;  /* id of the gradient, or -1 */
    int clone; /* id of the recomputed copy, or -1 */
} tn_gtensor;

enum { TN_NODE_IN = 4, TN_NODE_OUT = 2, TN_NODE_PARTS = 3 };

/** One matrix of a linear operation: slots (-1: none) and its columns in the output. */
typedef struct tn_gpart {
    int w, bias, a, b; /* weight [cols, in], bias [cols], LoRA A [r, in], B [cols, r] */
    int m;             /* DoRA magnitude [cols] */
    int cols, r;
    float scale;
} tn_gpart;

typedef struct tn_gnode {
    tn_opcode op;
    int layer;
    bool backward, accumulate; /* accumulate: out[0] += instead of = */
    int in[TN_NODE_IN], out[TN_NODE_OUT], w[4];
    tn_gpart part[TN_NODE_PARTS];
    int n_parts;
    float f[4];
    int i[6];
} tn_gnode;

/** A layer: what the scheduler places and what it may recompute. */
typedef struct tn_glayer {
    char name[32];
    int recompute;            /* 0 keep all, 1 recompute cheap operations, 2 recompute everything inside */
    double flops, flops_back; /* of one pass over the whole batch */
} tn_glayer;

typedef struct tn_graph {
    int batch;
    tn_gtensor *t;
    int n_t, cap_t;
    tn_gnode *n;
    int n_n, cap_n;
    tn_glayer *layers;
    int n_layers;
    int layer;     /* being built */
    int n_forward; /* nodes of the forward pass */
    bool in_backward;
    bool oom;
    int pixels, labels, target, mask, heat, loss, rope_table; /* tensor ids or -1 */
} tn_graph;

void tn_graph_init(tn_graph *g, int batch);
void tn_graph_free(tn_graph *g);
/** Begins the next layer. */
void tn_graph_layer(tn_graph *g, const char *name, int recompute);
int tn_graph_tensor(tn_graph *g, tn_gkind kind, tn_dtype dt, int rows, int cols, const char *name);
/** A node of the current layer with everything unset (-1). The pointer holds until the next call. */
tn_gnode *tn_graph_node(tn_graph *g, tn_opcode op);
const char *tn_opcode_name(tn_opcode op);

/** Is the slot trained in the pass being built? */
typedef bool (*tn_trainable_fn)(const void *user, int slot);
/** Sets needs_grad of a node's outputs from its slots and inputs. Call after filling the node. */
void tn_graph_mark(tn_graph *g, const tn_gnode *n, tn_trainable_fn trained, const void *user);

/** Appends the backward pass of everything that needs it, from the loss node down. */
int tn_graph_backward(tn_graph *g, tn_trainable_fn trained, const void *user, tn_error *err);
#endif
