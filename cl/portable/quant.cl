/* Unpacking 4-bit weights. packed: byte i holds element 2i in its high nibble (bitsandbytes), or in its low one where
 * LOW_FIRST is 1. Blocks of `block` elements run over the flattened matrix. NESTED 1: absmax is itself 8-bit:
 * absmax[i] = map[q[i]] * nested[i / 256] + offset. OUT: storage type of the result. */
#include "common.h"
#ifndef NESTED
#define NESTED 0
#endif
#ifndef OUT
#define OUT 0
#endif
#ifndef LOW_FIRST
#define LOW_FIRST 0
#endif

/* w[i] = code[q_i] * absmax[i / block]. Item: 8 packed bytes, 16 elements (block is a multiple of 16). */
__kernel void dequant4(const __global uchar *packed, const __global float *absmax, const __global uchar *absmax_q,
                       const __global float *nested, const __global float *map, const __global float *code,
                       float offset, int block_shift, __global TYPE(OUT) *w, uint w_off, uint n)
{
    const size_t first = get_global_id(0) * 16;
    if (first >= n) return;
    const size_t blk = first >> block_shift;
#if NESTED
    const float scale = map[absmax_q[blk]] * nested[blk >> 8] + offset;
#else
    const float scale = absmax[blk];
#endif
    const int count = min(16u, n - (uint)first);
    for (int i = 0; i < count; i++) {
        const uchar byte = packed[(first + i) >> 1];
        const int high = (i & 1) == LOW_FIRST;
        const int q = high ? byte >> 4 : byte & 15;
        ST(OUT, w, w_off + first + i, code[q] * scale);
    }
}
