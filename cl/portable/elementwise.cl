/* Element-wise operations. An item handles VW elements of the same row (cols is a multiple of VW); n counts items, in 31 bits. */
#define WHOLE 1
#include "common.h"
#define COARSE (ACT != 0 && VW == 16)
#include "act.h"
#include "step.h"
#ifndef W
#define W 0 /* storage of a weight matrix */
#endif

#define RUN(g, cols) ((g) % ((uint)(cols) / VW)) /* item g's place in its row, in vectors, and its row */
#define ROW(g, cols) ((g) / ((uint)(cols) / VW))

__kernel void act_forward(const __global act_t *x, __global act_t *y, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g < (uint)n) STV(ACT, y, i, fn(LDV(ACT, x, i)));
}

/* y = f(u), and u becomes f'(u). */
__kernel void act_keep(__global act_t *u, __global act_t *y, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g >= (uint)n) return;
    const vec v = LDV(ACT, u, i);
    STV(ACT, y, i, fn(v));
    STV(ACT, u, i, fn_slope(v));
}

/* dx = dy * f'(x); dx may be dy. */
__kernel void act_backward(const __global act_t *x, const __global act_t *dy, __global act_t *dx, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g < (uint)n) STV(ACT, dx, i, LDV(ACT, dy, i) * fn_slope(LDV(ACT, x, i)));
}

/* u [rows, 2*cols] is gate | up; y = f(gate) * up. */
__kernel void glu_forward(const __global act_t *u, __global act_t *y, int cols, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW, at = i + (size_t)ROW(g, cols) * cols;
    if (g < (uint)n) STV(ACT, y, i, fn(LDV(ACT, u, at)) * LDV(ACT, u, at + cols));
}

__kernel void glu_backward(const __global act_t *u, const __global act_t *dy, __global act_t *du, int cols, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW, at = i + (size_t)ROW(g, cols) * cols;
    if (g >= (uint)n) return;
    const vec gate = LDV(ACT, u, at), up = LDV(ACT, u, at + cols), d = LDV(ACT, dy, i);
    STV(ACT, du, at, d * up * fn_slope(gate));
    STV(ACT, du, at + cols, d * fn(gate));
}

/* o = x + y */
__kernel void residual(const __global act_t *x, const __global act_t *y, __global act_t *o, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g < (uint)n) STV(ACT, o, i, LDV(ACT, x, i) + LDV(ACT, y, i));
}

/* o = x + scale[cols] * y */
__kernel void residual_scaled(const __global act_t *x, const __global act_t *y, __global act_t *o, int n,
                              const __global float *scale, int cols)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g >= (uint)n) return;
    vec b = LDV(ACT, y, i);
    b *= LDV(0, scale, RUN(g, cols) * VW);
    STV(ACT, o, i, LDV(ACT, x, i) + b);
}

__kernel void scale_cols(const __global act_t *x, const __global float *scale, __global act_t *o, int cols, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g < (uint)n) STV(ACT, o, i, LDV(ACT, x, i) * LDV(0, scale, RUN(g, cols) * VW));
}

/* Dropout (inverted) with the mask of (seed, element): keep where hash >= threshold. add 1: y += masked x. rest 1:
 * x less what dropout makes of it. */
__kernel void dropout(const __global act_t *x, __global act_t *y, const __global tn_step *step, uint salt, uint threshold,
                      float keep_scale, int add, int rest, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g >= (uint)n) return;
    const vec a = LDV(ACT, x, i);
    vec v = a * KEEP(tn_hash(step->seed, salt), (uint)i, threshold, keep_scale);
    if (rest) v = a - v;
    if (add) v += LDV(ACT, y, i);
    STV(ACT, y, i, v);
}

/* Dropout of whole channels: one draw for each (sample, channel). */
__kernel void dropout2d(const __global act_t *x, __global act_t *y, const __global tn_step *step, uint salt, uint threshold,
                        float keep_scale, int cols, int sample_rows, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g >= (uint)n) return;
    const uint c = RUN(g, cols) * VW, b = ROW(g, cols) / (uint)sample_rows;
    STV(ACT, y, i, LDV(ACT, x, i) * KEEP(tn_hash(step->seed, salt), b * cols + c, threshold, keep_scale));
}

/* y = x * z[sample, col] (z float32): squeeze-excitation's last step, and its backward towards x. */
__kernel void scale_channels(const __global act_t *x, const __global float *z, __global act_t *y, int cols,
                             int sample_rows, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g >= (uint)n) return;
    const uint c = RUN(g, cols) * VW, b = ROW(g, cols) / (uint)sample_rows;
    STV(ACT, y, i, LDV(ACT, x, i) * LDV(0, z, (size_t)b * cols + c));
}

/* x = k * z[sample, col], or x += with add: backward of a mean over the sample's rows. */
__kernel void spread_channels(__global act_t *x, const __global float *z, float k, int cols, int sample_rows, int add, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g >= (uint)n) return;
    const uint c = RUN(g, cols) * VW, b = ROW(g, cols) / (uint)sample_rows;
    vec v = k * LDV(0, z, (size_t)b * cols + c);
    if (add) v += LDV(ACT, x, i);
    STV(ACT, x, i, v);
}

/* y = g[c] * u + v + bias[c], in columns [first, first + part) of [rows, cols]. HAS_V and HAS_BIAS choose the terms. */
__kernel void dora(const __global act_t *u, const __global float *g, const __global act_t *v, const __global float *bias,
                   __global act_t *y, int cols, int first, int part, int n)
{
    const uint i = (uint)get_global_id(0);
    if (i >= (uint)n) return;
    const uint c = i % (uint)part;
    const size_t at = (size_t)(i / (uint)part) * cols + first + c;
    float r = g[first + c] * LD(ACT, u, at);
#if HAS_V
    r += LD(ACT, v, at);
#endif
#if HAS_BIAS
    r += bias[c];
#endif
    ST(ACT, y, at, r);
}

/* g[first + row] = m / |w + t|, inv = 1 / |w + t|, row by row; w [rows, cols] of type W begins at off; t float32. Item: a row. */
__kernel void dora_scale(const __global TYPE(W) *w, uint off, const __global float *t, const __global float *m, __global float *g,
                         __global float *inv, int cols, int rows, int first)
{
    const size_t row = get_global_id(0);
    if (row >= (size_t)rows) return;
    float s = 0.0f;
    for (int c = 0; c < cols; c++) {
        const float v = LD(W, w, off + row * cols + c) + t[row * cols + c];
        s += v * v;
    }
    const float r = rsqrt(fmax(s, 1e-30f));
    inv[first + row] = r;
    g[first + row] = m[row] * r;
}

/* dm[row] += sums[first + row] * inv[first + row]. */
__kernel void dora_magnitude(const __global float *sums, const __global float *inv, __global float *dm, int rows, int first)
{
    const size_t i = get_global_id(0);
    if (i < (size_t)rows) dm[i] += sums[first + i] * inv[first + i];
}
