/* Unpacking on a CPU: a table of the two values behind each byte, so that a byte is one 8-byte load. */
#include "common.h"
#include "quant.h"
#ifndef OUT
#define OUT 0
#endif

/* An item unpacks RUN elements of one block (RUN divides the block). pairs: 256 x 2 values, built once a format. */
#ifndef RUN
#define RUN 64
#endif
#define GROUPS 8
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void unpack_pairs(const __global uchar *packed, const __global scale_t *scales, const __global float *nested,
                  const __global uchar *zeros, const __global float *tables, float offset, uint block,
                  __global TYPE(OUT) *w, uint w_off, uint n)
{
    const __global float *pairs = tables + 304;
    for (int g = 0; g < GROUPS; g++) {
        const size_t first = (get_global_id(0) * GROUPS + g) * RUN;
        if (first < n) {
            const size_t b = first / block;
            const float scale = block_scale(scales, nested, tables, offset, b);
#if QZERO
            const float zero = zeros[b];
#else
            const float zero = 0.0f;
#endif
            for (int i = 0; i < RUN / 2; i++) {
                const float2 v = (vload2(packed[first / 2 + i], pairs) - zero) * scale;
#if OUT == 0
                vstore2(v, i, w + w_off + first);
#elif OUT == 2
                vstore_half2_rte(v, i, (__global half *)w + w_off + first);
#else
                const uint2 u = as_uint2(v);
                vstore2(convert_ushort2((u + 0x7fffu + ((u >> 16) & 1u)) >> 16), i, w + w_off + first);
#endif
            }
        }
    }
}
