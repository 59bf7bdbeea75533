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
    const __global float *pairs = tables + PAIRS_AT;
    for (int g = 0; g < GROUPS; g++) {
        const size_t first = (get_global_id(0) * GROUPS + g) * RUN;
        if (first < n) {
            const size_t b = first / block;
            const float scale = block_scale(scales, nested, tables, offset, b);
            const float zero = block_zero(zeros, b);
#if OUT == 0
            for (int i = 0; i < RUN / 2; i++)
                vstore2((vload2(packed[first / 2 + i], pairs) - zero) * scale, i, w + w_off + first);
#else
            /* 16 at once, and two halves leave as one 32-bit word: otherwise PoCL's compiler rounds one by one */
            for (int i = 0; i < RUN / 16; i++) {
                const __global uchar *p = packed + first / 2 + i * 8;
                float16 v;
                v.s01 = vload2(p[0], pairs), v.s23 = vload2(p[1], pairs), v.s45 = vload2(p[2], pairs), v.s67 = vload2(p[3], pairs);
                v.s89 = vload2(p[4], pairs), v.sab = vload2(p[5], pairs), v.scd = vload2(p[6], pairs), v.sef = vload2(p[7], pairs);
                v = (v - zero) * scale;
#if OUT == 2
                vstore_half16_rte(v, i, (__global half *)w + w_off + first);
#else
                const uint16 u = as_uint16(v);
                const ulong8 r = as_ulong8(u + 0x7fffu + ((u >> 16) & 1u));
                vstore8(convert_uint8((r >> 16 & 0xffffUL) | (r >> 32 & 0xffff0000UL)), i, (__global uint *)(w + w_off + first));
#endif
            }
#endif
        }
    }
}
