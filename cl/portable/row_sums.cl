/* Sums of rows in blocks of columns, and rows normed by them: a layer norm without vectors, in two halves (ops/gemm.h). x and y are whole
 * tensors of blocks; an item takes VW elements, neighbours side by side. WG: items of a group, a multiple of a block's. */
#include "common.h"
#define SUM_COLUMNS 64
#define RUNS        (SUM_COLUMNS / VW) /* of a block */
#ifndef WG
#define WG 64
#endif

/* sums [wide, rows] of (sum, sum of squares), x being `wide` blocks to a row. Items a multiple of WG, RUNS * blocks at least. */
__kernel void row_sums(const __global act_t *x, __global float2 *sums, int wide, int blocks)
{
    __local float2 shared[WG];
    const int id = (int)get_local_id(0), run = (int)get_global_id(0), block = run / RUNS;
    const vec v = block < blocks ? LDV(ACT, x, (size_t)run * VW) : (vec)0.0f;
    shared[id] = (float2)(HSUM(v), HSUM(v * v));
    barrier(CLK_LOCAL_MEM_FENCE);
    if (id % RUNS || block >= blocks) return;
    float2 t = 0.0f;
    for (int i = 0; i < RUNS; i++) t += shared[id + i];
    sums[block % wide * (blocks / wide) + block / wide] = t;
}

/* y = (x - mean) / sqrt(variance + eps) of each row. */
__kernel void row_norm(const __global act_t *x, const __global float2 *sums, __global act_t *y, int wide, float eps, int blocks)
{
    const int run = (int)get_global_id(0), block = run / RUNS;
    if (block >= blocks) return;
    const int rows = blocks / wide;
    float2 t = 0.0f;
    for (int b = 0; b < wide; b++) t += sums[b * rows + block / wide];
    t /= (float)(wide * SUM_COLUMNS);
    const float rstd = 1.0f / sqrt(max(t.y - t.x * t.x, 0.0f) + eps);
    STV(ACT, y, (size_t)run * VW, (LDV(ACT, x, (size_t)run * VW) - t.x) * rstd);
}
