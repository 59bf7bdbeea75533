/* What thin_both.cl leaves of one or two dB: each [columns, r] += alpha * its sums of all ranges, added in their order.
 *
 * sums [ranges][RANK][all], of parts that begin every `apart` columns, `width` of which are dB's; c_ld, c_part: elements from row to
 * row of dB, and from part to part. */
#define VW 1
#include "ptx.h"
#include "common.h"
#define WARPS    8
#define ITEMS    (WARPS * 32)
#define RANK     16
#define SUM_COLS 128

#define P(i)                                                                                                                       \
    const __global float *restrict sums##i, __global float *restrict dB##i, uint c_off##i, int c_ld##i, int c_part##i, int all##i, \
        int apart##i, int width##i, int r##i, int ranges##i, float alpha##i
#define OF(name) (first ? name##0 : name##1)

/* Groups: for each dB one of each rank's SUM_COLS columns. */
__kernel GROUP(ITEMS) void thin_both_sum(P(0), P(1))
{
    __local float4 part_sums[WARPS][32];
    const int id = (int)get_local_id(0), from = id / 32, lane = id % 32, group = GROUP_ID(0, ITEMS);
    const int before = all0 / SUM_COLS * RANK;
    const bool first = group < before;
    const int all = OF(all), ranges = OF(ranges), apart = OF(apart), of = first ? group : group - before, across = all / SUM_COLS;
    const int m = of / across, x0 = of % across * SUM_COLS;
    const __global float *at = OF(sums) + (size_t)m * all + x0 + lane * 4;
    float4 s = (float4)(0.0f);
    _Pragma("unroll 8") for (int z = from; z < ranges; z += WARPS) s += *(const __global float4 *)(at + (size_t)z * RANK * all);
    part_sums[from][lane] = s;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (id >= SUM_COLS) return;
    const __local float *parts = (const __local float *)part_sums;
    float sum = 0.0f;
    UNROLL for (int w = 0; w < WARPS; w++) sum += parts[w * SUM_COLS + id];
    const int part = (x0 + id) / apart, column = (x0 + id) % apart;
    if (column < OF(width) && m < OF(r))
        OF(dB)[OF(c_off) + (size_t)part * OF(c_part) + (size_t)column * OF(c_ld) + m] += sum * OF(alpha);
}
