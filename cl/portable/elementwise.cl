/* Element-wise operations. An item handles VW elements of the same row (cols is a multiple of VW); n counts items. */
#include "common.h"
#ifndef W
#define W 0 /* storage of a weight matrix */
#endif
#ifndef FN
#define FN 0 /* 0 gelu (exact), 1 relu, 2 silu, 3 sigmoid */
#endif
#ifndef LS
#define LS 0 /* residual: 1 scales the branch by a vector */
#endif

/* erf to 1.3e-7: own fit, x*P(x^2) below 1, 1 - exp(-Q(x)) to 4, 1 beyond. */
inline vec erf_v(vec x)
{
    const vec a = fmin(fabs(x), TO_VEC(4.0f)), t = a * a;
    const vec p = ((((((7.889119535e-05f * t - 8.020841281e-04f) * t + 5.189535339e-03f) * t - 2.685444459e-02f) * t +
                     1.128360018e-01f) * t - 3.761262714e-01f) * t + 1.128379166e+00f) * a;
    const vec q = (((((((-2.513265267e-07f * a + 2.531480707e-05f) * a - 4.637880099e-04f) * a + 4.282382589e-03f) * a -
                      2.537355566e-02f) * a + 1.086389976e-01f) * a + 6.330396127e-01f) * a + 1.129661157e+00f) * a -
                  2.043598723e-04f;
    return copysign(select(1.0f - exp(-q), p, isless(a, TO_VEC(1.0f))), x);
}

inline vec fn(vec x)
{
#if FN == 0
    return 0.5f * x * (1.0f + erf_v(x * 0.70710678118654752f));
#elif FN == 1
    return fmax(x, TO_VEC(0.0f));
#elif FN == 2
    return x / (1.0f + exp(-x));
#else
    return 1.0f / (1.0f + exp(-x));
#endif
}

inline vec fn_slope(vec x)
{
#if FN == 0
    return 0.5f * (1.0f + erf_v(x * 0.70710678118654752f)) + x * 0.39894228040143268f * exp(-0.5f * x * x);
#elif FN == 1
    return select(TO_VEC(0.0f), TO_VEC(1.0f), isgreater(x, TO_VEC(0.0f)));
#elif FN == 2
    const vec s = 1.0f / (1.0f + exp(-x));
    return s * (1.0f + x * (1.0f - s));
#else
    const vec s = 1.0f / (1.0f + exp(-x));
    return s * (1.0f - s);
#endif
}

__kernel void act_forward(const __global act_t *x, __global act_t *y, int n)
{
    const size_t g = get_global_id(0), i = g * VW;
    if (g < (size_t)n) STV(ACT, y, i, fn(LDV(ACT, x, i)));
}

/* dx = dy * f'(x); dx may be dy. */
__kernel void act_backward(const __global act_t *x, const __global act_t *dy, __global act_t *dx, int n)
{
    const size_t g = get_global_id(0), i = g * VW;
    if (g < (size_t)n) STV(ACT, dx, i, LDV(ACT, dy, i) * fn_slope(LDV(ACT, x, i)));
}

/* u [rows, 2*cols] is gate | up; y = f(gate) * up. */
__kernel void glu_forward(const __global act_t *u, __global act_t *y, int cols, int n)
{
    const size_t g = get_global_id(0), i = g * VW, at = i / cols * cols + i;
    if (g < (size_t)n) STV(ACT, y, i, fn(LDV(ACT, u, at)) * LDV(ACT, u, at + cols));
}

__kernel void glu_backward(const __global act_t *u, const __global act_t *dy, __global act_t *du, int cols, int n)
{
    const size_t g = get_global_id(0), i = g * VW, at = i / cols * cols + i;
    if (g >= (size_t)n) return;
    const vec gate = LDV(ACT, u, at), up = LDV(ACT, u, at + cols), d = LDV(ACT, dy, i);
    STV(ACT, du, at, d * up * fn_slope(gate));
    STV(ACT, du, at + cols, d * fn(gate));
}

/* o = x + scale * y (LS 1: scale[cols]) or x + y. */
__kernel void residual(const __global act_t *x, const __global act_t *y, const __global float *scale,
                       __global act_t *o, int cols, int n)
{
    const size_t g = get_global_id(0), i = g * VW;
    if (g >= (size_t)n) return;
    vec b = LDV(ACT, y, i);
#if LS
    b *= LDV(0, scale, i % cols);
#endif
    STV(ACT, o, i, LDV(ACT, x, i) + b);
}

__kernel void scale_cols(const __global act_t *x, const __global float *scale, __global act_t *o, int cols, int n)
{
    const size_t g = get_global_id(0), i = g * VW;
    if (g < (size_t)n) STV(ACT, o, i, LDV(ACT, x, i) * LDV(0, scale, i % cols));
}

/* Dropout (inverted) with the mask of (seed, element): keep where hash >= threshold. add 1: y += masked x. rest 1:
 * x less what dropout makes of it. */
__kernel void dropout(const __global act_t *x, __global act_t *y, uint seed, uint threshold, float keep_scale, int add,
                      int rest, int n)
{
    const size_t i = get_global_id(0);
    if (i >= (size_t)n) return;
    float v = tn_hash(seed, (uint)i) >= threshold ? LD(ACT, x, i) * keep_scale : 0.0f;
    if (rest) v = LD(ACT, x, i) - v;
    if (add) v += LD(ACT, y, i);
    ST(ACT, y, i, v);
}

/* Dropout of whole channels: one draw for each (sample, channel). */
__kernel void dropout2d(const __global act_t *x, __global act_t *y, uint seed, uint threshold, float keep_scale,
                        int cols, int sample_rows, int n)
{
    const size_t i = get_global_id(0);
    if (i >= (size_t)n) return;
    const size_t c = i % cols, b = i / cols / sample_rows;
    const float v = tn_hash(seed, (uint)(b * cols + c)) >= threshold ? LD(ACT, x, i) * keep_scale : 0.0f;
    ST(ACT, y, i, v);
}

/* y = x * z[sample, col] (z float32): squeeze-excitation's last step, and its backward towards x. */
__kernel void scale_channels(const __global act_t *x, const __global float *z, __global act_t *y, int cols,
                             int sample_rows, int n)
{
    const size_t g = get_global_id(0), i = g * VW;
    if (g >= (size_t)n) return;
    const size_t c = i % cols, b = i / cols / sample_rows;
    STV(ACT, y, i, LDV(ACT, x, i) * LDV(0, z, b * cols + c));
}

/* x = k * z[sample, col], or x += with add: backward of a mean over the sample's rows. */
__kernel void spread_channels(__global act_t *x, const __global float *z, float k, int cols, int sample_rows, int add, int n)
{
    const size_t g = get_global_id(0), i = g * VW;
    if (g >= (size_t)n) return;
    const size_t c = i % cols, b = i / cols / sample_rows;
    vec v = k * LDV(0, z, b * cols + c);
    if (add) v += LDV(ACT, x, i);
    STV(ACT, x, i, v);
}

/* y = g[c] * u + v + bias[c], in columns [first, first + part) of [rows, cols]. HAS_V and HAS_BIAS choose the terms. */
__kernel void dora(const __global act_t *u, const __global float *g, const __global act_t *v, const __global float *bias,
                   __global act_t *y, int cols, int first, int part, int n)
{
    const size_t i = get_global_id(0);
    if (i >= (size_t)n) return;
    const int c = (int)(i % part);
    const size_t at = i / part * cols + first + c;
    float r = g[first + c] * LD(ACT, u, at);
#if HAS_V
    r += LD(ACT, v, at);
#endif
#if HAS_BIAS
    r += bias[c];
#endif
    ST(ACT, y, at, r);
}

/* g[first + row] = m / |w + t|, inv = 1 / |w + t|, row by row; w [rows, cols] of type W, t float32. Item: a row. */
__kernel void dora_scale(const __global TYPE(W) *w, const __global float *t, const __global float *m, __global float *g,
                         __global float *inv, int cols, int rows, int first)
{
    const size_t row = get_global_id(0);
    if (row >= (size_t)rows) return;
    float s = 0.0f;
    for (int c = 0; c < cols; c++) {
        const float v = LD(W, w, row * cols + c) + t[row * cols + c];
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

/* C[r, c] += bias[c] (float32). Items (cols, rows). */
__kernel void add_bias(__global float *C, uint off, int ld, const __global float *bias, int rows, int cols)
{
    const int c = (int)get_global_id(0), r = (int)get_global_id(1);
    if (c < cols && r < rows) C[off + (size_t)r * ld + c] += bias[c];
}
