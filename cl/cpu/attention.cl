/* Attention for CPU devices: products in register blocks, keys or the head's columns across the vectors. Layouts as in
 * portable/attention.cl; HD is a multiple of 16.
 *
 * An item owns one head, or in the forward pass every splits-th block of its queries, so nothing is summed in an order that depends
 * on timing. Scores of QR queries lie in QR x KW vectors, sums over keys in SR rows x SW vectors of the head's columns. BLOCK queries
 * are a multiple of both row counts. TURN: the gradients of q and k are turned back as they are stored (tn_rope). */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#include "turn.h"
#ifndef HD
#define HD 64
#endif
#define HV    (HD / 16)
#define BLOCK 48
#define KEYS  48 /* keys of a panel */
#define SPAN  (13 * KEYS) /* keys whose scores are held at once in the forward pass */
#define SR    6
#if WIDE
#define QR 8
#define KW 3
#define SW (HV % 4 == 0 ? 4 : HV % 3 == 0 ? 3 : HV % 2 == 0 ? 2 : 1)
#else
#define QR 6
#define KW 1
#define SW 1
#endif
#define NEG   (-3.0e38f)
#define LOG2E 1.44269504088896341f
#define LN2   0.69314718055994531f

inline void load_row(float16 v[HV], const __global act_t *p, float scale)
{
    UNROLL(j, HV) v[j] = LDV(ACT, p, 16 * j) * scale;
}

/* KEYS rows from row k0 on (zeros from n on) to a panel [HD][KEYS]; where `rows` is given, also as they lie, [KEYS][HD]. */
inline void pack_across(__global float *panel, __global float *rows, const __global act_t *src, int ld, int k0, int n)
{
    for (int s = 0; s < KEYS / 16 && k0 + 16 * s < n; s++) {
        float16 t[HV][16];
        for (int r = 0; r < 16; r++) {
            const int k = k0 + 16 * s + r;
            float16 v[HV];
            load_row(v, src + (size_t)min(k, n - 1) * ld, k < n ? 1.0f : 0.0f);
            UNROLL(j, HV)
            {
                t[j][r] = v[j];
                if (rows) VEC(rows + (16 * s + r) * HD, j) = v[j];
            }
        }
        for (int j = 0; j < HV; j++) {
            transpose16(t[j]);
            for (int c = 0; c < 16; c++) VEC(panel + (16 * j + c) * KEYS, s) = t[j][c];
        }
    }
}

/* QR rows [HD] by W vectors of a panel's keys. */
#define SCORES(acc, W, rows, panel)                                                                                                \
    CLEAR(acc, QR, W);                                                                                                             \
    PRODUCT(acc, QR, W, HD, (rows)[i * HD + k], VEC((panel) + k * KEYS, j))

/* SR rows [HD] += `count` weights w (row i, key k) times vectors of rows `from` [HD], SW vectors of the head's columns at a time. */
#define ADD_WEIGHTED(to, count, w, from)                                                                                           \
    for (int c = 0; c < HV; c += SW) {                                                                                             \
        float16 acc[SR][SW];                                                                                                       \
        UNROLL(i, SR) UNROLL(j, SW) acc[i][j] = VEC((to) + i * HD, c + j);                                                         \
        PRODUCT(acc, SR, SW, count, w, VEC((from) + k * HD, c + j));                                                               \
        UNROLL(i, SR) UNROLL(j, SW) VEC((to) + i * HD, c + j) = acc[i][j];                                                         \
    }

/* ---- forward ---- */

/* One item's scratch: k in panels, v [n][HD], scores [BLOCK][SPAN], q and the sums [BLOCK][HD], each row's largest [BLOCK][16]. */
typedef struct {
    __global float *k, *v, *s, *q, *sum, *most;
} forward_parts;

inline forward_parts forward_carve(__global float *at, int n)
{
    const int panels = (n + KEYS - 1) / KEYS;
    forward_parts p;
    p.k = at;
    p.v = p.k + (size_t)panels * HD * KEYS;
    p.s = p.v + (size_t)n * HD;
    p.q = p.s + BLOCK * SPAN;
    p.sum = p.q + BLOCK * HD;
    p.most = p.sum + BLOCK * HD;
    return p;
}

#define KEEP_SCORE(W, at, value)                                                                                                   \
    VEC(to + i * SPAN, at) = value;                                                                                                \
    VEC(most + i * 16, 0) = greater16(VEC(most + i * 16, 0), value);

/* Scores of QR queries with one panel, of which `left` keys are there. */
inline void score_panel(__global float *to, __global float *most, const __global float *q, const __global float *panel, int left)
{
    if (KW > 1 && left >= KEYS) {
        float16 acc[QR][KW];
        SCORES(acc, KW, q, panel);
        UNROLL(i, QR) UNROLL(j, KW) { KEEP_SCORE(KW, j, acc[i][j]) }
        return;
    }
    for (int v = 0; v < KEYS / 16 && 16 * v < left; v++) {
        float16 acc[QR][1];
        SCORES(acc, 1, q, panel + 16 * v);
        UNROLL(i, QR)
        {
            const float16 x = 16 * v + 16 <= left ? acc[i][0] : first_lanes(acc[i][0], left - 16 * v, NEG);
            KEEP_SCORE(1, v, x)
        }
    }
}

/* `vectors` scores become weights 2^(score - m); their sum. */
inline float weigh(__global float *row, int vectors, float m)
{
    float16 a = (float16)(0.0f);
    for (int v = 0; v < vectors; v++) {
        const float16 e = exp2_fast(VEC(row, v) - m);
        VEC(row, v) = e;
        a += e;
    }
    return sum16(a);
}

/* The keys k0 .. k0 + nk - 1 for nq queries, whose largest score so far and sum of weights are in top and sum. */
inline void forward_span(const forward_parts *p, int k0, int nk, int nq, float top[BLOCK], float sum[BLOCK])
{
    for (int i = 0; i < BLOCK; i++) VEC(p->most, i) = (float16)(NEG);
    for (int k = 0; k < nk; k += KEYS)
        for (int i = 0; i < nq; i += QR)
            score_panel(p->s + i * SPAN + k, p->most + i * 16, p->q + i * HD, p->k + (size_t)(k0 + k) * HD, nk - k);
    for (int i = 0; i < nq; i++) {
        const float m = fmax(top[i], max16(VEC(p->most, i))), fix = exp2(top[i] - m);
        sum[i] = sum[i] * fix + weigh(p->s + i * SPAN, (nk + 15) / 16, m);
        top[i] = m;
        if (k0)
            for (int j = 0; j < HV; j++) VEC(p->sum + i * HD, j) = VEC(p->sum + i * HD, j) * fix;
    }
    for (int i0 = 0; i0 < nq; i0 += SR) {
        __global float *to = p->sum + i0 * HD;
        const __global float *w = p->s + i0 * SPAN, *v = p->v + (size_t)k0 * HD;
        ADD_WEIGHTED(to, nk, w[i * SPAN + k], v)
    }
}

/* Items (splits, B * heads). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void attn_forward(const __global act_t *qkv, __global act_t *o,
                                                                          __global float *lse, int n, int heads, float scale,
                                                                          int splits P_SCRATCH)
{
    const int bh = (int)get_global_id(1), b = bh / heads, h = bh % heads, d = heads * HD, ld = 3 * d;
    const __global act_t *q = qkv + (size_t)b * n * ld + (size_t)h * HD;
    const int slot = slot_take(busy, slots);
    const forward_parts p = forward_carve(slot_at(scratch, (size_t)slot * slot_floats), n);
    for (int k = 0; k < n; k += KEYS) pack_across(p.k + (size_t)k * HD, 0, q + d, ld, k, n);
    for (int k = 0; k < n; k++) UNROLL(j, HV) VEC(p.v + (size_t)k * HD, j) = LDV(ACT, q, 2 * d + (size_t)k * ld + 16 * j);
    for (int q0 = (int)get_global_id(0) * BLOCK; q0 < n; q0 += splits * BLOCK) {
        const int nq = min(BLOCK, n - q0);
        float top[BLOCK], sum[BLOCK];
        for (int i = 0; i < BLOCK; i++) {
            float16 v[HV];
            load_row(v, q + (size_t)min(q0 + i, n - 1) * ld, scale * LOG2E);
            UNROLL(j, HV)
            {
                VEC(p.q + i * HD, j) = v[j];
                VEC(p.sum + i * HD, j) = (float16)(0.0f);
            }
            top[i] = NEG;
            sum[i] = 0.0f;
        }
        for (int k = 0; k < n; k += SPAN) forward_span(&p, k, min(SPAN, n - k), nq, top, sum);
        for (int i = 0; i < nq; i++) {
            const float inv = 1.0f / sum[i];
            UNROLL(j, HV) STV(ACT, o, ((size_t)b * n + q0 + i) * d + (size_t)h * HD + 16 * j, VEC(p.sum + i * HD, j) * inv);
            lse[(size_t)bh * n + q0 + i] = (top[i] + log2(sum[i])) * LN2;
        }
    }
    slot_leave(busy, slot);
}

/* ---- backward: keys outside, queries inside; five products, nothing made twice ---- */

#ifdef TURN
#define P_TURN , const __global float2 *table, int skip
/* A row of q's or k's gradient turned back by the angles of token t; table [n - skip, HD/2] of (cos, sin). */
#define TURN_BACK(v, t)                                                                                                            \
    if ((t) >= skip) turn_columns(v, table + (size_t)((t) - skip) * (HD / 2), HD, -1.0f)
#else
#define P_TURN
#define TURN_BACK(v, t)
#endif

/* One item's scratch: q, d_o and dq [rows][HD], rows being n rounded up to BLOCK; of a panel, k and v across, k, dk and dv [KEYS][HD];
 * P and dS [BLOCK][KEYS]; delta and lse in base 2 [rows]. */
typedef struct {
    __global float *q, *g, *dq, *k_across, *v_across, *k, *dk, *dv, *P, *S, *delta, *lse;
} backward_parts;

inline backward_parts backward_carve(__global float *at, int n)
{
    const size_t rows = (size_t)(n + BLOCK - 1) / BLOCK * BLOCK;
    backward_parts p;
    p.q = at;
    p.g = p.q + rows * HD;
    p.dq = p.g + rows * HD;
    p.k_across = p.dq + rows * HD;
    p.v_across = p.k_across + HD * KEYS;
    p.k = p.v_across + HD * KEYS;
    p.dk = p.k + HD * KEYS;
    p.dv = p.dk + HD * KEYS;
    p.P = p.dv + HD * KEYS;
    p.S = p.P + BLOCK * KEYS;
    p.delta = p.S + BLOCK * KEYS;
    p.lse = p.delta + rows;
    return p;
}

/* P = 2^(scores - lse) and dS = P (d_o v^T - delta) of QR queries by W vectors of keys. */
#define WEIGHTS(W, at)                                                                                                             \
    {                                                                                                                              \
        float16 acc[QR][W];                                                                                                        \
        SCORES(acc, W, q, kp + 16 * (at));                                                                                         \
        UNROLL(i, QR) UNROLL(j, W) VEC(P + i * KEYS, (at) + j) = exp2_fast(acc[i][j] * to_log2 - lse[i]);                          \
        SCORES(acc, W, g, vp + 16 * (at));                                                                                         \
        UNROLL(i, QR) UNROLL(j, W) VEC(S + i * KEYS, (at) + j) = VEC(P + i * KEYS, (at) + j) * (acc[i][j] - delta[i]);             \
    }

inline void backward_weights(const backward_parts *p, int q0, int i0, int nk, float to_log2)
{
    const __global float *q = p->q + (size_t)(q0 + i0) * HD, *g = p->g + (size_t)(q0 + i0) * HD, *kp = p->k_across,
                         *vp = p->v_across, *lse = p->lse + q0 + i0, *delta = p->delta + q0 + i0;
    __global float *P = p->P + i0 * KEYS, *S = p->S + i0 * KEYS;
    if (KW > 1 && nk == KEYS) WEIGHTS(KW, 0)
    else
        for (int v = 0; 16 * v < nk; v++) WEIGHTS(1, v)
}

/* BLOCK queries from q0 on, of which nq are there, with the nk keys of a panel. */
inline void backward_block(const backward_parts *p, int q0, int nq, int nk, float to_log2)
{
    const __global float *qb = p->q + (size_t)q0 * HD, *gb = p->g + (size_t)q0 * HD;
    for (int i = 0; i < nq; i += QR) backward_weights(p, q0, i, nk, to_log2);
    for (int c0 = 0; c0 < nk; c0 += SR) {
        __global float *dk = p->dk + c0 * HD, *dv = p->dv + c0 * HD;
        const __global float *P = p->P + c0, *S = p->S + c0;
        ADD_WEIGHTED(dv, nq, P[k * KEYS + i], gb)
        ADD_WEIGHTED(dk, nq, S[k * KEYS + i], qb)
    }
    for (int i0 = 0; i0 < nq; i0 += SR) {
        __global float *dq = p->dq + (size_t)(q0 + i0) * HD;
        const __global float *S = p->S + i0 * KEYS, *rows = p->k;
        ADD_WEIGHTED(dq, nk, S[i * KEYS + k], rows)
    }
}

/* Row i of a head: q and d_o to scratch (zeros from n on), delta = sum o d_o. */
inline void backward_row(const backward_parts *p, const __global act_t *q, const __global act_t *o, const __global act_t *d_o,
                         int i, bool there)
{
    float16 v[HV], g[HV], s = (float16)(0.0f);
    load_row(v, q, there ? 1.0f : 0.0f);
    load_row(g, d_o, there ? 1.0f : 0.0f);
    UNROLL(j, HV)
    {
        s = fma(g[j], LDV(ACT, o, 16 * j), s);
        VEC(p->q + (size_t)i * HD, j) = v[j];
        VEC(p->g + (size_t)i * HD, j) = g[j];
        VEC(p->dq + (size_t)i * HD, j) = (float16)(0.0f);
    }
    p->delta[i] = sum16(s);
}

/* Items (1, B * heads). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void attn_backward(const __global act_t *qkv, const __global act_t *o,
                                                                           const __global act_t *d_o, const __global float *lse,
                                                                           __global act_t *dqkv, int n, int heads,
                                                                           float scale P_SCRATCH P_TURN)
{
    const int bh = (int)get_global_id(1), b = bh / heads, h = bh % heads, d = heads * HD, ld = 3 * d;
    const size_t base = (size_t)b * n * ld + (size_t)h * HD, gbase = (size_t)b * n * d + (size_t)h * HD;
    const int slot = slot_take(busy, slots), rows = (n + BLOCK - 1) / BLOCK * BLOCK;
    const backward_parts p = backward_carve(slot_at(scratch, (size_t)slot * slot_floats), n);
    for (int i = 0; i < rows; i++) {
        const size_t at = (size_t)min(i, n - 1);
        backward_row(&p, qkv + base + at * ld, o + gbase + at * d, d_o + gbase + at * d, i, i < n);
        p.lse[i] = i < n ? lse[(size_t)bh * n + i] * LOG2E : 0.0f;
    }
    for (int k0 = 0; k0 < n; k0 += KEYS) {
        const int nk = min(KEYS, n - k0);
        pack_across(p.k_across, p.k, qkv + base + d, ld, k0, n);
        pack_across(p.v_across, 0, qkv + base + 2 * d, ld, k0, n);
        for (int i = 0; i < 2 * KEYS * HV; i++) VEC(p.dk, i) = (float16)(0.0f); /* dv lies behind dk */
        for (int q0 = 0; q0 < n; q0 += BLOCK) backward_block(&p, q0, min(BLOCK, n - q0), nk, scale * LOG2E);
        for (int k = 0; k < nk; k++) {
            float16 v[HV];
            const size_t to = base + d + (size_t)(k0 + k) * ld;
            UNROLL(j, HV) v[j] = VEC(p.dk + k * HD, j) * scale;
            TURN_BACK(v, k0 + k);
            UNROLL(j, HV)
            {
                STV(ACT, dqkv, to + 16 * j, v[j]);
                STV(ACT, dqkv, to + d + 16 * j, VEC(p.dv + k * HD, j));
            }
        }
    }
    for (int i = 0; i < n; i++) {
        float16 v[HV];
        UNROLL(j, HV) v[j] = VEC(p.dq + (size_t)i * HD, j) * scale;
        TURN_BACK(v, i);
        UNROLL(j, HV) STV(ACT, dqkv, base + (size_t)i * ld + 16 * j, v[j]);
    }
    slot_leave(busy, slot);
}
