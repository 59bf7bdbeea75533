/** What the executors of linear layers and of the norms before them share: adapters' thin products. */
#ifndef TN_EXEC_ADAPTERS_H
#define TN_EXEC_ADAPTERS_H
#include "exec.h"
#include "gemm.h"

/** Columns of t that belong to the node's parts before this one. */
int tn_adapters_rank(const tn_gnode *n, int part);
/** Do the slots, count elements each, follow each other in the arena? */
bool tn_adapters_follow(const tn_call *k, const int *slots, const size_t *count, int n);
/** A's of all parts as one matrix [sum of ranks, in]? */
bool tn_adapters_join(const tn_call *k, int in);
/** The first slot's matrix, taken as `rows` rows. */
tn_tensor tn_adapters_operand(const tn_call *k, int slot, int rows);
/** t [rows, ranks] = dropout(x) A^T of all parts. */
int tn_adapters_down(const tn_call *k, const tn_attr_lora *l, const tn_tensor *x, const tn_tensor *t);
/** The draws of the mask `l`, where the node has them as an input, for the product. */
void tn_adapters_bits(const tn_call *k, const tn_attr_lora *l, int input, tn_gemm_args *g);
/** Is that one product? Then *g is it, but for its A, which is to be x of `in` columns. */
bool tn_adapters_down_at_once(const tn_call *k, const tn_attr_lora *l, int in, const tn_tensor *t, tn_gemm_args *g);
/** The product dt = scale dy B of one part, but for its A, which is to be that part of dy. */
tn_gemm_args tn_adapters_dt(const tn_call *k, int part, const tn_tensor *dt);
#endif
