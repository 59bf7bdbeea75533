/** What the rows of attention share: launches of a kernel file's entries, and the rows that are not in attention.c. */
#ifndef TN_ATTENTION_ROWS_H
#define TN_ATTENTION_ROWS_H
#include "args.h"

/** A kernel file, further options, how many items a group has, and how many rows it takes in each entry. */
typedef struct tn_attention_kernels {
    const char *file, *options;
    int items, forward, dq, dkv;
} tn_attention_kernels;

/** Entry `entry` with groups of k->items, each for `tile` rows of a head. */
int tn_attention_launch(tn_ctx *c, const tn_attention_args *a, const tn_attention_kernels *k, const char *entry, int tile,
                        const tn_arg *args, int n_args, tn_error *err);
/** attn_forward (qkv, o, lse, n, heads, scale). */
int tn_attention_launch_forward(tn_ctx *c, const tn_attention_args *a, const tn_attention_kernels *k, tn_error *err);

/** A kernel of CPU devices, where an item has a head, or in the forward pass a part of its queries. */
typedef struct tn_attention_items {
    const char *file, *options;
    size_t scratch; /* of a thread, in floats */
    int least;      /* forward: queries of a part */
    int keys;       /* backward: of a panel, an argument; 0: the kernel knows */
    bool turns;     /* backward: takes the table */
} tn_attention_items;
/** attn_forward (qkv, o, lse, n, heads, scale, splits, scratch). */
int tn_attention_items_forward(tn_ctx *c, const tn_attention_args *a, const tn_attention_items *k, tn_error *err);
/** attn_backward (qkv, o, d_o, lse, dqkv, n, heads, scale, keys, scratch, table, skip). */
int tn_attention_items_backward(tn_ctx *c, const tn_attention_args *a, const tn_attention_items *k, tn_error *err);

/* attention_cpu.c: head width a multiple of 16; dot: of 32, bfloat16 storage */
bool tn_attention_cpu_can(const tn_ctx *c, const void *args);
int tn_attention_forward_cpu(tn_ctx *c, const void *args, tn_error *err);
int tn_attention_backward_cpu(tn_ctx *c, const void *args, tn_error *err);
bool tn_attention_dot_can(const tn_ctx *c, const void *args);
int tn_attention_forward_dot(tn_ctx *c, const void *args, tn_error *err);
int tn_attention_backward_dot(tn_ctx *c, const void *args, tn_error *err);

/* attention_amx.c: bfloat16 storage, head width a multiple of 32 */
bool tn_attention_amx_can(const tn_ctx *c, const void *args);
int tn_attention_forward_amx(tn_ctx *c, const void *args, tn_error *err);
int tn_attention_backward_amx(tn_ctx *c, const void *args, tn_error *err);

/* attention_vendors.c: 16-bit storage, head width 64 */
bool tn_attention_vendors_can(const tn_ctx *c, const void *args);
int tn_attention_forward_dpas(tn_ctx *c, const void *args, tn_error *err);
int tn_attention_backward_dpas(tn_ctx *c, const void *args, tn_error *err);
int tn_attention_forward_amd(tn_ctx *c, const void *args, tn_error *err);
int tn_attention_backward_amd(tn_ctx *c, const void *args, tn_error *err);

/* attention_nvidia.c: 16-bit storage, head width 64 */
bool tn_attention_nvidia_can(const tn_ctx *c, const void *args);
int tn_attention_forward_wgmma(tn_ctx *c, const void *args, tn_error *err);
int tn_attention_backward_wgmma(tn_ctx *c, const void *args, tn_error *err);
int tn_attention_forward_mma(tn_ctx *c, const void *args, tn_error *err);
int tn_attention_backward_mma(tn_ctx *c, const void *args, tn_error *err);
#endif
