/**
 * A model as data: a list of operations on matrices, forward and then backward, with no device in sight.
 *
 * Every activation is a matrix [rows, cols], rows being batch x positions (channels last everywhere). Weights are
 * slots of the model (model.h) and are named by index. Operations of one layer stand together; per layer it is decided
 * whether activations are kept or computed again.
 *
 * As emitted, a graph is in single assignment: every tensor is written by one node, whole, and none is overwritten.
 * Gradients too: each contribution is a tensor of its own, and several are added by ADD nodes. tn_graph_merge (merge.c)
 * then lets tensors share storage where liveness allows.
 */
#ifndef TN_GRAPH_H
#define TN_GRAPH_H
#include "fail.h"
#include "feature_list.h"
#include "operations.h"

/** ARRIVES, LEAVES: of a stage's graph (cut.h), what comes from another stage and what goes there. */
typedef enum tn_gkind { TN_G_ACT, TN_G_INPUT, TN_G_CONST, TN_G_OUTPUT, TN_G_ARRIVES, TN_G_LEAVES } tn_gkind;

/** An activation. Outputs and inputs live as long as the plan; the rest from first write to last use, or, where it crosses between
 * stages, from the pass (forward or backward) before which it comes, or to the end of the one after which it goes. */
typedef struct tn_gtensor {
    char name[48];
    tn_gkind kind;
    tn_dtype dtype;
    int rows, cols, layer;
    float *host; /* TN_G_CONST: owned values, float32 */
    bool needs_grad;
    int grad;    /* id of the gradient, or -1 */
    int clone;   /* id of the recomputed copy, or -1 */
    int storage; /* tensors of the same storage share a buffer; the first one's id */
} tn_gtensor;

enum { TN_NODE_IN = TN_MAX_LEVELS, TN_NODE_OUT = 3, TN_NODE_PARTS = 3, TN_NODE_SLOTS = 4 };

/** One matrix of a linear operation: slots (-1: none), its columns in the output and in the input. */
typedef struct tn_gpart {
    int w, bias, a, b; /* weight [cols, in], bias [cols], LoRA A [r, in], B [cols, r] */
    int m;             /* DoRA magnitude [cols] */
    int cols, in, r;
    float scale;
} tn_gpart;

typedef struct tn_gnode {
    tn_opcode op;
    int layer;
    bool backward;
    int onto; /* tensor that out[0] = onto + ... starts from, in the same storage; -1: none */
    int in[TN_NODE_IN], out[TN_NODE_OUT], w[TN_NODE_SLOTS];
    tn_gpart part[TN_NODE_PARTS];
    int n_parts;
    tn_attributes a;
} tn_gnode;

/** What the backward pass makes again of a layer instead of having it kept, from little to all. */
typedef enum tn_recompute {
    TN_RECOMPUTE_NONE,
    TN_RECOMPUTE_CHEAP,     /* what cheap operations made: norms, activation functions */
    TN_RECOMPUTE_ACTIVATED, /* and what only such an operation reads: the wide product of a feed-forward layer */
    TN_RECOMPUTE_PRODUCTS,  /* and the other products; what attention and sums with the residual stream made is kept */
    TN_RECOMPUTE_ALL        /* everything inside */
} tn_recompute;

/** The next level that keeps more by more than what is cheap. */
tn_recompute tn_recompute_less(tn_recompute r);

/** A layer: nodes that stand together and share a policy. */
typedef struct tn_glayer {
    char name[32];
    tn_recompute recompute;
} tn_glayer;

/** A tensor of a stage's graph that crosses to or from another stage. */
typedef struct tn_gedge {
    int tensor, tag; /* tag: its id in the whole graph, by which the two ends find each other */
    int stage;       /* the other end */
    bool leaves;     /* else it arrives */
    bool backward;   /* with the backward pass: gradients; else with the forward one */
} tn_gedge;

typedef struct tn_graph {
    int batch;
    tn_gtensor *t;
    int n_t, cap_t;
    tn_gnode *n;
    int n_n, cap_n;
    tn_glayer *layers;
    int n_layers;
    const int *stage_of; /* by layer, borrowed: nodes of different stages are not fused; NULL: one stage */
    tn_gedge *edges;     /* of a stage's part; sorted by tag */
    int n_edges;
    int layer;     /* being built */
    int n_forward; /* nodes of the forward pass */
    bool in_backward;
    bool oom;
    tn_gnode spare; /* what tn_graph_node gives when memory ran out; oom is reported by the caller */
    int pixels, labels, target, mask, heat, loss, rope_table; /* tensor ids or -1 */
    int feature[TN_MAX_FEATURES], n_features;                 /* tensors that the decoder reads */
} tn_graph;

const char *tn_opcode_name(tn_opcode op);
void tn_graph_init(tn_graph *g, int batch);
void tn_graph_free(tn_graph *g);
/** Begins the next layer. */
void tn_graph_layer(tn_graph *g, const char *name, tn_recompute recompute);
int tn_graph_tensor(tn_graph *g, tn_gkind kind, tn_dtype dt, int rows, int cols, const char *name);
/** A node of the current layer with everything unset (-1). The pointer holds until the next call. */
tn_gnode *tn_graph_node(tn_graph *g, tn_opcode op);

/** Is the slot trained in the pass being built? */
typedef bool (*tn_trainable_fn)(const void *user, int slot);
/** Sets needs_grad of a node's outputs from its slots and inputs. Call after filling the node. */
void tn_graph_mark(tn_graph *g, const tn_gnode *n, tn_trainable_fn trained, const void *user);

/**
 * Appends the backward pass of everything that needs it, from the loss node down (autodiff.c). An error where an
 * operation has no backward, or where something would be read that no node wrote.
 */
int tn_graph_backward(tn_graph *g, tn_trainable_fn trained, const void *user, tn_error *err);
/** Fails unless every tensor that is read is an input, a constant, or written by an earlier node, and none is written twice. */
int tn_graph_check(const tn_graph *g, tn_error *err);

/* ---- rewriting ---- */

/** The node that writes t, or -1. */
int tn_graph_writer(const tn_graph *g, int t);
/** Does the node read t (as an input, or to add to it)? */
bool tn_node_reads(const tn_gnode *n, int t);
/** How many nodes read t; *last (may be NULL) is the last of them, or -1. */
int tn_graph_readers(const tn_graph *g, int t, int *last);
/** The single reader of the activation t, or -1: also where t is none. */
int tn_graph_only_reader(const tn_graph *g, int t);
/** Removes node i. */
void tn_graph_remove(tn_graph *g, int i);
/** A node with everything unset before node i, of its layer and pass. The pointer holds until the next call. */
tn_gnode *tn_graph_insert(tn_graph *g, tn_opcode op, int i);
size_t tn_gtensor_bytes(const tn_gtensor *t);

/** Folds activations, residuals and adapters' gradients into the products that they end (fuse.c), before tn_graph_merge. */
int tn_graph_fuse(tn_graph *g, tn_error *err);
/** Folds enlarging by 2 into the depthwise convolutions that read its map (fuse_doubling.c), where a device has kernels that do
 * both at once. Before tn_graph_merge. */
int tn_graph_fuse_doubling(tn_graph *g, tn_error *err);
/** Leaves it to norms' backward to work an activation's slope out again (fuse_norm.c), where that is faster than to keep it. After
 * tn_graph_fuse, before tn_graph_merge. */
int tn_graph_fuse_norm_back(tn_graph *g, tn_error *err);
/** Moves a layer's gradients of adapters behind each other, to the end of its backward pass, where a device computes several at
 * once; their operands live until then. Before tn_graph_merge. */
int tn_graph_gather(tn_graph *g, tn_error *err);
/** Keeps the draws of adapters' dropout as bits in the layers whose activations are kept, where a device reads them. Before
 * tn_graph_merge. */
int tn_graph_draw_bits(tn_graph *g, tn_error *err);
/** What needs storage decided: call after tn_graph_merge. */
int tn_graph_fuse_merged(tn_graph *g, tn_error *err);
/** Lets the node that makes an adapter's dt make its dB too (fuse_both.c), where a device does both at once. After all the others.
 */
int tn_graph_fuse_both(tn_graph *g, tn_error *err);
/**
 * Lets tensors share storage (merge.c): an addition goes into the node that can add (a product may wait for what it is added to),
 * an output takes the place of an input that nobody reads any more, and what can only be done in place gets a copy where its input
 * is still wanted. Inputs, constants and outputs are never overwritten. With share false only what the executor cannot do without
 * is done.
 */
int tn_graph_merge(tn_graph *g, bool share, tn_error *err);

/* ---- rows (operations.c) ---- */

/** Arithmetic, and bytes read and written when nothing stays in a cache. */
typedef struct tn_cost {
    double flops, bytes;
} tn_cost;

struct tn_autodiff;
typedef struct tn_operation {
    const char *name;
    int n_in, n_out;
    tn_cost (*cost)(const tn_graph *g, const tn_gnode *n);
    /** Emits the gradients of node i's inputs and slots. */
    int (*backward)(struct tn_autodiff *p, int i, tn_error *err);
    tn_again again;
    unsigned overwrites; /* TN_IN*: inputs whose storage out[0] may take */
    unsigned flags;      /* TN_OPERATION_* */
} tn_operation;
extern const tn_operation tn_operations[TN_OP_COUNT];
/** A convolution's attributes from images of in_h x in_w. */
tn_attr_conv tn_conv_attributes(int in_h, int in_w, int kernel, int stride, int pad, int groups);
tn_cost tn_node_cost(const tn_graph *g, const tn_gnode *n);
/** Sum over a layer's nodes of the forward or the backward pass. */
tn_cost tn_layer_cost(const tn_graph *g, int layer, bool backward);
#endif
