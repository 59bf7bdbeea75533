/* Convolutions as products, channels last: the pixels that each output depends on side by side in rows (im2col), and kernels in the
 * order of such rows. A row has `taps` = KH * KW pixels of `channels` channels each, the channels innermost, VW of which are moved
 * at once. WT: how the kernel [O, channels, K, K] is stored. */
#include "common.h"
#ifndef WT
#define WT 0
#endif

/* Of a group of channels: cols[r][tap * channels + c] = pixel (i * step + top + ky, j * step + left + kx) of r's image, where
 * (image, i, j) is row first + r of a grid H x W, or 0 outside. x [images * in_h * in_w, width], the group from column `from` on.
 * Items (taps * channels / VW, rows). */
__kernel void patches(const __global act_t *x, __global act_t *cols, int first, int rows, int width, int from, int channels, int in_h,
                      int in_w, int H, int W, int top, int left, int step, int kh, int kw)
{
    const int e = (int)get_global_id(0) * VW, r = (int)get_global_id(1), length = kh * kw * channels;
    if (e >= length || r >= rows) return;
    const int c = e % channels, tap = e / channels, p = first + r;
    const int i = p / W % H * step + top + tap / kw, j = p % W * step + left + tap % kw;
    const bool there = i >= 0 && i < in_h && j >= 0 && j < in_w;
    const size_t at = (((size_t)(p / W / H) * in_h + (there ? i : 0)) * in_w + (there ? j : 0)) * width + from + c;
    STV(ACT, cols, (size_t)r * length + e, there ? LDV(ACT, x, at) : TO_VEC(0.0f));
}

/* The kernel in a row's order: t[o][tap * channels + c]. Items (taps * channels, O). */
__kernel void kernel_rows(const __global TYPE(WT) *w, __global act_t *t, int O, int channels, int taps)
{
    const int e = (int)get_global_id(0), o = (int)get_global_id(1);
    if (e >= taps * channels || o >= O) return;
    const int c = e % channels, tap = e / channels;
    ST(ACT, t, (size_t)o * taps * channels + e, LD(WT, w, ((size_t)o * channels + c) * taps + tap));
}

/* What leads from dy back to the pixels of one phase: every stride-th tap from (ky, kx) on, kh x kw of them, the last one first.
 * t[g * channels + c][tap * outs + o], outs outputs to a group. Items (kh * kw * outs, groups * channels). */
__kernel void kernel_back(const __global TYPE(WT) *w, __global act_t *t, int all, int outs, int channels, int K, int stride, int ky,
                          int kx, int kh, int kw)
{
    const int e = (int)get_global_id(0), r = (int)get_global_id(1), length = kh * kw * outs;
    if (e >= length || r >= all) return;
    const int o = e % outs, tap = e / outs, c = r % channels, g = r / channels;
    const int y = ky + stride * (kh - 1 - tap / kw), x = kx + stride * (kw - 1 - tap % kw);
    ST(ACT, t, (size_t)r * length + e, LD(WT, w, (((size_t)(g * outs + o) * channels + c) * K + y) * K + x));
}

/* dw [O, channels, K, K] += t [O][tap * channels + c]. Items (channels * taps, O). */
__kernel void kernel_grad(const __global float *t, __global float *dw, int O, int channels, int taps)
{
    const int e = (int)get_global_id(0), o = (int)get_global_id(1), length = channels * taps;
    if (e >= length || o >= O) return;
    dw[(size_t)o * length + e] += t[(size_t)o * length + e % taps * channels + e / taps];
}

/* Pixels (i * stride + y, j * stride + x) of images H x W from the rows of their own [images * h * w, C]; zeros where `empty`.
 * Items (w * C / VW, images * h). */
__kernel void spread(const __global act_t *part, __global act_t *dx, int rows, int h, int w, int H, int W, int C, int stride, int y,
                     int x, int empty)
{
    const int e = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (e >= w * C || r >= rows) return;
    const size_t to = (((size_t)(r / h) * H + r % h * stride + y) * W + (size_t)(e / C) * stride + x) * C + e % C;
    STV(ACT, dx, to, empty ? TO_VEC(0.0f) : LDV(ACT, part, (size_t)r * w * C + e));
}

/* dx [images * H * W, C] from rows of patches [images * h * w][tap * C + c] that do not overlap; zeros where no patch is.
 * Items (W * C / VW, images * H). */
__kernel void unpatch(const __global act_t *cols, __global act_t *dx, int rows, int h, int w, int H, int W, int C, int K)
{
    const int e = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (e >= W * C || r >= rows) return;
    const int i = r % H, j = e / C, tap = i % K * K + j % K;
    const bool there = i / K < h && j / K < w;
    const size_t patch = there ? ((size_t)(r / H) * h + i / K) * w + j / K : 0;
    STV(ACT, dx, (size_t)r * W * C + e, there ? LDV(ACT, cols, (patch * K * K + tap) * C + e % C) : TO_VEC(0.0f));
}
