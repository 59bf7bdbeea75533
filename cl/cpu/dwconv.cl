/* Depthwise 3x3 convolutions on CPU devices, padding 1, channels last: x, y [B*H*W, C], t [9][C] (dw_repack), C a multiple of 16.
 * An item takes `span` rows of one image, of which there are per_image runs. */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#ifndef FLIP
#define FLIP 0 /* 1: the kernel turned round, which is the backward towards the input */
#endif

#define TAP(k) LDV(0, t, (FLIP ? 8 - (k) : (k)) * C + c)

/* One pixel, all channels: memory is walked as it lies, and a row's neighbours are in the cache. there: bit k is neighbour k. */
inline void conv_pixel(const __global act_t *x, const __global float *t, __global act_t *y, size_t at, int W, int C, uint there)
{
    const __global act_t *center = x + at;
    for (int c = 0; c < C; c += 16) {
        float16 s = (float16)(0.0f);
        if (there == 0x1ff)
            UNROLL(k, 9) s = fma(TAP(k), LDV(ACT, center + ((k / 3 - 1) * W + k % 3 - 1) * C, c), s);
        else
            for (int k = 0; k < 9; k++)
                if (there >> k & 1) s = fma(TAP(k), LDV(ACT, center + ((k / 3 - 1) * W + k % 3 - 1) * C, c), s);
        STV(ACT, y, at + c, s);
    }
}

/* Items (runs, B). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void dw_conv(const __global act_t *x, const __global float *t,
                                                                     __global act_t *y, int H, int W, int C, int span)
{
    const int first = (int)get_global_id(0) * span, last = min(H, first + span);
    const size_t image = get_global_id(1) * (size_t)H;
    for (int i = first; i < last; i++) {
        const uint rows = (i > 0 ? 7u : 0u) | 0x38u | (i + 1 < H ? 0x1c0u : 0u);
        for (int j = 0; j < W; j++) {
            const uint columns = (j > 0 ? 0x49u : 0u) | 0x92u | (j + 1 < W ? 0x124u : 0u);
            conv_pixel(x, t, y, ((image + i) * W + j) * C, W, C, rows & columns);
        }
    }
}

/* Both gradients, with the windows of x and dy in registers. partial [runs of all images][9][C]. Items (C/16, runs, B). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void dw_back(const __global act_t *x, const __global act_t *dy,
                                                                     const __global float *t, __global act_t *dx,
                                                                     __global float *partial, int H, int W, int C, int span,
                                                                     int per_image)
{
    const int c = 16 * (int)get_global_id(0), first = (int)get_global_id(1) * span, last = min(H, first + span);
    const size_t image = get_global_id(2) * (size_t)H, run = get_global_id(2) * per_image + get_global_id(1);
    float16 w[9], sum[9];
    UNROLL(k, 9)
    {
        w[k] = LDV(0, t, (8 - k) * C + c);
        sum[k] = (float16)(0.0f);
    }
    for (int i = first; i < last; i++) {
        float16 v[9], g[9]; /* windows of x and dy: 3 rows of 3 columns */
        size_t row[3];
        bool there[3];
        UNROLL(r, 3)
        {
            there[r] = i + r > 0 && i + r <= H;
            row[r] = (image + (there[r] ? i + r - 1 : i)) * W * C + c;
            v[3 * r] = g[3 * r] = (float16)(0.0f);
            v[3 * r + 1] = there[r] ? LDV(ACT, x, row[r]) : (float16)(0.0f);
            g[3 * r + 1] = there[r] ? LDV(ACT, dy, row[r]) : (float16)(0.0f);
        }
        for (int j = 0; j < W; j++) {
            float16 s = (float16)(0.0f);
            UNROLL(r, 3)
            {
                const bool next = there[r] && j + 1 < W;
                v[3 * r + 2] = next ? LDV(ACT, x, row[r] + (size_t)(j + 1) * C) : (float16)(0.0f);
                g[3 * r + 2] = next ? LDV(ACT, dy, row[r] + (size_t)(j + 1) * C) : (float16)(0.0f);
            }
            UNROLL(k, 9)
            {
                s = fma(w[k], g[k], s);
                sum[k] = fma(g[4], v[k], sum[k]);
            }
            STV(ACT, dx, row[1] + (size_t)j * C, s);
            UNROLL(r, 3)
            {
                v[3 * r] = v[3 * r + 1], v[3 * r + 1] = v[3 * r + 2];
                g[3 * r] = g[3 * r + 1], g[3 * r + 1] = g[3 * r + 2];
            }
        }
    }
    UNROLL(k, 9) STV(0, partial, (run * 9 + k) * C + c, sum[k]);
}
