/* Sums down the columns of [units * unit_rows, C] for GPUs, in two steps so that the result never depends on timing. What chunk i
 * of unit u comes to stands in line u * chunks + i of p0 and p1 [lines][C]:
 *   MODE 0: sum a           MODE 1: sum a*b
 *   MODE 2: sum a  and  sum a*(b - mean)*rstd, by the statistics of (unit, column's group)     MODE 3: by those of the row
 *           With FN, a is the gradient of FN of the norm and becomes that of the norm first.
 *   MODE 4: mean of a  and  sum of its squared deviations, from one reading: what is summed is shifted by the chunk's first row.
 *           n rows make the first one's distance from the mean at most sqrt(n) deviations, so n roundings are lost at worst. */
#define WHOLE 1
#include "common.h"
#include "columns.h"
#ifndef MODE
#define MODE 0
#endif
#ifdef FN
#define COARSE (ACT != 0)
#include "act.h"
#define P_FN , const __global float *gamma, const __global float *beta
#define UNDO_FN(d) x[d] *= slope_at((y[d] - mean) * scale + shift)
#else
#define P_FN
#define UNDO_FN(d)
#endif
#define TWO  (MODE >= 2)              /* sums */
#define PAIR (MODE >= 1 && MODE <= 3) /* matrices */
#if PAIR && !defined FN
#define DEPTH 2 /* rows read before any is summed */
#else
#define DEPTH 4
#endif

#if VW > 1
inline void keep(__local float4 *s, vec v)
{
#if VW == 8
    s[2 * ITEM] = v.lo;
    s[2 * ITEM + 1] = v.hi;
#else
    s[ITEM] = v;
#endif
}

inline float fold(const __local float4 *s, int column)
{
    const __local float *f = (const __local float *)s + column;
    float sum = 0.0f;
    for (int r = 0; r < ROWS; r++) sum += f[r * LANES * VW];
    return sum;
}

#if PAIR
#define LOAD_B(d) y[d] = LDV(ACT, vb, (size_t)(r + (d)*ROWS) * C)
#else
#define LOAD_B(d)
#endif
#if MODE == 0
#define ADD(d) s0 += x[d]
#elif MODE == 1
#define ADD(d) s0 += x[d] * y[d]
#elif MODE == 2
#define ADD(d)                                                                                                                     \
    UNDO_FN(d);                                                                                                                    \
    s0 += x[d], s1 += x[d] * (y[d] - mean)
#elif MODE == 3
#define ADD(d) s0 += x[d], s1 += x[d] * ((y[d] - st[r + (d)*ROWS].x) * st[r + (d)*ROWS].y)
#else
#define ADD(d) s0 += x[d] - shift, s1 += (x[d] - shift) * (x[d] - shift)
#endif
/* Rows r, r + ROWS ...: all are read before any is summed, none under a condition (a compiler moves the load there). */
#define ADD_ROWS(n)                                                                                                                \
    {                                                                                                                              \
        vec x[n], y[n];                                                                                                            \
        _Pragma("unroll") for (int d = 0; d < n; d++)                                                                              \
        {                                                                                                                          \
            x[d] = LDV(ACT, va, (size_t)(r + d * ROWS) * C);                                                                       \
            LOAD_B(d);                                                                                                             \
        }                                                                                                                          \
        _Pragma("unroll") for (int d = 0; d < n; d++)                                                                              \
        {                                                                                                                          \
            ADD(d);                                                                                                                \
        }                                                                                                                          \
    }

/* Items (blocks of LANES * VW columns * WG, lines). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void colreduce(const __global act_t *a, const __global act_t *b, const __global float2 *stats, __global float *p0,
               __global float *p1, int C, int unit_rows, int chunk_rows, int chunks, int width, float alpha P_FN)
{
    __local float4 part[1 + TWO][WG * VW / 4];
    const int line = (int)get_global_id(1), unit = line / chunks, first = line % chunks * chunk_rows, c = COLUMN;
    const int last = min(unit_rows, first + chunk_rows);
    const size_t base = (size_t)unit * unit_rows * C;
    vec s0 = TO_VEC(0.0f), s1 = TO_VEC(0.0f);
    if (c < C) {
        const __global act_t *va = a + base + c, *vb = b + base + c;
#if MODE == 2
        vec mean, rstd;
        pairs_of(stats + (size_t)unit * (C / width), width, c, &mean, &rstd);
#ifdef FN
        const vec scale = rstd * LDV(0, gamma, c), shift = LDV(0, beta, c);
#endif
#elif MODE == 3
        const __global float2 *st = stats + (size_t)unit * unit_rows;
#elif MODE == 4
        const vec shift = LDV(ACT, va, (size_t)first * C);
#endif
        int r = first + LINE;
        for (; r + (DEPTH - 1) * ROWS < last; r += DEPTH * ROWS) ADD_ROWS(DEPTH)
        for (; r < last; r += ROWS) ADD_ROWS(1)
#if MODE == 2
        s1 *= rstd;
#endif
    }
    keep(part[0], s0);
#if TWO
    keep(part[1], s1);
#endif
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int t = ITEM, n = last - first; t < LANES * VW; t += WG) {
        const int column = (int)(get_global_id(0) / WG) * LANES * VW + t;
        if (column >= C) return;
        const size_t to = (size_t)line * C + column;
        const float sum = fold(part[0], t);
#if MODE == 4
        p0[to] = LD(ACT, a, base + (size_t)first * C + column) + sum / n;
        p1[to] = fmax(fold(part[1], t) - sum * sum / n, 0.0f);
#else
        p0[to] = alpha * sum;
#if TWO
        p1[to] = alpha * fold(part[1], t);
#endif
#endif
    }
}
#else

/* out[u][C], or += with add: the sum of unit u's `lines` lines of p, which begin at `off` and lie `ld` apart. A group sums LANES
 * columns. Items (ceil(C / LANES) * WG, units). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void colreduce_sum(const __global float *p, int off, int ld, __global float *out, int C, int lines, int add)
{
    __local float part[WG];
    const int c = COLUMN, unit = (int)get_global_id(1);
    float s = 0.0f;
    if (c < C)
        for (int i = LINE; i < lines; i += ROWS) s += p[((size_t)unit * lines + i) * ld + off + c];
    part[ITEM] = s;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (LINE > 0 || c >= C) return;
    for (int r = 1; r < ROWS; r++) s += part[r * LANES + ITEM];
    const size_t to = (size_t)unit * C + c;
    out[to] = add ? out[to] + s : s;
}
#endif
