/* LayerNorm on CPU devices: an item walks down ROWS rows, which memory has in a line; sums in four vectors at once. Arguments and
 * results as in portable/layernorm.cl; cols is a multiple of 16. SCALED: the backward leaves scaled = scale * dx too. */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#ifndef ROWS
#define ROWS 16
#endif

/* s[0..3] += `add`, an expression in c: the four in turn, so that no sum waits for the last one. */
#define SUM_ROW(cols, S, add)                                                                                                      \
    {                                                                                                                              \
        int c0 = 0;                                                                                                                \
        for (; c0 + 64 <= (cols); c0 += 64) UNROLL(u, 4)                                                                           \
            {                                                                                                                      \
                const int c = c0 + 16 * u;                                                                                         \
                S(u, add)                                                                                                          \
            }                                                                                                                      \
        for (int c = c0; c < (cols); c += 16) { S(0, add) }                                                                        \
    }
#define JOINED(s) sum16((s[0] + s[1]) + (s[2] + s[3]))
#define EMPTY(s)  UNROLL(u, 4) s[u] = (float16)(0.0f)

/* The sum of squared deviations from the mean. */
inline float squares(const __global act_t *from, int cols, float mean)
{
    float16 s[4];
    EMPTY(s);
#define ADD_SQUARE(u, v)                                                                                                           \
    const float16 d = v - mean;                                                                                                    \
    s[u] = fma(d, d, s[u]);
    SUM_ROW(cols, ADD_SQUARE, LDV(ACT, from, c))
    return JOINED(s);
}

/* A row's sum and the sum of squared deviations from its mean. */
#if ACT == 1 && defined(ROUNDS_BF16)
/* In pairs, which need no float32 of their elements; a mean far from 0 leaves too little of the squares. */
inline float2 sums_of(const __global act_t *from, int cols)
{
    const uint16 ones = (uint16)(0x3f803f80u);
    float16 s[2], q[2];
    UNROLL(u, 2) s[u] = q[u] = (float16)(0.0f);
    int c = 0;
    for (; c + 64 <= cols; c += 64) UNROLL(u, 2)
        {
            const uint16 x = ((const __global loose_pairs *)(from + c))[u].v;
            ADD_DOT(s[u], x, ones);
            ADD_DOT(q[u], x, x);
        }
    for (; c < cols; c += 16) {
        const float16 x = LDV(ACT, from, c);
        s[0] += x;
        q[0] = fma(x, x, q[0]);
    }
    const float sum = sum16(s[0] + s[1]), mean = sum / cols, all = sum16(q[0] + q[1]), left = all - mean * sum;
    return (float2)(sum, 2 * left > all ? left : squares(from, cols, mean));
}
#else
inline float2 sums_of(const __global act_t *from, int cols)
{
    float16 s[4];
    EMPTY(s);
#define ADD(u, v) s[u] += v;
    SUM_ROW(cols, ADD, LDV(ACT, from, c))
    const float sum = JOINED(s);
    return (float2)(sum, squares(from, cols, sum / cols));
}
#endif

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void ln_forward(const __global act_t *x, const __global float *gamma,
                                                                        const __global float *beta, __global act_t *y,
                                                                        __global float2 *stats, int cols, float eps, int rows)
{
    const int first = (int)get_global_id(0) * ROWS, last = min(rows, first + ROWS);
    for (int r = first; r < last; r++) {
        const __global act_t *from = x + (size_t)r * cols;
        __global act_t *to = y + (size_t)r * cols;
        const float2 sums = sums_of(from, cols);
        const float mean = sums.x / cols, rstd = rsqrt(sums.y / cols + eps);
        for (int c = 0; c < cols; c += 16)
            STV(ACT, to, c, (LDV(ACT, from, c) - mean) * rstd * LDV(0, gamma, c) + LDV(0, beta, c));
        stats[r] = (float2)(mean, rstd);
    }
}

#ifdef SCALED
#define P_SCALED , const __global float *scale, __global act_t *scaled
#else
#define P_SCALED
#endif

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void ln_backward(const __global act_t *x, const __global float *gamma,
                                                                         const __global float2 *stats, const __global act_t *dy,
                                                                         __global act_t *dx, int cols, int accumulate,
                                                                         int rows P_SCALED)
{
    const int first = (int)get_global_id(0) * ROWS, last = min(rows, first + ROWS);
    for (int r = first; r < last; r++) {
        const size_t base = (size_t)r * cols;
        const __global act_t *row = x + base, *grad = dy + base;
        const float mean = stats[r].x, rstd = stats[r].y;
        float16 s[4], q[4];
        EMPTY(s);
        EMPTY(q);
#define ADD_BOTH(u, v)                                                                                                             \
    const float16 g = v;                                                                                                           \
    s[u] += g;                                                                                                                     \
    q[u] = fma(g, LDV(ACT, row, c) - mean, q[u]);
        SUM_ROW(cols, ADD_BOTH, LDV(ACT, grad, c) * LDV(0, gamma, c))
        const float m1 = JOINED(s) / cols, m2 = JOINED(q) * rstd * rstd / cols;
        for (int c = 0; c < cols; c += 16) {
            float16 v = rstd * (LDV(ACT, grad, c) * LDV(0, gamma, c) - m1 - (LDV(ACT, row, c) - mean) * m2);
            if (accumulate) v += LDV(ACT, dx, base + c);
            STV(ACT, dx, base + c, v);
#ifdef SCALED
            STV(ACT, scaled, base + c, v * LDV(0, scale, c));
#endif
        }
    }
}
