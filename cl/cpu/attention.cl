/* Attention for CPU devices: an item walks QT queries (or 16 keys) by itself, vectors of 16 lie across keys for the
 * scores and across the head's columns for the sums. Layouts as in portable/attention.cl; HD is a multiple of 16. */
#undef VW
#define VW 16
#include "common.h"
#ifndef HD
#define HD 64
#endif
#define HV (HD / 16)
#ifndef QT
#define QT 32
#endif
#define NEG (-3.0e38f)

inline float max16(float16 v)
{
    const float8 a = fmax(v.lo, v.hi);
    const float4 b = fmax(a.lo, a.hi);
    return fmax(fmax(b.x, b.y), fmax(b.z, b.w));
}

/* 16 rows of one head, transposed: t[c] holds column c of rows first .. first+15 (clamped to n-1). */
inline void load_across(float16 *t, const __global act_t *src, size_t base, int ld, int first, int n)
{
    float *f = (float *)t;
    for (int r = 0; r < 16; r++) {
        const size_t at = base + (size_t)min(first + r, n - 1) * ld;
#pragma unroll
        for (int v = 0; v < HV; v++) {
            float x[16];
            vstore16(LDV(ACT, src, at + 16 * v), 0, x);
            for (int c = 0; c < 16; c++) f[(16 * v + c) * 16 + r] = x[c];
        }
    }
}

inline float16 dot_across(const __global act_t *row, size_t at, const float16 *t)
{
    float16 s0 = (float16)(0.0f), s1 = (float16)(0.0f);
    for (int c = 0; c < HD; c += 2) {
        s0 = fma((float16)(LD(ACT, row, at + c)), t[c], s0);
        s1 = fma((float16)(LD(ACT, row, at + c + 1)), t[c + 1], s1);
    }
    return s0 + s1;
}

inline float16 lanes(void)
{
    return (float16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/* Items (query tiles of QT, B * heads). */
__kernel void attn_forward(const __global act_t *qkv, __global act_t *o, __global float *lse, int n, int heads,
                           float scale)
{
    const int bh = (int)get_global_id(1), b = bh / heads, h = bh % heads, d = heads * HD, ld = 3 * d;
    const int q0 = (int)get_global_id(0) * QT, nq = min(QT, n - q0);
    const size_t base = (size_t)b * n * ld + (size_t)h * HD;
    float16 acc[QT][HV], kt[HD];
    float top[QT], sum[QT];
    for (int i = 0; i < QT; i++) {
        top[i] = NEG;
        sum[i] = 0.0f;
#pragma unroll
        for (int v = 0; v < HV; v++) acc[i][v] = (float16)(0.0f);
    }
    for (int k0 = 0; k0 < n; k0 += 16) {
        load_across(kt, qkv, base + d, ld, k0, n);
        const int nk = min(16, n - k0);
        for (int i = 0; i < nq; i++) {
            float16 s = dot_across(qkv, base + (size_t)(q0 + i) * ld, kt) * scale;
            s = select(s, (float16)(NEG), isgreaterequal(lanes(), (float16)((float)nk)));
            const float m = fmax(top[i], max16(s)), fix = exp(top[i] - m);
            const float16 p = exp(s - m);
            float w[16];
            vstore16(p, 0, w);
            sum[i] = sum[i] * fix + HSUM(p);
            top[i] = m;
            float16 a[HV];
#pragma unroll
            for (int v = 0; v < HV; v++) a[v] = acc[i][v] * fix;
            for (int k = 0; k < nk; k++) {
                const size_t at = base + 2 * d + (size_t)(k0 + k) * ld;
#pragma unroll
                for (int v = 0; v < HV; v++) a[v] = fma((float16)(w[k]), LDV(ACT, qkv, at + 16 * v), a[v]);
            }
#pragma unroll
            for (int v = 0; v < HV; v++) acc[i][v] = a[v];
        }
    }
    for (int i = 0; i < nq; i++) {
#pragma unroll
        for (int v = 0; v < HV; v++)
            STV(ACT, o, ((size_t)b * n + q0 + i) * d + (size_t)h * HD + 16 * v, acc[i][v] / sum[i]);
        lse[(size_t)bh * n + q0 + i] = top[i] + log(sum[i]);
    }
}

__kernel void attn_delta(const __global act_t *o, const __global act_t *d_o, __global float *delta, int n, int heads)
{
    const int i = (int)get_global_id(0), bh = (int)get_global_id(1);
    const size_t at = ((size_t)(bh / heads) * n + i) * heads * HD + (size_t)(bh % heads) * HD;
    float16 s = (float16)(0.0f);
#pragma unroll
    for (int v = 0; v < HV; v++) s = fma(LDV(ACT, o, at + 16 * v), LDV(ACT, d_o, at + 16 * v), s);
    delta[(size_t)bh * n + i] = HSUM(s);
}

/* Items (query tiles of QT, B * heads). */
__kernel void attn_dq(const __global act_t *qkv, const __global act_t *d_o, const __global float *lse,
                      const __global float *delta, __global act_t *dqkv, int n, int heads, float scale)
{
    const int bh = (int)get_global_id(1), b = bh / heads, h = bh % heads, d = heads * HD, ld = 3 * d;
    const int q0 = (int)get_global_id(0) * QT, nq = min(QT, n - q0);
    const size_t base = (size_t)b * n * ld + (size_t)h * HD, gbase = (size_t)b * n * d + (size_t)h * HD;
    const __global float *L = lse + (size_t)bh * n, *D = delta + (size_t)bh * n;
    float16 acc[QT][HV], kt[HD], vt[HD];
    for (int i = 0; i < QT; i++)
#pragma unroll
        for (int v = 0; v < HV; v++) acc[i][v] = (float16)(0.0f);
    for (int k0 = 0; k0 < n; k0 += 16) {
        load_across(kt, qkv, base + d, ld, k0, n);
        load_across(vt, qkv, base + 2 * d, ld, k0, n);
        const int nk = min(16, n - k0);
        for (int i = 0; i < nq; i++) {
            const float16 s = dot_across(qkv, base + (size_t)(q0 + i) * ld, kt);
            const float16 t = dot_across(d_o, gbase + (size_t)(q0 + i) * d, vt);
            const float16 ds = exp(s * scale - L[q0 + i]) * (t - D[q0 + i]) * scale;
            float w[16];
            vstore16(ds, 0, w);
            float16 a[HV];
#pragma unroll
            for (int v = 0; v < HV; v++) a[v] = acc[i][v];
            for (int k = 0; k < nk; k++) {
                const size_t at = base + d + (size_t)(k0 + k) * ld;
#pragma unroll
                for (int v = 0; v < HV; v++) a[v] = fma((float16)(w[k]), LDV(ACT, qkv, at + 16 * v), a[v]);
            }
#pragma unroll
            for (int v = 0; v < HV; v++) acc[i][v] = a[v];
        }
    }
    for (int i = 0; i < nq; i++)
#pragma unroll
        for (int v = 0; v < HV; v++) STV(ACT, dqkv, base + (size_t)(q0 + i) * ld + 16 * v, acc[i][v]);
}

/* Items (blocks of 16 keys, B * heads). */
__kernel void attn_dkv(const __global act_t *qkv, const __global act_t *d_o, const __global float *lse,
                       const __global float *delta, __global act_t *dqkv, int n, int heads, float scale)
{
    const int bh = (int)get_global_id(1), b = bh / heads, h = bh % heads, d = heads * HD, ld = 3 * d;
    const int k0 = (int)get_global_id(0) * 16, nk = min(16, n - k0);
    const size_t base = (size_t)b * n * ld + (size_t)h * HD, gbase = (size_t)b * n * d + (size_t)h * HD;
    const __global float *L = lse + (size_t)bh * n, *D = delta + (size_t)bh * n;
    float16 kt[HD], vt[HD], dk[HD], dv[HD];
    load_across(kt, qkv, base + d, ld, k0, n);
    load_across(vt, qkv, base + 2 * d, ld, k0, n);
    for (int c = 0; c < HD; c++) dk[c] = dv[c] = (float16)(0.0f);
    for (int i = 0; i < n; i++) {
        const size_t qa = base + (size_t)i * ld, ga = gbase + (size_t)i * d;
        const float16 s = dot_across(qkv, qa, kt), t = dot_across(d_o, ga, vt);
        const float16 p = exp(s * scale - L[i]), ds = p * (t - D[i]) * scale;
        for (int c = 0; c < HD; c++) {
            dk[c] = fma((float16)(LD(ACT, qkv, qa + c)), ds, dk[c]);
            dv[c] = fma((float16)(LD(ACT, d_o, ga + c)), p, dv[c]);
        }
    }
    const float *fk = (const float *)dk, *fv = (const float *)dv;
    for (int k = 0; k < nk; k++)
        for (int c = 0; c < HD; c++) {
            const size_t at = base + (size_t)(k0 + k) * ld + c;
            ST(ACT, dqkv, at + d, fk[c * 16 + k]);
            ST(ACT, dqkv, at + 2 * d, fv[c * 16 + k]);
        }
}
