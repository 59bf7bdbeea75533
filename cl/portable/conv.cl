/* Convolutions as products, channels last: the pixels that each output depends on side by side in rows (im2col), and kernels in the
 * order of such rows. A row has `taps` = KH * KW pixels of `channels` channels each, the channels innermost, VW of which are moved
 * at once. WT: how the kernel [O, channels, K, K] is stored. */
#include "common.h"
#ifndef WT
#define WT 0
#endif

/* What a GPU's compiler divides by faster when it is told. */
#ifndef CHANNELS
#define CHANNELS channels
#endif
#ifndef KW
#define KW kw
#endif

/* Of a group of channels: cols[(l * W + j) * pitch + tap * channels + c] = pixel (i * step + top + ky, j * step + left + kx) of an image,
 * where line first + l is the i-th of that image's grid H x W, or 0 outside. x [images * in_h * in_w, width], the group from column
 * `from` on. Items (taps * channels / VW, W, lines). */
__kernel void patches(const __global act_t *x, __global act_t *cols, int first, int lines, int width, int from, int channels,
                      int in_h, int in_w, int H, int W, int top, int left, int step, int kh, int kw, int pitch)
{
    const int e = (int)get_global_id(0) * VW, j = (int)get_global_id(1), l = (int)get_global_id(2), length = kh * KW * CHANNELS;
    if (e >= length || j >= W || l >= lines) return;
    const int c = e % CHANNELS, tap = e / CHANNELS, line = first + l, y = line % H * step + top + tap / KW,
              z = j * step + left + tap % KW;
    const bool there = y >= 0 && y < in_h && z >= 0 && z < in_w;
    const size_t at = (((size_t)(line / H) * in_h + (there ? y : 0)) * in_w + (there ? z : 0)) * width + from + c;
    STV(ACT, cols, ((size_t)l * W + j) * pitch + e, there ? LDV(ACT, x, at) : TO_VEC(0.0f));
}

/* The kernel in a row's order: t[o * pitch + tap * channels + c]. Items (channels, O). */
__kernel void kernel_rows(const __global TYPE(WT) * w, __global act_t *t, int O, int ld, int channels, int taps, int pitch)
{
    const int c = (int)get_global_id(0), o = (int)get_global_id(1);
    if (c >= channels || o >= O) return;
    const size_t row = (size_t)o * pitch;
    for (int tap = 0; tap < taps; tap++) ST(ACT, t, row + tap * channels + c, LD(WT, w, (size_t)o * ld + c * taps + tap));
}

/* How many of a kernel's K rows lie at places before `at` modulo the stride. */
inline int rows_before(int at, int K, int stride)
{
    return K / stride * at + min(K % stride, at);
}

/* What leads from dy back to the pixels, phase by phase (the place of a tap modulo the stride): of each the matrix
 * [groups * channels, taps * outs], the last tap first, outs outputs to a group. some: outputs of an item, whose taps of a channel lie in
 * few lines of memory. Items (groups * channels, outs / some); with one, (outs, groups * channels), so that a GPU's write side by side. */
__kernel void kernel_back(const __global TYPE(WT) * w, __global act_t *t, int all, int outs, int channels, int K, int stride, int some)
{
    const int x0 = (int)get_global_id(0), y0 = (int)get_global_id(1), r = some > 1 ? x0 : y0, first = some > 1 ? y0 * some : x0;
    const int last = min(outs, first + some);
    if (r >= all || first >= outs) return;
    const size_t from = ((size_t)(r / channels) * outs * channels + r % channels) * K * K;
    for (int y = 0; y < K; y++)
        for (int x = 0; x < K; x++) {
            const int py = y % stride, px = x % stride, kh = (K - py + stride - 1) / stride, kw = (K - px + stride - 1) / stride;
            const int before = rows_before(py, K, stride) * K + kh * rows_before(px, K, stride);
            const int tap = (kh - 1 - y / stride) * kw + kw - 1 - x / stride;
            const size_t to = ((size_t)all * before + (size_t)r * kh * kw + tap) * outs;
            for (int o = first; o < last; o++) ST(ACT, t, to + o, LD(WT, w, from + (size_t)o * channels * K * K + y * K + x));
        }
}

/* dw [O, channels, K, K] += t [O][tap * channels + c]. Items (channels, O). */
__kernel void kernel_grad(const __global float *t, __global float *dw, int O, int channels, int taps)
{
    const int c = (int)get_global_id(0), o = (int)get_global_id(1);
    if (c >= channels || o >= O) return;
    const size_t row = (size_t)o * channels * taps;
    for (int tap = 0; tap < taps; tap++) dw[row + c * taps + tap] += t[row + tap * channels + c];
}

/* to [outs] = bias [from, from + outs). Items (outs). */
__kernel void bias_part(const __global float *bias, __global float *to, int from, int outs)
{
    const int i = (int)get_global_id(0);
    if (i < outs) to[i] = bias[from + i];
}

/* Columns of pixels (i * step + y, j * step + x) of images H x W, whose pixels are `ld` apart, from the rows of their own
 * [images * h * w, N]; zeros where `empty`. Items (w * N / VW, images * h). */
__kernel void spread(const __global act_t *part, __global act_t *to, uint off, int ld, int rows, int h, int w, int N, int H, int W,
                     int step, int y, int x, int empty)
{
    const int e = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (e >= w * N || r >= rows) return;
    const size_t pixel = ((size_t)(r / h) * H + r % h * step + y) * W + (size_t)(e / N) * step + x;
    STV(ACT, to, off + pixel * ld + e % N, empty ? TO_VEC(0.0f) : LDV(ACT, part, (size_t)r * w * N + e));
}
