/* GroupNorm and BatchNorm for GPUs (portable/norm2d.cl says what is what): the parts that colreduce.cl leaves become statistics
 * and sums, and those are applied. FN: an activation that norm2d_forward ends with and
 * norm2d_backward begins with; KEEP 1: its input is kept, 2: its slope there. */
#define WHOLE 1
#include "common.h"
#include "columns.h"
#ifdef FN
#define COARSE (ACT != 0)
#include "act.h"
#define END(v)     fn(v)
#define P_FN       , const __global float *beta
#define UNDO_FN(d) w[d] *= slope_at((v[d] - mean) * g + b)
#else
#define END(v) (v)
#define P_FN
#define UNDO_FN(d)
#endif
#ifndef KEEP
#define KEEP 0
#endif
#if KEEP
#define P_KEPT        , __global act_t *kept
#define STORE_KEPT(d, v) STV(ACT, kept, AT(d), v)
#else
#define P_KEPT
#define STORE_KEPT(d, v)
#endif

#if VW == 1
/* The sum over items `stop`, 2 * stop ... apart, in each of the first `stop` items. */
inline float2 items_sum(float2 v, int stop, __local float2 *s)
{
    s[ITEM] = v;
    for (int h = WG / 2; h >= stop; h >>= 1) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (ITEM < h) s[ITEM] += s[ITEM + h];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return s[ITEM % stop];
}
/* Every part of a group's `width` columns, and how many rows it counts: those of a unit's h lines of w, of `chunk_rows` lines and
 * `block` of each, blocks of the same lines one after another. */
#define PARTS(e) int e = ITEM; e < chunks *width; e += WG
#define PART(e)  (((size_t)unit * chunks + e / width) * C + group * width + e % width)
inline int part_rows(int part, int h, int w, int chunk_rows, int block)
{
    const int blocks = (w + block - 1) / block, i = part / blocks, j = part % blocks;
    return (min(h, (i + 1) * chunk_rows) - i * chunk_rows) * (min(w, (j + 1) * block) - j * block);
}
#define COUNT(e) part_rows(e / width, h, w, chunk_rows, block)

/* stats[unit][group] = (mean, rstd) from the parts' means and squared deviations. Items (groups * WG, units). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void norm2d_stats(const __global float *means, const __global float *squares, __global float2 *stats, int C, int width, int chunks,
                  int h, int w, int chunk_rows, int block, float eps)
{
    __local float2 sums[WG], more[WG];
    const int group = (int)(get_global_id(0) / WG), unit = (int)get_global_id(1);
    const float inv_count = 1.0f / ((float)h * w * width);
    float2 s = (float2)(0.0f, 0.0f);
    for (PARTS(e)) s += (float2)(COUNT(e) * means[PART(e)], squares[PART(e)]);
    s = items_sum(s, 1, sums) * inv_count;
    float between = 0.0f;
    for (PARTS(e)) {
        const float d = means[PART(e)] - s.x;
        between += COUNT(e) * d * d;
    }
    const float var = s.y + items_sum((float2)(between, 0.0f), 1, more).x * inv_count;
    if (ITEM == 0) stats[unit * (C / width) + group] = (float2)(s.x, rsqrt(var + eps));
}

/* All that the parts of a norm's backward come to, LANES columns to a group of items: the first groups, up to beta_end, make
 * dbeta += the sums of p0's lines, those up to gamma_end dgamma += p1's, those up to rows_end drows = pw's, which has `wide` columns.
 * Each of the others is for one sums[unit][group] = mean of gamma*dy and of gamma*dy*xhat. Items (WG * so many). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void norm2d_sums(const __global float *p0, const __global float *p1, const __global float *pw, const __global float *gamma,
                 __global float2 *sums, __global float *dbeta, __global float *dgamma, __global float *drows, int C, int width,
                 int wide, int chunks, int lines, int beta_end, int gamma_end, int rows_end, float inv_count)
{
    __local float2 part[WG];
    const int id = (int)(get_global_id(0) / WG), own = id - rows_end, unit = own / (C / width), group = own % (C / width);
    const __global float *const p = id < beta_end ? p0 : id < gamma_end ? p1 : pw;
    const int cols = id < gamma_end ? C : wide, before = id < beta_end ? 0 : id < gamma_end ? beta_end : gamma_end;
    const int c = (id - before) * LANES + ITEM % LANES;
    float2 s = (float2)(0.0f, 0.0f);
    if (own >= 0) {
        for (PARTS(e)) s += gamma[group * width + e % width] * (float2)(p0[PART(e)], p1[PART(e)]);
    } else if (c < cols) {
        _Pragma("unroll 8") for (int i = LINE; i < lines; i += ROWS) s.x += p[(size_t)i * cols + c];
    }
    s = items_sum(s, own >= 0 ? 1 : LANES, part);
    if (own >= 0) {
        if (ITEM == 0) sums[own] = s * inv_count;
    } else if (LINE == 0 && c < cols) {
        if (id < beta_end) dbeta[c] += s.x;
        else if (id < gamma_end) dgamma[c] += s.x;
        else drows[c] = s.x;
    }
}

#else
#define DEPTH 4 /* rows read before any is written */
#define SPAN  8 /* rows an item takes */

/* An item's rows r, r + ROWS ... up to `end`: DEPTH at once, then one by one. */
#define AT(d)         (((size_t)get_global_id(2) * unit_rows + r + (d)*ROWS) * C + c)
#define EACH(d, n)    _Pragma("unroll") for (int d = 0; d < n; d++)
#define FOR_ROWS(do)                                                                                                               \
    int r = (int)get_global_id(1) * ROWS * SPAN + LINE;                                                                            \
    const int end = min(unit_rows, r + ROWS * SPAN);                                                                               \
    for (; r + (DEPTH - 1) * ROWS < end; r += DEPTH * ROWS) do(DEPTH)                                                              \
    for (; r < end; r += ROWS) do(1)

#if KEEP == 2
#define FINISH(d)                                                                                                                  \
    vec slope;                                                                                                                     \
    STV(ACT, y, AT(d), fn_both(v[d], &slope));                                                                                     \
    STORE_KEPT(d, slope)
#else
#define FINISH(d)                                                                                                                  \
    STORE_KEPT(d, v[d]);                                                                                                           \
    STV(ACT, y, AT(d), END(v[d]))
#endif
#define APPLY(n)                                                                                                                   \
    {                                                                                                                              \
        EACH(d, n) v[d] = LDV(ACT, x, AT(d));                                                                                      \
        EACH(d, n)                                                                                                                 \
        {                                                                                                                          \
            v[d] = (v[d] - mean) * g + b;                                                                                          \
            FINISH(d);                                                                                                             \
        }                                                                                                                          \
    }
/* y = (x - mean) rstd gamma + beta, or FN of it. Items (blocks of LANES * VW columns * WG, ceil(unit_rows / (ROWS * SPAN)), units). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void norm2d_forward(const __global act_t *x, const __global float2 *stats, const __global float *gamma,
                    const __global float *beta, __global act_t *y, int C, int width, int unit_rows P_KEPT)
{
    const int c = COLUMN;
    if (c >= C) return;
    vec mean, g, v[DEPTH];
    pairs_of(stats + get_global_id(2) * (C / width), width, c, &mean, &g);
    g *= LDV(0, gamma, c);
    const vec b = LDV(0, beta, c);
    FOR_ROWS(APPLY)
}

#define UNDO(n)                                                                                                                    \
    {                                                                                                                              \
        EACH(d, n) v[d] = LDV(ACT, x, AT(d)), w[d] = LDV(ACT, dy, AT(d));                                                          \
        EACH(d, n)                                                                                                                 \
        {                                                                                                                          \
            UNDO_FN(d);                                                                                                            \
            STV(ACT, dx, AT(d), g * w[d] - m1 - (v[d] - mean) * m2);                                                               \
        }                                                                                                                          \
    }
/* dx = rstd (gamma dy - sums.x - xhat sums.y); dx may be dy or x. With FN, dy is the gradient of FN of the norm and becomes that of
 * the norm first. Items as above. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void norm2d_backward(const __global act_t *x, const __global float2 *stats, const __global float *gamma,
                     const __global float2 *sums, const __global act_t *dy, __global act_t *dx, int C, int width, int unit_rows P_FN)
{
    const int c = COLUMN;
    if (c >= C) return;
    vec mean, rstd, m1, m2, v[DEPTH], w[DEPTH];
    pairs_of(stats + get_global_id(2) * (C / width), width, c, &mean, &rstd);
    pairs_of(sums + get_global_id(2) * (C / width), width, c, &m1, &m2);
    const vec g = LDV(0, gamma, c) * rstd;
    m1 *= rstd;
    m2 *= rstd * rstd;
#ifdef FN
    const vec b = LDV(0, beta, c);
#endif
    FOR_ROWS(UNDO)
}
#endif
