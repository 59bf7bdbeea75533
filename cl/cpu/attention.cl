/* Attention for CPU devices: products in register blocks, keys or the head's columns across the vectors. Layouts as in
 * portable/attention.cl; HD is a multiple of 16. DOT: in pairs of bfloat16 (attention_words.h); HD is a multiple of 32.
 *
 * An item owns one head, or in the forward pass every splits-th block of its queries, so nothing is summed in an order that depends
 * on timing. Scores of QR queries lie in QR x KW vectors, sums over keys in SR rows x SW vectors of the head's columns. BLOCK
 * queries are a multiple of both row counts. TURN: the gradients of q and k are turned back as they are stored (tn_rope). */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#include "attention.h"
#ifdef TURN
#define TURN_WIDTH HD
#include "turn.h"
#endif
#define HW    (HD / PER) /* words of a row */
#define BLOCK 48
#define KEYS  48          /* keys of a panel */
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

#include "attention_words.h"

inline void load_row(float16 v[HV], const __global act_t *p)
{
    UNROLL(j, HV) v[j] = LDV(ACT, p, 16 * j);
}

/* KEYS rows from row k0 on (zeros from n on) to a panel [HW][KEYS]. */
inline void pack_across(__global word *panel, const __global act_t *src, int ld, int k0, int n)
{
    for (int s = 0; s < KEYS / 16 && k0 + 16 * s < n; s++) {
        float16 t[HW / 16][16];
        for (int r = 0; r < 16; r++) {
            const int k = k0 + 16 * s + r;
            word16 v[HW / 16];
            load_words(v, src + (size_t)min(k, n - 1) * ld, k < n);
            UNROLL(j, HW / 16) t[j][r] = as_float16(v[j]);
        }
        for (int j = 0; j < HW / 16; j++) {
            transpose16(t[j]);
            for (int c = 0; c < 16; c++) VEC(panel + (16 * j + c) * KEYS, s) = t[j][c];
        }
    }
}

/* `count` rows from row k0 on (zeros from n on) as they lie, PER of them in a row of words [HD]. */
inline void pack_rows(__global word *rows, const __global act_t *src, int ld, int k0, int count, int n)
{
    for (int k = 0; k < count; k += PER) {
        word16 v[HV];
        const size_t at = (size_t)min(k0 + k, n - 1) * ld, next = (size_t)min(k0 + k + 1, n - 1) * ld;
        join_rows(v, src + at, k0 + k < n, src + next, k0 + k + 1 < n);
        UNROLL(j, HV) WVEC(rows + (size_t)(k / PER) * HD, j) = v[j];
    }
}

/* Asks for `count` rows from row k0 on: they lie a whole row of q, k and v apart, where no hardware follows. */
inline void ask_rows(const __global act_t *src, int ld, int k0, int count, int n)
{
    for (int k = k0; k < n && k < k0 + count; k++)
        for (int c = 0; c < HD; c += 64 / (int)sizeof(act_t)) PREFETCH(src + (size_t)k * ld + c);
}

/* QR rows [HW] by W vectors of a panel's keys. */
#define SCORES(acc, W, rows, panel)                                                                                                \
    CLEAR(acc, QR, W);                                                                                                             \
    PRODUCT(word16, ADD_WORDS, acc, QR, W, HW, (rows)[i * HW + k], WVEC((panel) + k * KEYS, j))

/* SR rows [HD] += `count` words of weights w (row i, key k) times vectors of rows `from` [HD], SW vectors of the head's columns
 * at a time. */
#define ADD_WEIGHTED(to, count, w, from)                                                                                           \
    for (int c = 0; c < HV; c += SW) {                                                                                             \
        float16 acc[SR][SW];                                                                                                       \
        UNROLL(i, SR) UNROLL(j, SW) acc[i][j] = VEC((to) + i * HD, c + j);                                                         \
        PRODUCT(word16, ADD_WORDS, acc, SR, SW, count, w, WVEC((from) + k * HD, c + j));                                           \
        UNROLL(i, SR) UNROLL(j, SW) VEC((to) + i * HD, c + j) = acc[i][j];                                                         \
    }

/* ---- forward ---- */

/* One item's scratch: k in panels, v in rows of words, q [BLOCK][HW], scores [BLOCK][SPAN], sums [BLOCK][HD], each row's largest
 * [BLOCK][16]. */
typedef struct {
    __global word *k, *v, *q;
    __global float *s, *sum, *most;
} forward_parts;

inline forward_parts forward_carve(__global float *at, int n)
{
    const int panels = (n + KEYS - 1) / KEYS;
    forward_parts p;
    p.k = (__global word *)at;
    p.v = p.k + (size_t)panels * HW * KEYS;
    p.q = p.v + (size_t)((n + PER - 1) / PER) * HD;
    p.s = (__global float *)(p.q + BLOCK * HW);
    p.sum = p.s + BLOCK * SPAN;
    p.most = p.sum + BLOCK * HD;
    return p;
}

#define KEEP_SCORES(W, at, acc)                                                                                                    \
    UNROLL(i, QR)                                                                                                                  \
    {                                                                                                                              \
        float16 m_ = VEC(most + i * 16, 0);                                                                                        \
        UNROLL(j, W)                                                                                                               \
        {                                                                                                                          \
            VEC(to + i * SPAN, (at) + j) = acc[i][j];                                                                              \
            m_ = greater16(m_, acc[i][j]);                                                                                         \
        }                                                                                                                          \
        VEC(most + i * 16, 0) = m_;                                                                                                \
    }

/* Scores of QR queries with one panel, of which `left` keys are there. */
inline void score_panel(__global float *to, __global float *most, const __global word *q, const __global word *panel, int left)
{
    if (KW > 1 && left >= KEYS) {
        float16 acc[QR][KW];
        SCORES(acc, KW, q, panel);
        KEEP_SCORES(KW, 0, acc)
        return;
    }
    for (int v = 0; v < KEYS / 16 && 16 * v < left; v++) {
        float16 acc[QR][1];
        SCORES(acc, 1, q, panel + 16 * v);
        if (16 * v + 16 > left) UNROLL(i, QR) acc[i][0] = first_lanes(acc[i][0], left - 16 * v, NEG);
        KEEP_SCORES(1, v, acc)
    }
}

/* `vectors` scores become weights 2^(to_log2 (score - m)), as words where the scores begin; their sum, before they are rounded: lse
 * is float32 (o would be nearer by a twentieth of its error with the sum of the rounded ones). */
inline float weigh(__global float *row, int vectors, float m, float to_log2)
{
    float16 a = (float16)(0.0f);
    const float most = m * to_log2;
    for (int v = 0; v < vectors; v++) {
        const float16 e = weight_of(fma(VEC(row, v), (float16)(to_log2), (float16)(-most)));
        KEEP_ROW(row, v, e);
        a += e;
    }
    return sum16(a);
}

/* The keys k0 .. k0 + nk - 1 for nq queries, whose largest score so far and sum of weights are in top and sum. */
inline void forward_span(const forward_parts *p, int k0, int nk, int nq, float to_log2, float top[BLOCK], float sum[BLOCK])
{
    for (int i = 0; i < BLOCK; i++) VEC(p->most, i) = (float16)(NEG);
    for (int k = 0; k < nk; k += KEYS)
        for (int i = 0; i < nq; i += QR)
            score_panel(p->s + i * SPAN + k, p->most + i * 16, p->q + i * HW, p->k + (size_t)(k0 + k) * HW, nk - k);
    for (int i = 0; i < nq; i++) {
        const float m = fmax(top[i], max16(VEC(p->most, i))), fix = exp2((top[i] - m) * to_log2);
        sum[i] = sum[i] * fix + weigh(p->s + i * SPAN, (nk + 15) / 16, m, to_log2);
        top[i] = m;
        if (k0)
            for (int j = 0; j < HV; j++) VEC(p->sum + i * HD, j) = VEC(p->sum + i * HD, j) * fix;
    }
    for (int i0 = 0; i0 < nq; i0 += SR) {
        __global float *to = p->sum + i0 * HD;
        const __global word *w = (const __global word *)(p->s + i0 * SPAN), *v = p->v + (size_t)(k0 / PER) * HD;
        ADD_WEIGHTED(to, (nk + PER - 1) / PER, w[i * SPAN + k], v)
    }
}

/* Items (splits, B * heads). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
attn_forward(const __global act_t *qkv, __global act_t *o, __global float *lse, int n, int heads, float scale, int splits P_SCRATCH)
{
    const int bh = (int)get_global_id(1), b = bh / heads, h = bh % heads, d = heads * HD, ld = 3 * d;
    const __global act_t *q = qkv + (size_t)b * n * ld + (size_t)h * HD;
    const int slot = slot_take(busy, slots);
    const forward_parts p = forward_carve(slot_at(scratch, (size_t)slot * slot_floats), n);
    const float to_log2 = scale * LOG2E;
    for (int k = 0; k < n; k += KEYS) {
        ask_rows(q + d, ld, k + KEYS, KEYS, n);
        ask_rows(q + 2 * d, ld, k, KEYS, n);
        pack_across(p.k + (size_t)k * HW, q + d, ld, k, n);
    }
    ask_rows(q, ld, (int)get_global_id(0) * BLOCK, BLOCK, n);
    pack_rows(p.v, q + 2 * d, ld, 0, n, n);
    for (int q0 = (int)get_global_id(0) * BLOCK; q0 < n; q0 += splits * BLOCK) {
        const int nq = min(BLOCK, n - q0);
        float top[BLOCK], sum[BLOCK];
        for (int i = 0; i < BLOCK; i++) {
            word16 v[HW / 16];
            load_words(v, q + (size_t)min(q0 + i, n - 1) * ld, true);
            UNROLL(j, HW / 16) WVEC(p.q + i * HW, j) = v[j];
            UNROLL(j, HV) VEC(p.sum + i * HD, j) = (float16)(0.0f);
            top[i] = NEG;
            sum[i] = 0.0f;
        }
        ask_rows(q, ld, q0 + splits * BLOCK, BLOCK, n);
        for (int k = 0; k < n; k += SPAN) forward_span(&p, k, min(SPAN, n - k), nq, to_log2, top, sum);
        for (int i = 0; i < nq; i++) {
            const float inv = 1.0f / sum[i];
            UNROLL(j, HV) STV(ACT, o, ((size_t)b * n + q0 + i) * d + (size_t)h * HD + 16 * j, VEC(p.sum + i * HD, j) * inv);
            lse[(size_t)bh * n + q0 + i] = (top[i] * to_log2 + log2(sum[i])) * LN2;
        }
    }
    slot_leave(busy, slot);
}

/* ---- backward: keys outside, queries inside; five products, nothing made twice ---- */

/* One item's scratch, rows being n rounded up to BLOCK: q and d_o [rows][HW], dq [rows][HD], delta and lse in base 2 [rows]; of a
 * panel k and v across and dk and dv [KEYS][HD]; k, q and d_o in rows of words (where a word is an element, q and d_o are). P and
 * dS as words along the queries; S_keys is dS along the keys (likewise dS itself). */
typedef struct {
    __global word *q, *g, *q_rows, *g_rows, *k_across, *v_across, *k_rows, *P, *S, *S_keys;
    __global float *dq, *dk, *dv, *delta, *lse;
} backward_parts;

inline backward_parts backward_carve(__global float *at, int n)
{
    const size_t rows = (size_t)(n + BLOCK - 1) / BLOCK * BLOCK;
    backward_parts p;
    p.q = (__global word *)at;
    p.g = p.q + rows * HW;
    p.q_rows = PER > 1 ? p.g + rows * HW : p.q;
    p.g_rows = p.q_rows + rows * HW;
    p.k_across = p.g_rows + rows * HW;
    p.v_across = p.k_across + HW * KEYS;
    p.k_rows = p.v_across + HW * KEYS;
    p.P = p.k_rows + HW * KEYS;
    p.S = p.P + BLOCK / PER * KEYS;
    p.S_keys = PER > 1 ? p.S + BLOCK / PER * KEYS : p.S;
    p.dq = (__global float *)(p.S_keys + BLOCK / PER * KEYS);
    p.dk = p.dq + rows * HD;
    p.dv = p.dk + HD * KEYS;
    p.delta = p.dv + HD * KEYS;
    p.lse = p.delta + rows;
    return p;
}

/* P = 2^(scores - lse) and dS = P (d_o v^T - delta) of QR queries by W vectors of keys; of the last vector `left` keys are there.
 * Powers are taken one row of words at a time, from memory: all at once they would not fit the registers. */
#define WEIGHTS(W, at, left)                                                                                                       \
    {                                                                                                                              \
        float16 acc[QR][W], w[QR][W];                                                                                              \
        SCORES(acc, W, q, kp + 16 * (at));                                                                                         \
        UNROLL(i, QR) UNROLL(j, W) w[i][j] = acc[i][j];                                                                            \
        _Pragma("nounroll") for (int i = 0; i < QR; i += PER)                                                                      \
        {                                                                                                                          \
            UNROLL(r, PER) UNROLL(j, W) w[i + r][j] = weight_of(w[i + r][j] * to_log2 - lse[i + r]);                               \
            UNROLL(j, W) WVEC(P + i / PER * KEYS, (at) + j) = join_lanes(w[i][j], w[i + PER - 1][j]);                              \
        }                                                                                                                          \
        SCORES(acc, W, g, vp + 16 * (at));                                                                                         \
        UNROLL(i, QR) UNROLL(j, W) acc[i][j] = w[i][j] * (acc[i][j] - delta[i]);                                                   \
        if (left < 16) UNROLL(i, QR) acc[i][W - 1] = first_lanes(acc[i][W - 1], left, 0.0f);                                       \
        UNROLL(i, QR / PER)                                                                                                        \
        UNROLL(j, W) WVEC(S + i * KEYS, (at) + j) = join_lanes(acc[PER * i][j], acc[PER * i + PER - 1][j]);                        \
        if (PER > 1) UNROLL(i, QR) UNROLL(j, W) KEEP_ROW(S_keys + i * (KEYS / PER), (at) + j, acc[i][j]);                          \
    }

inline void backward_weights(const backward_parts *p, int q0, int i0, int nk, float to_log2)
{
    const __global word *q = p->q + (size_t)(q0 + i0) * HW, *g = p->g + (size_t)(q0 + i0) * HW, *kp = p->k_across,
                        *vp = p->v_across;
    const __global float *lse = p->lse + q0 + i0, *delta = p->delta + q0 + i0;
    __global word *P = p->P + i0 / PER * KEYS, *S = p->S + i0 / PER * KEYS, *S_keys = p->S_keys + i0 * (KEYS / PER);
    if (KW > 1 && nk == KEYS) WEIGHTS(KW, 0, 16)
    else
        for (int v = 0; 16 * v < nk; v++) WEIGHTS(1, v, nk - 16 * v)
}

/* BLOCK queries from q0 on, of which nq are there, with the nk keys of a panel. */
inline void backward_block(const backward_parts *p, int q0, int nq, int nk, float to_log2)
{
    const __global word *qb = p->q_rows + (size_t)q0 * HW, *gb = p->g_rows + (size_t)q0 * HW;
    for (int i = 0; i < nq; i += QR) backward_weights(p, q0, i, nk, to_log2);
    for (int c0 = 0; c0 < nk; c0 += SR) {
        __global float *dk = p->dk + c0 * HD, *dv = p->dv + c0 * HD;
        const __global word *P = p->P + c0, *S = p->S + c0;
        ADD_WEIGHTED(dv, (nq + PER - 1) / PER, P[k * KEYS + i], gb)
        ADD_WEIGHTED(dk, (nq + PER - 1) / PER, S[k * KEYS + i], qb)
    }
    for (int i0 = 0; i0 < nq; i0 += SR) {
        __global float *dq = p->dq + (size_t)(q0 + i0) * HD;
        const __global word *S = p->S_keys + i0 * (KEYS / PER), *rows = p->k_rows;
        ADD_WEIGHTED(dq, (nk + PER - 1) / PER, S[i * (KEYS / PER) + k], rows)
    }
}

/* Row i of a head: q and d_o to scratch (zeros from n on), delta = sum o d_o. */
inline void backward_row(const backward_parts *p, const __global act_t *q, const __global act_t *o, const __global act_t *d_o,
                         int i, bool there)
{
    word16 v[HW / 16], g[HW / 16];
    float16 x[HV], s = (float16)(0.0f);
    load_words(v, q, there);
    load_words(g, d_o, there);
    load_row(x, d_o);
    UNROLL(j, HW / 16)
    {
        WVEC(p->q + (size_t)i * HW, j) = v[j];
        WVEC(p->g + (size_t)i * HW, j) = g[j];
    }
    UNROLL(j, HV)
    {
        s = fma(x[j], LDV(ACT, o, 16 * j), s);
        VEC(p->dq + (size_t)i * HD, j) = (float16)(0.0f);
    }
    p->delta[i] = there ? sum16(s) : 0.0f;
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
    if (PER > 1) {
        pack_rows(p.q_rows, qkv + base, ld, 0, n, n);
        pack_rows(p.g_rows, d_o + gbase, d, 0, n, n);
    }
    for (int k0 = 0; k0 < n; k0 += KEYS) {
        const int nk = min(KEYS, n - k0);
        pack_across(p.k_across, qkv + base + d, ld, k0, n);
        pack_across(p.v_across, qkv + base + 2 * d, ld, k0, n);
        pack_rows(p.k_rows, qkv + base + d, ld, k0, nk, n);
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
