/* Quantised weights: unpacking, and the two passes that make them (ranges of the blocks; codes). */
#include "common.h"
#include "quant.h"
#ifndef OUT
#define OUT 0
#endif

/* w[i] = (code[q_i] - zero) * scale. An item unpacks PER elements, which lie in one block (PER divides every block
 * but a short row of int8, where PER is 1). TAIL 1: the last ones may be missing. */
#ifndef PER
#define PER 8
#endif
#define WG_UNPACK 64
__kernel __attribute__((reqd_work_group_size(WG_UNPACK, 1, 1)))
void unpack(const __global uchar *packed, const __global scale_t *scales, const __global float *nested,
            const __global uchar *zeros, const __global float *tables, float offset, uint block,
            __global TYPE(OUT) *w, uint w_off, uint n MORE_PARAMS)
{
    __local float code[16];
    if (get_local_id(0) < 16) code[get_local_id(0)] = tables[get_local_id(0)];
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint first = (uint)get_global_id(0) * PER;
    if (first >= n) return;
    TAKE_PART(get_global_id(1));
    const uint b = first / block;
    const float scale = block_scale(scales, nested, tables, offset, b);
    const float zero = block_zero(zeros, b);
    const int count = min((uint)PER, n - (uint)first);
    w += w_off + (size_t)get_global_id(1) * n;
    for (int i = 0; i < count; i++) {
#if QBITS == 8
        const float v = (float)(char)packed[first + i] * scale;
        ST(OUT, w, first + i, v * INT8_STEP);
#else
        const uchar byte = packed[(first + i) >> 1];
        const int q = (i & 1) == QLOW ? byte >> 4 : byte & 15;
        ST(OUT, w, first + i, (code[q] - zero) * scale);
#endif
    }
}

/* The same for runs of as many elements as fill 16 bytes, in blocks of 1 << SHIFT (SHIFT 0: `block`, which a division
 * finds). Neighbours write neighbouring 16 bytes, each by one store: a vstore4 promises no more than an element's
 * alignment, and NVIDIA's compiler splits it. An item takes STEPS runs and reads them all before it writes. */
#ifndef SHIFT
#define SHIFT 0
#endif
#ifndef STEPS
#define STEPS 2
#endif
#if OUT == 0
#define RUN 4
#define RUN_LOG2 2
#define word_t word4_t
#else
#define RUN 8
#define RUN_LOG2 3
#define word_t word8_t
#endif
#define WG_RUNS 64

inline void store_run(__global TYPE(OUT) *w, word_t p, const __local float *code, float scale, float zero)
{
#if OUT == 0
    *(__global float4 *)w = values4(p, code, scale, zero);
#else
    const float4 a = values4(FIRST4(p), code, scale, zero), b = values4(LAST4(p), code, scale, zero);
#if OUT == 1
    const uint2 x = bf16_pairs(a), y = bf16_pairs(b);
    *(__global uint4 *)w = (uint4)(x, y);
#else
    ushort h[8];
    vstore_half4_rte(a, 0, (half *)h);
    vstore_half4_rte(b, 1, (half *)h);
    *(__global uint4 *)w = (uint4)(h[0] | (uint)h[1] << 16, h[2] | (uint)h[3] << 16, h[4] | (uint)h[5] << 16, h[6] | (uint)h[7] << 16);
#endif
#endif
}

__kernel __attribute__((reqd_work_group_size(WG_RUNS, 1, 1)))
void unpack_runs(const __global uchar *packed, const __global scale_t *scales, const __global float *nested,
                 const __global uchar *zeros, const __global float *restrict tables, float offset, uint block,
                 __global TYPE(OUT) *restrict w, uint w_off, uint n MORE_PARAMS)
{
    __local float code[16];
    const uint l = (uint)get_local_id(0), runs = n / RUN, first = (uint)(get_global_id(0) / WG_RUNS) * (STEPS * WG_RUNS) + l;
    if (l < 16) code[l] = tables[l];
    barrier(CLK_LOCAL_MEM_FENCE);
    TAKE_PART(get_global_id(1));
    w += w_off + (size_t)get_global_id(1) * n;
    word_t p[STEPS];
    float scale[STEPS], zero[STEPS];
    for (int s = 0; s < STEPS; s++) {
        const uint item = min(first + s * WG_RUNS, runs - 1);
#if SHIFT
        const uint b = item >> (SHIFT - RUN_LOG2);
#else
        const uint b = item * RUN / block;
#endif
        p[s] = ((const __global word_t *)packed)[item];
        scale[s] = block_scale(scales, nested, tables, offset, b);
        zero[s] = block_zero(zeros, b);
    }
    for (int s = 0; s < STEPS; s++) {
        const uint item = first + s * WG_RUNS;
        if (item < runs) store_run(w + (size_t)item * RUN, p[s], code, scale[s], zero[s]);
    }
}

/* range[b] = (smallest, largest, 0 or NaN where an element is not finite, 0). Item: a block. */
__kernel void block_ranges(const __global float *w, __global float4 *range, uint block, uint n, uint n_blocks)
{
    const size_t b = get_global_id(0);
    if (b >= n_blocks) return;
    const size_t first = b * block, end = min((size_t)n, first + block);
    float lo = w[first], hi = lo;
    uint bad = 0; /* no float: PoCL would load its 1 under a mask for each weight, 200 cycles where the page is not there */
    for (size_t i = first; i < end; i++) {
        const float v = w[i];
        lo = fmin(lo, v);
        hi = fmax(hi, v);
        bad |= (as_uint(v) & 0x7f800000u) == 0x7f800000u;
    }
    range[b] = (float4)(lo, hi, (float)bad, 0.0f);
}

/* ladder: 15 thresholds, then 16 codes. */
inline uint looked_up(const __local float *ladder, float u)
{
    int i = u > ladder[7] ? 8 : 0;
    i += u > ladder[i + 3] ? 4 : 0;
    i += u > ladder[i + 1] ? 2 : 0;
    i += u > ladder[i] ? 1 : 0;
    return (uint)ladder[15 + i];
}

inline uint code_of(const __local float *ladder, float u, float zero)
{
#if QBITS == 8
    return (uint)(int)clamp(rint(u), -127.0f, 127.0f) & 255u;
#elif ROUNDS && QZERO
    return (uint)clamp(rint(u) + zero, 0.0f, 15.0f);
#elif ROUNDS
    return (uint)(clamp(rint(u), -8.0f, 7.0f) + 8.0f);
#else
    return looked_up(ladder, u);
#endif
}

/* packed from w * mul[block]: nothing is divided here, so every device makes the same codes. Item: 8 elements of one
 * block; the host does what is left over. */
__kernel __attribute__((reqd_work_group_size(WG_UNPACK, 1, 1)))
void encode8(const __global float *w, const __global float *mul, const __global uchar *zeros,
             const __global float *tables, __global uchar *packed, uint block, uint items)
{
    __local float ladder[31];
    for (int i = (int)get_local_id(0); i < 31; i += WG_UNPACK) ladder[i] = tables[LADDER_AT + i];
    barrier(CLK_LOCAL_MEM_FENCE);
    const size_t item = get_global_id(0);
    if (item >= items) return;
    const uint b = (uint)item * 8 / block;
    const float m = mul[b];
    const float zero = block_zero(zeros, b);
    for (int i = 0; i < 8; i += 2) {
        const uint q0 = code_of(ladder, w[item * 8 + i] * m, zero), q1 = code_of(ladder, w[item * 8 + i + 1] * m, zero);
#if QBITS == 8
        packed[item * 8 + i] = (uchar)q0;
        packed[item * 8 + i + 1] = (uchar)q1;
#elif QLOW
        packed[item * 4 + i / 2] = (uchar)(q0 | q1 << 4);
#else
        packed[item * 4 + i / 2] = (uchar)(q0 << 4 | q1);
#endif
    }
}
