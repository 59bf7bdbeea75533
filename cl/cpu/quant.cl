/* Unpacking on a CPU: one work-item a work-group, sixteen elements at once. */
#include "common.h"
#include "quant.h"
#include "codes.h"

/* An item unpacks `span` elements, in runs of RUN that lie in one block (RUN divides the block, and RUN the matrix).
 * SHIFT: the block is 1 << SHIFT; 0: `block`, which a division finds. */
#ifndef RUN
#define RUN 64
#endif
#ifndef SHIFT
#define SHIFT 0
#endif
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void unpack16(const __global uchar *packed, const __global scale_t *scales, const __global float *nested,
              const __global uchar *zeros, const __global float *tables, float offset, uint block,
              __global TYPE(OUT) *w, uint w_off, uint n, uint span MORE_PARAMS)
{
    TAKE_PART(get_global_id(1));
    w += w_off + (size_t)get_global_id(1) * n;
    const float16 code = vload16(0, tables);
    const size_t from = get_global_id(0) * span, end = min((size_t)n, from + span);
    for (size_t at = from; at < end; at += RUN) {
        const uint b = SHIFT ? (uint)at >> SHIFT : (uint)at / block;
        const float scale = block_scale(scales, nested, tables, offset, b), zero = block_zero(zeros, b);
#ifdef BLOCK_VALUES
        const block_t values = block_values((code - zero) * scale);
        for (int i = 0; i < RUN; i += 16) look16(w + at + i, packed + (at + i) / 2, values);
#else
        for (int i = 0; i < RUN; i += 16)
            CAT(store16_, OUT)(w + at + i, values16(packed, at + i, code, tables + PAIRS_AT, scale, zero));
#endif
    }
}
