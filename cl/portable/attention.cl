/* Multi-head attention without the N x N matrix (online softmax; Dao et al., FlashAttention, 2022).
 *
 * qkv [B*N, 3*D]: q | k | v, D = heads * HD. o [B*N, D]. lse [B*heads, N]: log of the softmax's denominator, kept for
 * the backward pass, which recomputes the probabilities. 64 items a group, as 8 x 8; T: queries and keys a tile. */
#include "common.h"
#ifndef HD
#define HD 64
#endif
#define HP ((HD + 7) / 8 * 8)
#ifndef TF
#define TF (HD <= 64 ? 32 : 16) /* forward tile: 3 tiles in local memory stay under 32 KiB */
#endif
#ifndef TB
#define TB (HD <= 64 ? 16 : 8) /* backward tile: 4 tiles and 2 squares */
#endif
#define ITEMS 64
#define NEG (-3.0e38f)

/* Rows [first, first + rows) of one head into local memory; zeros beyond n and beyond HD. */
inline void load_tile(__local float *dst, const __global act_t *src, size_t base, int ld, int first, int rows, int n)
{
    for (int e = (int)get_local_id(0); e < rows * HP; e += ITEMS) {
        const int r = e / HP, c = e % HP;
        dst[e] = (c < HD && first + r < n) ? LD(ACT, src, base + (size_t)(first + r) * ld + c) : 0.0f;
    }
}

/* Items (64 * query tiles, B * heads). Each item keeps the maximum and the sum of its rows; the 8 items of a row hold
 * the same values, so that no item ever waits in a branch. */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void attn_forward(const __global act_t *qkv, __global act_t *o, __global float *lse, int n, int heads, float scale)
{
    __local float q[TF * HP], kv[TF * HP], p[TF * (TF + 1)];
    const int l = (int)get_local_id(0), tx = l % 8, ty = l / 8;
    const int bh = (int)get_global_id(1), b = bh / heads, h = bh % heads, d = heads * HD, ld = 3 * d;
    const int q0 = (int)(get_global_id(0) / ITEMS) * TF;
    const size_t base = (size_t)b * n * ld + (size_t)h * HD;
    float acc[TF / 8][HP / 8], top[TF / 8], sum[TF / 8], fix[TF / 8], s[TF / 8][TF / 8];
    for (int i = 0; i < TF / 8; i++) {
        top[i] = NEG;
        sum[i] = 0.0f;
        for (int j = 0; j < HP / 8; j++) acc[i][j] = 0.0f;
    }
    load_tile(q, qkv, base, ld, q0, TF, n);
    for (int k0 = 0; k0 < n; k0 += TF) {
        barrier(CLK_LOCAL_MEM_FENCE);
        load_tile(kv, qkv, base + d, ld, k0, TF, n);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = 0; i < TF / 8; i++)
            for (int j = 0; j < TF / 8; j++) {
                const int r = ty + 8 * i, c = tx + 8 * j;
                float v = 0.0f;
                for (int x = 0; x < HD; x++) v = fma(q[r * HP + x], kv[c * HP + x], v);
                s[i][j] = k0 + c < n ? v * scale : NEG;
                p[r * (TF + 1) + c] = s[i][j];
            }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = 0; i < TF / 8; i++) {
            float m = top[i];
            for (int c = 0; c < TF; c++) m = fmax(m, p[(ty + 8 * i) * (TF + 1) + c]);
            fix[i] = exp(top[i] - m);
            top[i] = m;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = 0; i < TF / 8; i++)
            for (int j = 0; j < TF / 8; j++)
                p[(ty + 8 * i) * (TF + 1) + tx + 8 * j] = k0 + tx + 8 * j < n ? exp(s[i][j] - top[i]) : 0.0f;
        load_tile(kv, qkv, base + 2 * d, ld, k0, TF, n);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = 0; i < TF / 8; i++) {
            const int r = (ty + 8 * i) * (TF + 1);
            sum[i] *= fix[i];
            for (int c = 0; c < TF; c++) sum[i] += p[r + c];
            for (int j = 0; j < HP / 8; j++) {
                float v = acc[i][j] * fix[i];
                for (int c = 0; c < TF; c++) v = fma(p[r + c], kv[c * HP + tx + 8 * j], v);
                acc[i][j] = v;
            }
        }
    }
    for (int i = 0; i < TF / 8; i++) {
        const int r = q0 + ty + 8 * i;
        if (r >= n) continue;
        for (int j = 0; j < HP / 8; j++)
            if (tx + 8 * j < HD)
                ST(ACT, o, ((size_t)b * n + r) * d + (size_t)h * HD + tx + 8 * j, acc[i][j] / sum[i]);
        if (tx == 0) lse[(size_t)bh * n + r] = top[i] + log(sum[i]);
    }
}

/* delta[bh, i] = sum over the head's columns of dO * O. Items (N, B * heads). */
__kernel void attn_delta(const __global act_t *o, const __global act_t *d_o, __global float *delta, int n, int heads)
{
    const int i = (int)get_global_id(0), bh = (int)get_global_id(1);
    if (i >= n) return;
    const size_t at = ((size_t)(bh / heads) * n + i) * heads * HD + (size_t)(bh % heads) * HD;
    float s = 0.0f;
    for (int c = 0; c < HD; c++) s = fma(LD(ACT, o, at + c), LD(ACT, d_o, at + c), s);
    delta[(size_t)bh * n + i] = s;
}

/* Probabilities and dS of one (query tile, key tile); both squares are [query][key]. */
inline void score_tiles(__local float *p, __local float *ds, const __local float *q, const __local float *k,
                        const __local float *v, const __local float *g, const __global float *lse,
                        const __global float *delta, int q0, int k0, int n, float scale)
{
    const int l = (int)get_local_id(0), tx = l % 8, ty = l / 8;
    for (int i = 0; i < TB / 8; i++)
        for (int j = 0; j < TB / 8; j++) {
            const int r = ty + 8 * i, c = tx + 8 * j;
            float s = 0.0f, t = 0.0f;
            for (int x = 0; x < HD; x++) {
                s = fma(q[r * HP + x], k[c * HP + x], s);
                t = fma(g[r * HP + x], v[c * HP + x], t);
            }
            const int in = q0 + r < n && k0 + c < n;
            const float e = in ? exp(s * scale - lse[q0 + r]) : 0.0f;
            p[r * (TB + 1) + c] = e;
            ds[r * (TB + 1) + c] = in ? e * (t - delta[q0 + r]) * scale : 0.0f;
        }
}

/* dq of a query tile. Items (64 * query tiles, B * heads). */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void attn_dq(const __global act_t *qkv, const __global act_t *d_o, const __global float *lse,
             const __global float *delta, __global act_t *dqkv, int n, int heads, float scale)
{
    __local float q[TB * HP], k[TB * HP], v[TB * HP], g[TB * HP], p[TB * (TB + 1)], ds[TB * (TB + 1)];
    const int l = (int)get_local_id(0), tx = l % 8, ty = l / 8;
    const int bh = (int)get_global_id(1), b = bh / heads, h = bh % heads, d = heads * HD, ld = 3 * d;
    const int q0 = (int)(get_global_id(0) / ITEMS) * TB;
    const size_t base = (size_t)b * n * ld + (size_t)h * HD;
    float acc[TB / 8][HP / 8];
    for (int i = 0; i < TB / 8; i++)
        for (int j = 0; j < HP / 8; j++) acc[i][j] = 0.0f;
    load_tile(q, qkv, base, ld, q0, TB, n);
    load_tile(g, d_o, (size_t)b * n * d + (size_t)h * HD, d, q0, TB, n);
    for (int k0 = 0; k0 < n; k0 += TB) {
        barrier(CLK_LOCAL_MEM_FENCE);
        load_tile(k, qkv, base + d, ld, k0, TB, n);
        load_tile(v, qkv, base + 2 * d, ld, k0, TB, n);
        barrier(CLK_LOCAL_MEM_FENCE);
        score_tiles(p, ds, q, k, v, g, lse + (size_t)bh * n, delta + (size_t)bh * n, q0, k0, n, scale);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = 0; i < TB / 8; i++)
            for (int j = 0; j < HP / 8; j++)
                for (int c = 0; c < TB; c++)
                    acc[i][j] = fma(ds[(ty + 8 * i) * (TB + 1) + c], k[c * HP + tx + 8 * j], acc[i][j]);
    }
    for (int i = 0; i < TB / 8; i++)
        for (int j = 0; j < HP / 8; j++)
            if (q0 + ty + 8 * i < n && tx + 8 * j < HD)
                ST(ACT, dqkv, base + (size_t)(q0 + ty + 8 * i) * ld + tx + 8 * j, acc[i][j]);
}

/* dk and dv of a key tile. Items (64 * key tiles, B * heads). */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void attn_dkv(const __global act_t *qkv, const __global act_t *d_o, const __global float *lse,
              const __global float *delta, __global act_t *dqkv, int n, int heads, float scale)
{
    __local float q[TB * HP], k[TB * HP], v[TB * HP], g[TB * HP], p[TB * (TB + 1)], ds[TB * (TB + 1)];
    const int l = (int)get_local_id(0), tx = l % 8, ty = l / 8;
    const int bh = (int)get_global_id(1), b = bh / heads, h = bh % heads, d = heads * HD, ld = 3 * d;
    const int k0 = (int)(get_global_id(0) / ITEMS) * TB;
    const size_t base = (size_t)b * n * ld + (size_t)h * HD;
    float dk[TB / 8][HP / 8], dv[TB / 8][HP / 8];
    for (int i = 0; i < TB / 8; i++)
        for (int j = 0; j < HP / 8; j++) dk[i][j] = dv[i][j] = 0.0f;
    load_tile(k, qkv, base + d, ld, k0, TB, n);
    load_tile(v, qkv, base + 2 * d, ld, k0, TB, n);
    for (int q0 = 0; q0 < n; q0 += TB) {
        barrier(CLK_LOCAL_MEM_FENCE);
        load_tile(q, qkv, base, ld, q0, TB, n);
        load_tile(g, d_o, (size_t)b * n * d + (size_t)h * HD, d, q0, TB, n);
        barrier(CLK_LOCAL_MEM_FENCE);
        score_tiles(p, ds, q, k, v, g, lse + (size_t)bh * n, delta + (size_t)bh * n, q0, k0, n, scale);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = 0; i < TB / 8; i++)
            for (int j = 0; j < HP / 8; j++)
                for (int r = 0; r < TB; r++) {
                    dk[i][j] = fma(ds[r * (TB + 1) + ty + 8 * i], q[r * HP + tx + 8 * j], dk[i][j]);
                    dv[i][j] = fma(p[r * (TB + 1) + ty + 8 * i], g[r * HP + tx + 8 * j], dv[i][j]);
                }
    }
    for (int i = 0; i < TB / 8; i++)
        for (int j = 0; j < HP / 8; j++)
            if (k0 + ty + 8 * i < n && tx + 8 * j < HD) {
                const size_t at = base + (size_t)(k0 + ty + 8 * i) * ld + tx + 8 * j;
                ST(ACT, dqkv, at + d, dk[i][j]);
                ST(ACT, dqkv, at + 2 * d, dv[i][j]);
            }
}
