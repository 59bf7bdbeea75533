/* A convolution to few channels (O), with stride 1: a product of the pixels with the kernels' taps, O x KxK columns for a pixel,
 * whose sums over neighbours are the result. x [images * h * w, C]; y [images * H * W, O]; rows [O, length + 1], each a kernel
 * [C][K * K] and the constant after it. */
#include "common.h"

/* y from taps, float32 [images * h * w, O * K * K]. Items (W, images * H). */
__kernel void taps_sum(const __global float *taps, const __global float *rows, __global float *y, int h, int w, int H, int W, int K,
                       int pad, int O, int length, int lines)
{
    const int j = (int)get_global_id(0), r = (int)get_global_id(1), i = r % H, all = O * K * K;
    if (j >= W || r >= lines) return;
    const size_t image = (size_t)(r / H) * h;
    for (int o = 0; o < O; o++) {
        float s = rows[(size_t)o * (length + 1) + length];
        for (int t = 0; t < K * K; t++) {
            const int iy = i - pad + t / K, ix = j - pad + t % K;
            if (iy >= 0 && iy < h && ix >= 0 && ix < w) s += taps[((image + iy) * w + ix) * all + o * K * K + t];
        }
        y[((size_t)r * W + j) * O + o] = s;
    }
}

/* The gradient of the taps. Items (w * K * K, images * h). */
__kernel void taps_back(const __global float *dy, __global act_t *taps, int h, int w, int H, int W, int K, int pad, int O,
                        int lines)
{
    const int e = (int)get_global_id(0), r = (int)get_global_id(1);
    if (e >= w * K * K || r >= lines) return;
    const int t = e % (K * K), j = e / (K * K), oy = r % h + pad - t / K, ox = j + pad - t % K;
    const bool there = oy >= 0 && oy < H && ox >= 0 && ox < W;
    for (int o = 0; o < O; o++)
        ST(ACT, taps, (((size_t)r * w + j) * O + o) * K * K + t, there ? dy[(((size_t)(r / h) * H + oy) * W + ox) * O + o] : 0.0f);
}

/* The rows' gradient from that of the taps [O * K * K, C] and the sums of dy's columns. Items (C * K * K + 1, O). */
__kernel void rows_grad(const __global float *taps, const __global float *sums, __global float *drows, int C, int KK, int O)
{
    const int e = (int)get_global_id(0), o = (int)get_global_id(1);
    if (e > C * KK || o >= O) return;
    drows[(size_t)o * (C * KK + 1) + e] = e < C * KK ? taps[((size_t)o * KK + e % KK) * C + e / KK] : sums[o];
}
