/** How backbones and decoders emit a graph, and name their slots: nodes of operations that several of them have. */
#ifndef TN_EMIT_H
#define TN_EMIT_H
#include "model.h"

/* ---- slots (parts.c) ---- */

/** Where a part's slots belong, and what is in front of their names. */
typedef struct tn_parts {
    tn_model *m;
    tn_group group;
    const char *prefix;
    tn_error *err;
} tn_parts;

/** A slot of `shape`, trained when its group is. */
int tn_parts_add(const tn_parts *p, const char *name, int ndim, const int *shape, tn_init init);
int tn_parts_vector(const tn_parts *p, const char *name, int n, tn_init init);
/** <module>.weight [out, in] and, when wanted, <module>.bias; drawn as a backbone's are. joins: of the operation of the linear
 * before it. */
int tn_parts_linear(const tn_parts *p, const char *module, int out, int in, bool bias, bool joins);
/** <module>.weight and <module>.bias of a normalisation of n channels. */
int tn_parts_norm(const tn_parts *p, const char *module, int n);
/** The same and its running statistics. */
int tn_parts_batch_norm(const tn_parts *p, const char *module, int n);
/** <module>.weight [out, in, k, k] (in: per group) and, when wanted, <module>.bias; Kaiming normal as PyTorch's fan_out. */
int tn_parts_conv(const tn_parts *p, const char *module, int out, int in, int k, bool bias);
/** The same with a bias, drawn as a backbone's are. */
int tn_parts_kernel(const tn_parts *p, const char *module, int out, int in, int k);
/** The convolution with a bias that was added last starts as PyTorch's own do (Kaiming uniform with a = sqrt(5)); fan_in: in * k *
 * k. */
void tn_parts_plain(const tn_parts *p, int fan_in);
/** The same of what reads the frames of a sample (tn_emit_patches): [out, 3 * frames, side, side]. */
int tn_parts_pixels(const tn_parts *p, const char *module, int out, int side);

/* ---- nodes (emit.c, emit_linear.c, emit_conv.c) ---- */

/** The state of a part that is being emitted. */
typedef struct tn_emitter {
    tn_graph *g;
    const tn_model *m;
    const tn_pass *p;
    tn_trained trained;
    uint32_t salt;    /* of the next dropout of adapters */
    char prefix[128]; /* in front of slots' names */
} tn_emitter;

tn_emitter tn_emit_begin(tn_graph *g, const tn_model *m, const tn_pass *p);
/** The slot <prefix><module>.<suffix> (suffix NULL: <prefix><module>), or -1. */
int tn_emit_slot(const tn_emitter *e, const char *module, const char *suffix);
/** An activation in the pass's storage type. */
int tn_emit_tensor(tn_emitter *e, int rows, int cols, const char *name);
/** Call when a node is filled. */
void tn_emit_mark(tn_emitter *e, const tn_gnode *n);
/** A node of one input and an output of its shape; not marked. The pointer holds until the next call. */
tn_gnode *tn_emit_like(tn_emitter *e, tn_opcode op, int x, const char *name);
int tn_emit_act(tn_emitter *e, int x, tn_fn fn, const char *name);
/** Of positions of maps of `rows`: [batch, cols] float32. */
int tn_emit_sample_mean(tn_emitter *e, int x, int rows, const char *name);
int tn_emit_layernorm(tn_emitter *e, int x, const char *module, float eps, const char *name);
/** x + y, or x + slot * y with a slot `scale` [cols] that is not -1. */
int tn_emit_residual(tn_emitter *e, int x, int y, int scale, const char *name);
/** Bilinear (align_corners false) from f's size to h x w; y: the tensor that it becomes, or -1 for a new one. */
int tn_emit_resize(tn_emitter *e, const tn_feature *f, int h, int w, int y, const char *name);
/** dropout(x) as adapters have it, or with `rest` what it took away. */
int tn_emit_dropout(tn_emitter *e, int x, uint32_t salt, bool rest);
/** Is anything dropped of what adapters see? */
bool tn_emit_drops(const tn_emitter *e);
/** f through the 1x1 convolution <module>, and of the size that f is yet to be resized to. */
tn_feature tn_emit_project(tn_emitter *e, const tn_feature *f, const char *module, const char *name);
/** The map that the convolution <module> makes of f, with its adapter; kernel and groups are those of its weight. */
tn_feature tn_emit_conv(tn_emitter *e, const tn_feature *f, const char *module, int stride, int pad, const char *name);
/** Normalisation over positions of maps of h x w: BatchNorm with running statistics, else GroupNorm with the largest power of two
 * up to 32 that divides the channels. */
int tn_emit_norm2d(tn_emitter *e, int x, const char *module, int h, int w, bool batch_norm, const char *name);
/** The same of maps of `channels`, not emitted yet. */
tn_map_norm tn_emit_norm_of(const tn_emitter *e, const char *module, const tn_feature *f, bool batch_norm);
/** A normalisation's statistics, to be written by a node. */
int tn_emit_stats(tn_emitter *e, const tn_attr_norm2d *a, int rows);

/** The slots of a linear module or a convolution, with its adapter when the pass has them beside; those of a convolution of several
 * groups cannot be anywhere else. */
tn_gpart tn_emit_part(const tn_emitter *e, const char *module);
/** DoRA's end: g u + v + bias, u the parts' products with their adapters and without their biases, v what is not scaled (-1:
 * nothing). */
int tn_emit_dora(tn_emitter *e, int u, int v, const tn_gpart *parts, int n_parts, const char *name);
/** x through the parts, side by side, with their adapters. */
int tn_emit_linear(tn_emitter *e, int x, const tn_gpart *parts, int n_parts, const char *name);
/** The same of one module. */
int tn_emit_module(tn_emitter *e, int x, const char *module, const char *name);
/** What comes into a backbone ([B*T*3*H, W] values or [B*T*H, 3*W] bytes, T frames of a sample), cut into patches
 * [B*P, T*3*side*side]; what does not fill a patch at the right and below is left out. */
int tn_emit_patches(tn_emitter *e, int side);
/** The policy of layer.i; those that the pass's mask has no bit for are made again. */
int tn_emit_policy(const tn_pass *p, int i);
#endif
