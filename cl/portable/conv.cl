/* 3x3 convolutions, padding 1, channels last. Depthwise directly; full ones as a product over im2col of one image.
 * C is a multiple of VW for the depthwise kernels. */
#include "common.h"

/* w [C,1,3,3] -> t [9][C]. Items (C). */
__kernel void dw_repack(const __global float *w, __global float *t, int C)
{
    const int c = (int)get_global_id(0);
    if (c >= C) return;
    for (int k = 0; k < 9; k++) t[k * C + c] = w[c * 9 + k];
}

/* y[b,i,j,c] = sum of t[k][c] x[b,i+dy,j+dx,c]; turned: of t[8 - k], which is the backward towards the input. `turned` is known
 * when this is compiled. Items (W*C/VW, B*H). */
inline void convolve(int turned, const __global act_t *x, const __global float *t, __global act_t *y, int H, int W, int C, int rows)
{
    const int e = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (e >= W * C || r >= rows) return;
    const int c = e % C, j = e / C, i = r % H;
    const size_t image = (size_t)(r / H) * H;
    vec s = TO_VEC(0.0f);
    for (int ky = 0; ky < 3; ky++) {
        const int yy = i + ky - 1;
        if (yy < 0 || yy >= H) continue;
        for (int kx = 0; kx < 3; kx++) {
            const int xx = j + kx - 1, k = ky * 3 + kx;
            if (xx < 0 || xx >= W) continue;
            s += LDV(0, t, (size_t)(turned ? 8 - k : k) * C + c) * LDV(ACT, x, ((image + yy) * W + xx) * C + c);
        }
    }
    STV(ACT, y, ((size_t)r * W + j) * C + c, s);
}

__kernel void dw_conv(const __global act_t *x, const __global float *t, __global act_t *y, int H, int W, int C, int rows)
{
    convolve(0, x, t, y, H, W, C, rows);
}

__kernel void dw_conv_turned(const __global act_t *x, const __global float *t, __global act_t *y, int H, int W, int C, int rows)
{
    convolve(1, x, t, y, H, W, C, rows);
}

/* partial[chunk][k][c] = sum over the chunk's image rows of dy * shifted x. Items (C/VW, chunks). */
__kernel void dw_grad(const __global act_t *x, const __global act_t *dy, __global float *partial, int H, int W, int C,
                      int rows, int chunk_rows)
{
    const int c = (int)get_global_id(0) * VW, chunk = (int)get_global_id(1);
    if (c >= C || chunk * chunk_rows >= rows) return;
    vec s[9];
    for (int k = 0; k < 9; k++) s[k] = TO_VEC(0.0f);
    const int last = min(rows, (chunk + 1) * chunk_rows);
    for (int r = chunk * chunk_rows; r < last; r++) {
        const int i = r % H;
        for (int j = 0; j < W; j++) {
            const vec g = LDV(ACT, dy, ((size_t)r * W + j) * C + c);
            for (int k = 0; k < 9; k++) {
                const int ry = k / 3 - 1, xx = j + k % 3 - 1;
                if (i + ry < 0 || i + ry >= H || xx < 0 || xx >= W) continue;
                s[k] += g * LDV(ACT, x, ((size_t)(r + ry) * W + xx) * C + c);
            }
        }
    }
    for (int k = 0; k < 9; k++) STV(0, partial, ((size_t)chunk * 9 + k) * C + c, s[k]);
}

/* dw[c*9+k] += sum over chunks. Items (C, 9). */
__kernel void dw_grad_sum(const __global float *partial, __global float *dw, int C, int chunks)
{
    const int c = (int)get_global_id(0), k = (int)get_global_id(1);
    if (c >= C || k >= 9) return;
    float s = 0.0f;
    for (int i = 0; i < chunks; i++) s += partial[((size_t)i * 9 + k) * C + c];
    dw[c * 9 + k] += s;
}

/* One image x [H*W, C] (first row x_row) -> cols [H*W, C*9], column c*9+k as the weight [Cout,C,3,3] has it.
 * Items (C*9, H*W). */
__kernel void im2col(const __global act_t *x, __global act_t *cols, int x_row, int H, int W, int C)
{
    const int e = (int)get_global_id(0), p = (int)get_global_id(1);
    if (e >= C * 9 || p >= H * W) return;
    const int c = e / 9, k = e % 9, i = p / W + k / 3 - 1, j = p % W + k % 3 - 1;
    const int in = i >= 0 && i < H && j >= 0 && j < W;
    ST(ACT, cols, (size_t)p * C * 9 + e, in ? LD(ACT, x, (size_t)(x_row + i * W + j) * C + c) : 0.0f);
}

/* The transpose: dx[p, c] = sum over k of dcols. Items (C, H*W). */
__kernel void col2im(const __global act_t *dcols, __global act_t *dx, int x_row, int H, int W, int C)
{
    const int c = (int)get_global_id(0), p = (int)get_global_id(1);
    if (c >= C || p >= H * W) return;
    float s = 0.0f;
    for (int k = 0; k < 9; k++) {
        const int i = p / W - k / 3 + 1, j = p % W - k % 3 + 1;
        if (i >= 0 && i < H && j >= 0 && j < W) s += LD(ACT, dcols, (size_t)(i * W + j) * C * 9 + c * 9 + k);
    }
    ST(ACT, dx, (size_t)(x_row + p) * C + c, s);
}
