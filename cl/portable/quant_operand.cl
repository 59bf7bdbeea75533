/* Quantised weights unpacked at once to what a matrix unit wants of a product's right operand, op(B) [N, K] in 16 bits (OUT). It is
 * PARTS matrices [rows, cols] under each other, or (TURNED 1) those lie [K, N]. rows, cols and block are multiples of 8: four
 * neighbours of a row lie in one block, and eight rows in one part.
 *
 * LANES 8, 16: in blocks, as intel/gemm_dpas.cl reads them (intel/dpas.h), zeros outside. LANES 0, TURNED 1: in rows. */
#define VW 1
#include "common.h"
#include "quant.h"
#ifndef OUT
#define OUT 1
#endif
#ifndef TURNED
#define TURNED 1
#endif
#ifndef LANES
#define LANES 0
#endif
#ifndef SHIFT /* blocks of 1 << SHIFT; 0: of `block` */
#define SHIFT 0
#endif
#if SHIFT
#define BLOCK_OF(e) ((e) >> SHIFT)
#else
#define BLOCK_OF(e) ((e) / block)
#endif
#define WG 64
#define P_PACKED                                                                                                                   \
    const __global uchar *packed, const __global scale_t *scales, const __global float *nested, const __global uchar *zeros,       \
        const __global float *restrict tables, float offset, uint block

/* Four values as they are stored, each in the low half of a word. */
inline uint4 halves4(float4 v)
{
#if OUT == 1
    const uint4 u = as_uint4(v); /* no NaN comes here */
    return (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
#else
    ushort h[4];
    vstore_half4_rte(v, 0, (half *)h);
    return (uint4)(h[0], h[1], h[2], h[3]);
#endif
}

/* Elements e to e + 3 of a part. */
#define FOUR(e)                                                                                                                    \
    halves4(values4(((const __global word4_t *)packed)[(e) / 4], code, block_scale(scales, nested, tables, offset, BLOCK_OF(e)),   \
                    block_zero(zeros, BLOCK_OF(e))))

#if LANES
/* An item makes four words: neighbours of a block's row (TURNED: of two rows of W), or a lane's of four rows (of eight neighbours).
 */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void unpack_blocks(P_PACKED, __global uint *restrict out, int rows,
                                                                            int cols MORE_PARAMS)
{
    __local float code[16];
    const int id = (int)get_global_id(0), b = id / (2 * LANES), N = TURNED ? cols : PARTS * rows, K = TURNED ? PARTS * rows : cols;
    const int deep = (K + 15) / 16;
    if (get_local_id(0) < 16) code[get_local_id(0)] = tables[get_local_id(0)];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (b >= (N + LANES - 1) / LANES * deep) return;
#if TURNED
    const int n = b / deep * LANES + id % (LANES / 4) * 4, k = b % deep * 16 + id / (LANES / 4) % 8 * 2, row = k;
#else
    const int n = b / deep * LANES + id % LANES, k = b % deep * 16 + id / LANES % 2 * 8, row = n;
#endif
    uint4 w = (uint4)(0);
    if (n < N && k < K) {
        TAKE_PART(row / rows);
        const uint at = (uint)(row % rows) * (uint)cols + (uint)(TURNED ? n : k);
#if TURNED
        w = FOUR(at) | FOUR(at + (uint)cols) << 16;
#else
        const uint4 x = FOUR(at), y = FOUR(at + 4);
        w = (uint4)(x.s0 | x.s1 << 16, x.s2 | x.s3 << 16, y.s0 | y.s1 << 16, y.s2 | y.s3 << 16);
#endif
    }
#if TURNED
    ((__global uint4 *)out)[id] = w;
#else
    out += (size_t)id / LANES * (4 * LANES) + id % LANES;
    out[0] = w.s0, out[LANES] = w.s1, out[2 * LANES] = w.s2, out[3 * LANES] = w.s3;
#endif
}
#else
/* out [cols, PARTS * rows]. A group makes 64 neighbours of each of 32 rows, an item eight of each of four. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void unpack_turned(P_PACKED, __global uint *restrict out, int rows,
                                                                            int cols MORE_PARAMS)
{
    __local float code[16];
    const int l = (int)get_local_id(0), K = PARTS * rows;
    const int k = ((int)get_global_id(0) / WG * 8 + l % 8) * 8, n = ((int)get_global_id(1) * 8 + l / 8) * 4;
    if (l < 16) code[l] = tables[l];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (k >= K || n >= cols) return;
    TAKE_PART(k / rows);
    const uint at = (uint)(k % rows) * (uint)cols + (uint)n, c = (uint)cols;
    const uint4 p = FOUR(at) | FOUR(at + c) << 16, q = FOUR(at + 2 * c) | FOUR(at + 3 * c) << 16;
    const uint4 r = FOUR(at + 4 * c) | FOUR(at + 5 * c) << 16, s = FOUR(at + 6 * c) | FOUR(at + 7 * c) << 16;
    __global uint4 *to = (__global uint4 *)out + ((size_t)n * (size_t)K + (size_t)k) / 8;
    const size_t next = (size_t)K / 8;
    to[0] = (uint4)(p.s0, q.s0, r.s0, s.s0);
    to[next] = (uint4)(p.s1, q.s1, r.s1, s.s1);
    to[2 * next] = (uint4)(p.s2, q.s2, r.s2, s.s2);
    to[3 * next] = (uint4)(p.s3, q.s3, r.s3, s.s3);
}
#endif
