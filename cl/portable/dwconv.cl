/* Depthwise convolutions on any device, channels last, an item for VW channels of one pixel. K x K taps at every `stride` pixels,
 * `pad` zeros around; x [images * H * W, C], y [images * OH * OW, C], t [K * K + 1][C] (pack): the taps and the bias. */
#include "common.h"
#ifndef WT
#define WT 0 /* how the kernel is stored */
#endif

/* w [C, 1, K, K], and a bias [C] or zeros. Items (C, taps + 1). */
__kernel void dw_pack(const __global TYPE(WT) *w, const __global float *bias, __global float *t, int C, int taps, int has_bias)
{
    const int c = (int)get_global_id(0), k = (int)get_global_id(1);
    if (c >= C || k > taps) return;
    t[k * C + c] = k < taps ? LD(WT, w, c * taps + k) : has_bias ? bias[c] : 0.0f;
}

/* Items (OW * C / VW, rows of y: images * OH). */
__kernel void dw_forward(const __global act_t *x, const __global float *t, __global act_t *y, int H, int W, int OH, int OW, int C, int K,
                         int stride, int pad, int rows)
{
    const int e = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (e >= OW * C || r >= rows) return;
    const int c = e % C, top = r % OH * stride - pad, left = e / C * stride - pad;
    const size_t image = (size_t)(r / OH) * H;
    vec s = LDV(0, t, K * K * C + c);
    for (int ky = max(0, -top); ky < min(K, H - top); ky++)
        for (int kx = max(0, -left); kx < min(K, W - left); kx++)
            s += LDV(0, t, (ky * K + kx) * C + c) * LDV(ACT, x, ((image + top + ky) * W + left + kx) * C + c);
    STV(ACT, y, (size_t)r * OW * C + e, s);
}

/* Items (W * C / VW, rows of dx: images * H). */
__kernel void dw_back(const __global act_t *dy, const __global float *t, __global act_t *dx, int H, int W, int OH, int OW, int C, int K,
                      int stride, int pad, int rows)
{
    const int e = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (e >= W * C || r >= rows) return;
    const int c = e % C, i = r % H + pad, j = e / C + pad;
    const size_t image = (size_t)(r / H) * OH;
    vec s = TO_VEC(0.0f);
    for (int ky = i % stride; ky < K && ky <= i; ky += stride)
        for (int kx = j % stride; kx < K && kx <= j; kx += stride) {
            const int oy = (i - ky) / stride, ox = (j - kx) / stride;
            if (oy < OH && ox < OW)
                s += LDV(0, t, (ky * K + kx) * C + c) * LDV(ACT, dy, ((image + oy) * OW + ox) * C + c);
        }
    STV(ACT, dx, (size_t)r * W * C + e, s);
}

/* partial[chunk][tap][c] = sum over the chunk's rows of y of dy times the pixel that the tap met. Items (C / VW, taps, chunks). */
__kernel void dw_grad(const __global act_t *x, const __global act_t *dy, __global float *partial, int H, int W, int OH, int OW, int C,
                      int K, int stride, int pad, int rows, int chunk_rows)
{
    const int c = (int)get_global_id(0) * VW, k = (int)get_global_id(1), chunk = (int)get_global_id(2);
    if (c >= C || k >= K * K || chunk * chunk_rows >= rows) return;
    vec s = TO_VEC(0.0f);
    const int last = min(rows, (chunk + 1) * chunk_rows);
    for (int r = chunk * chunk_rows; r < last; r++) {
        const int i = r % OH * stride - pad + k / K;
        if (i < 0 || i >= H) continue;
        const size_t row = (size_t)(r / OH) * H + i;
        for (int ox = 0; ox < OW; ox++) {
            const int j = ox * stride - pad + k % K;
            if (j >= 0 && j < W) s += LDV(ACT, dy, ((size_t)r * OW + ox) * C + c) * LDV(ACT, x, (row * W + j) * C + c);
        }
    }
    STV(0, partial, ((size_t)chunk * K * K + k) * C + c, s);
}

/* dw[c * taps + k] += sum over chunks. Items (C, taps). */
__kernel void dw_grad_sum(const __global float *partial, __global float *dw, int C, int taps, int chunks)
{
    const int c = (int)get_global_id(0), k = (int)get_global_id(1);
    if (c >= C || k >= taps) return;
    float s = 0.0f;
    for (int i = 0; i < chunks; i++) s += partial[((size_t)i * taps + k) * C + c];
    dw[c * taps + k] += s;
}
