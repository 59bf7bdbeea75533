/* A convolution to one channel, with stride 1: a product of the pixels with the kernel's taps, KxK columns for a pixel, whose sums over
 * neighbours are the result. x [images * h * w, C], y [images * H * W]; the row is the kernel [C][K * K] and the constant after it. */
#include "common.h"

/* y from taps, float32 [images * h * w, K * K]. Items (W, images * H). */
__kernel void taps_sum(const __global float *taps, const __global float *row, __global float *y, int h, int w, int H, int W, int K,
                       int pad, int length, int rows)
{
    const int j = (int)get_global_id(0), r = (int)get_global_id(1), i = r % H;
    if (j >= W || r >= rows) return;
    const size_t image = (size_t)(r / H) * h;
    float s = row[length];
    for (int t = 0; t < K * K; t++) {
        const int iy = i - pad + t / K, ix = j - pad + t % K;
        if (iy >= 0 && iy < h && ix >= 0 && ix < w) s += taps[((image + iy) * w + ix) * K * K + t];
    }
    y[(size_t)r * W + j] = s;
}

/* The gradient of the taps. Items (w * K * K, images * h). */
__kernel void taps_back(const __global float *dy, __global act_t *taps, int h, int w, int H, int W, int K, int pad, int rows)
{
    const int e = (int)get_global_id(0), r = (int)get_global_id(1);
    if (e >= w * K * K || r >= rows) return;
    const int t = e % (K * K), oy = r % h + pad - t / K, ox = e / (K * K) + pad - t % K;
    const bool there = oy >= 0 && oy < H && ox >= 0 && ox < W;
    ST(ACT, taps, (size_t)r * w * K * K + e, there ? dy[((size_t)(r / h) * H + oy) * W + ox] : 0.0f);
}

/* The row's gradient from that of the taps [K * K, C] and the sum of dy. Items (C * K * K + 1). */
__kernel void row_grad(const __global float *taps, const __global float *sum, __global float *drow, int C, int KK)
{
    const int e = (int)get_global_id(0);
    if (e < C * KK) drow[e] = taps[(size_t)(e % KK) * C + e / KK];
    else if (e == C * KK) drow[e] = sum[0];
}
