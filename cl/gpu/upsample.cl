/* Bilinear resize by exactly 2 on GPUs, align_corners=False, channels last: [B,h,w,CHANNELS] <-> [B,2h,2w,CHANNELS], where all
 * weights are products of 0.25 and 0.75 and what lies outside is the border repeated. An item walks down a column of VW channels
 * from gap to gap, gap g being what lies between source rows g - 1 and g: target rows 2g - 1 and 2g. CHANNELS is a multiple of VW.
 * OUT: storage type of the large side. Items (w*CHANNELS/VW, batch * chunks of `span` gaps or rows). */
#define WHOLE 1
#include "common.h"
#ifndef OUT
#define OUT ACT
#endif
#ifndef CHANNELS
#define CHANNELS 64
#endif

/* Left of and right of the column's middle, from a source row. */
inline void widen(const __global act_t *x, int left, int right, vec *a, vec *b)
{
    const vec l = LDV(ACT, x, left), m = LDV(ACT, x, 0), r = LDV(ACT, x, right);
    *a = 0.75f * m + 0.25f * l;
    *b = 0.75f * m + 0.25f * r;
}

__kernel void upsample_forward(const __global act_t *restrict x, __global TYPE(OUT) *restrict y, int h, int w, int span, int chunks)
{
    const int e = (int)get_global_id(0), j = e / (CHANNELS / VW), c = e % (CHANNELS / VW) * VW;
    const int b = (int)get_global_id(1) / chunks, first = (int)get_global_id(1) % chunks * span, last = min(first + span, h + 1);
    if (j >= w) return;
    const int row = w * CHANNELS, left = j > 0 ? -CHANNELS : 0, right = j < w - 1 ? CHANNELS : 0;
    const __global act_t *from = x + ((size_t)b * h * w + j) * CHANNELS + c;
    __global TYPE(OUT) *to = y + ((size_t)b * h * w * 4 + 2 * j) * CHANNELS + c + (ptrdiff_t)(2 * first - 1) * 2 * row;
    vec a0, b0, a1, b1;
    widen(from + max(first - 1, 0) * row, left, right, &a0, &b0);
    for (int g = first; g < last; g++) {
        widen(from + min(g, h - 1) * row, left, right, &a1, &b1);
        if (g > 0) {
            STV(OUT, to, 0, 0.75f * a0 + 0.25f * a1);
            STV(OUT, to, CHANNELS, 0.75f * b0 + 0.25f * b1);
        }
        if (g < h) {
            STV(OUT, to, 2 * row, 0.25f * a0 + 0.75f * a1);
            STV(OUT, to, 2 * row + CHANNELS, 0.25f * b0 + 0.75f * b1);
        }
        a0 = a1;
        b0 = b1;
        to += 4 * row;
    }
}

/* What a row of dy gives to the column. */
inline vec narrow(const __global TYPE(OUT) * dy, int left, int right)
{
    const vec l = LDV(OUT, dy, left), a = LDV(OUT, dy, 0);
    const vec b = LDV(OUT, dy, CHANNELS), r = LDV(OUT, dy, right);
    return 0.25f * (l + r) + 0.75f * (a + b);
}

/* And with `two` what the same row of another does. */
#define NARROW(row) (narrow(from + (row), left, right) + (two ? narrow(other + (row), left, right) : TO_VEC(0.0f)))

/* Gap g gives to dx's rows g - 1 and g; a chunk is of `span` rows. two: of dy + more. */
__kernel void upsample_backward(const __global TYPE(OUT) *restrict dy, __global act_t *restrict dx, int h, int w, int span,
                                int chunks, int two, const __global TYPE(OUT) * more)
{
    const int e = (int)get_global_id(0), j = e / (CHANNELS / VW), c = e % (CHANNELS / VW) * VW;
    const int b = (int)get_global_id(1) / chunks, first = (int)get_global_id(1) % chunks * span, last = min(first + span, h);
    if (j >= w) return;
    const int row = 2 * w * CHANNELS, left = j > 0 ? -CHANNELS : 0, right = (j < w - 1 ? 2 : 1) * CHANNELS;
    const __global TYPE(OUT) *from = dy + ((size_t)b * h * w * 4 + 2 * j) * CHANNELS + c, *other = more + (from - dy);
    __global act_t *to = dx + ((size_t)b * h * w + (size_t)first * w + j) * CHANNELS + c;
    vec s = TO_VEC(0.0f);
    for (int g = first; g <= last; g++) {
        const vec above = NARROW(max(2 * g - 1, 0) * row);
        const vec below = NARROW(min(2 * g, 2 * h - 1) * row);
        if (g > first) {
            STV(ACT, to, 0, s + 0.75f * above + 0.25f * below);
            to += w * CHANNELS;
        }
        s = 0.25f * above + 0.75f * below;
    }
}
