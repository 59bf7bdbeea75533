/* Bilinear doubling on CPU devices, channels last: x [B*h*w, C], y [B*2h*2w, C], C a multiple of 16 (weights 1/4 and 3/4; beyond
 * the border the border once more). An item takes `span` rows of one small image and walks memory as it lies; what a pixel shares
 * with the next one is kept, for MOST vectors of channels at a time. OUT: storage type of the large side. */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#ifndef OUT
#define OUT ACT
#endif
#define MOST 16

/* 16 channels of a pixel of the small side between its rows, for the two large rows. */
#define BETWEEN_ROWS(to, v, at)                                                                                                    \
    {                                                                                                                              \
        const float16 m_ = 0.75f * LDV(ACT, row, at);                                                                              \
        to[0][v] = m_ + 0.25f * LDV(ACT, up, at);                                                                                  \
        to[1][v] = m_ + 0.25f * LDV(ACT, down, at);                                                                                \
    }

/* Items (runs, B). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void upsample_forward(const __global act_t *x, __global TYPE(OUT) * y,
                                                                              int h, int w, int C, int span)
{
    const int first = (int)get_global_id(0) * span, last = min(h, first + span);
    const size_t image = get_global_id(1) * (size_t)h, line = (size_t)w * C;
    float16 left[2][MOST], here[2][MOST];
    for (int i = first; i < last; i++) {
        const __global act_t *row = x + (image + i) * line, *up = i ? row - line : row, *down = i + 1 < h ? row + line : row;
        __global TYPE(OUT) *even = y + 4 * (image + i) * line, *odd = even + 2 * line;
        for (int c = 0; c < C; c += 16 * MOST) {
            const int vectors = min(MOST, (C - c) / 16);
            for (int v = 0; v < vectors; v++) {
                BETWEEN_ROWS(here, v, c + 16 * v)
                UNROLL(k, 2) left[k][v] = here[k][v];
            }
            for (int j = 0; j < w; j++) {
                const size_t right = (size_t)min(j + 1, w - 1) * C + c, at = 2 * (size_t)j * C + c;
                for (int v = 0; v < vectors; v++) {
                    float16 next[2][1];
                    BETWEEN_ROWS(next, 0, right + 16 * v)
                    UNROLL(k, 2)
                    {
                        __global TYPE(OUT) *to = (k ? odd : even) + at + 16 * v;
                        const float16 m = 0.75f * here[k][v];
                        STV(OUT, to, 0, m + 0.25f * left[k][v]);
                        STV(OUT, to, C, m + 0.25f * next[k][0]);
                        left[k][v] = here[k][v];
                        here[k][v] = next[k][0];
                    }
                }
            }
        }
    }
}

/* 16 channels of a pixel of the large side, summed over the four rows that took from one small row. */
inline float16 over_rows(const __global TYPE(OUT) *const rows[4], size_t at)
{
    return 0.25f * (LDV(OUT, rows[0], at) + LDV(OUT, rows[3], at)) + 0.75f * (LDV(OUT, rows[1], at) + LDV(OUT, rows[2], at));
}

/* Items (runs, B). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void upsample_backward(const __global TYPE(OUT) * dy, __global act_t *dx,
                                                                               int h, int w, int C, int span)
{
    const int first = (int)get_global_id(0) * span, last = min(h, first + span);
    const size_t image = get_global_id(1) * (size_t)h, line = 2 * (size_t)w * C; /* of the large side */
    float16 a[MOST], b[MOST];                                                    /* of a pixel's four columns the first two */
    for (int i = first; i < last; i++) {
        const __global TYPE(OUT) * rows[4];
        UNROLL(k, 4) rows[k] = dy + (2 * image + clamp(2 * i + k - 1, 0, 2 * h - 1)) * line;
        __global act_t *to = dx + (image + i) * (size_t)w * C;
        for (int c = 0; c < C; c += 16 * MOST) {
            const int vectors = min(MOST, (C - c) / 16);
            for (int v = 0; v < vectors; v++) a[v] = b[v] = over_rows(rows, c + 16 * v);
            for (int j = 0; j < w; j++) {
                const size_t third = (2 * (size_t)j + 1) * C + c, fourth = min(2 * j + 2, 2 * w - 1) * (size_t)C + c;
                for (int v = 0; v < vectors; v++) {
                    const float16 d = over_rows(rows, third + 16 * v), e = over_rows(rows, fourth + 16 * v);
                    STV(ACT, to, (size_t)j * C + c + 16 * v, 0.25f * (a[v] + e) + 0.75f * (b[v] + d));
                    a[v] = d;
                    b[v] = e;
                }
            }
        }
    }
}
