/* What the kernels for Intel's matrix units (dpas) share; after words.h.
 *
 * SG 8: Xe-HPG (DG2, Arc A; ARL-H). SG 16: Xe-HPC and Xe2 (PVC, BMG, LNL, PTL). A sub-group multiplies 8 x 16 by 16 x SG, float32
 * sums. Layouts (cl_intel_subgroup_matrix_multiply_accumulate), one step of depth 16:
 *   a[r], lane l: SG 16: element l of row r. SG 8: elements 2l and 2l+1 of row r, the low half first.
 *   b.s[i], lane l: elements 2i and 2i+1 of column l: a pair of k, so a row of a [N, K] matrix already holds such words.
 *   sums[r], lane l: row r, column l. */
#ifndef SG
#define SG 8
#endif
#define BLOCK (8 * SG) /* words of 32 bits of a packed right operand: SG columns, 16 deep */
#if ACT == 2
#define MAD intel_sub_group_f16_f16_matrix_mad_k16
#else
#define MAD intel_sub_group_bf16_bf16_matrix_mad_k16
#endif
#define SUB_GROUP(items) __attribute__((intel_reqd_sub_group_size(SG))) __attribute__((reqd_work_group_size(items, 1, 1)))
#if SG == 16
typedef short8 operand;
#else
typedef int8 operand;
#endif
#define READ_BLOCK(p) as_int8(intel_sub_group_block_read8(p))
