/* A few outputs of FN(norm(x)), for GPUs (portable/norm_few.cl says what is what). A row's channels are in LANES items, C = LANES * VW.
 *
 *   OUTS: outputs. */
#define WHOLE 1
#include "common.h"
#include "columns.h"
#ifndef OUTS
#define OUTS 1
#endif
#define COARSE (ACT != 0)
#include "act.h"
#define C       (LANES * VW)
#define DEPTH   4 /* rows read before any is used */
#define SPAN    8 /* rows an item takes */
#define EACH(d) _Pragma("unroll") for (int d = 0; d < DEPTH; d++)
#define OUT(o)  _Pragma("unroll") for (int o = 0; o < OUTS; o++)

#if VW > 1
/* What an item needs of its channels: FN's input is (x - mean) * scale + beta. */
typedef struct {
    vec mean, rstd, scale, beta, w[OUTS];
} channels;

inline channels channels_of(const __global float2 *stats, const __global float *gamma, const __global float *beta,
                            const __global float *w, int width, int c)
{
    channels h;
    pairs_of(stats, width, c, &h.mean, &h.rstd);
    h.scale = h.rstd * LDV(0, gamma, c);
    h.beta = LDV(0, beta, c);
    OUT(o) h.w[o] = CAT(vload, VW)(0, w + o * (C + 1) + c); /* at no multiple of a vector */
    return h;
}

inline float total(vec v)
{
#if VW == 8
    const float4 h = v.lo + v.hi;
#else
    const float4 h = v;
#endif
    return (h.x + h.y) + (h.z + h.w);
}

/* y. Items (WG, ceil(unit_rows / (ROWS * SPAN)), units). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void norm_few_forward(const __global act_t *x, const __global float2 *stats, const __global float *gamma,
                      const __global float *beta, const __global float *w, __global float *y, int width, int unit_rows)
{
    __local float part[OUTS][DEPTH * WG];
    const int c = COLUMN, lead = (int)get_global_id(1) * ROWS * SPAN;
    const size_t unit = get_global_id(2), base = unit * unit_rows;
    const channels h = channels_of(stats + unit * (C / width), gamma, beta, w, width, c);
    for (int r0 = lead; r0 < min(unit_rows, lead + ROWS * SPAN); r0 += DEPTH * ROWS) {
        vec v[DEPTH];
        EACH(d) v[d] = LDV(ACT, x, (base + min(r0 + d * ROWS + LINE, unit_rows - 1)) * C + c);
        EACH(d)
        {
            const vec a = fn((v[d] - h.mean) * h.scale + h.beta);
            OUT(o) part[o][d * WG + ITEM] = total(a * h.w[o]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int t = ITEM; t < DEPTH * ROWS * OUTS; t += WG) {
            const int row = t / OUTS, o = t % OUTS;
            float s = w[o * (C + 1) + C];
            for (int l = 0; l < LANES; l++) s += part[o][row * LANES + l];
            if (r0 + row < unit_rows) y[(base + r0) * OUTS + t] = s;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

/* The gradient of FN's input, and FN there. */
inline vec back(const channels *h, vec centred, const float *dy, vec *a)
{
    vec slope, d = TO_VEC(0.0f);
    *a = fn_both(centred * h->scale + h->beta, &slope);
    OUT(o) d += dy[o] * h->w[o];
    return d * slope;
}

/* v of the group's rows, summed into to[VW * LANES]. */
inline void fold(__local float *part, vec v, __global float *to)
{
    CAT(vstore, VW)(v, 0, part + ITEM * VW);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int t = ITEM; t < C; t += WG) {
        float s = 0.0f;
        for (int r = 0; r < ROWS; r++) s += part[r * C + t];
        to[t] = s;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Items (WG, units * chunks). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void norm_few_parts(const __global act_t *x, const __global float2 *stats, const __global float *gamma, const __global float *beta,
                    const __global float *w, const __global float *dy, __global float *p0, __global float *p1, __global float *pw,
                    int width, int unit_rows, int chunk_rows, int chunks)
{
    __local float part[WG * VW];
    const int c = COLUMN, line = (int)get_global_id(1), first = line % chunks * chunk_rows, last = min(unit_rows, first + chunk_rows);
    const size_t unit = line / chunks, base = unit * unit_rows;
    const channels h = channels_of(stats + unit * (C / width), gamma, beta, w, width, c);
    vec s0 = TO_VEC(0.0f), s1 = TO_VEC(0.0f), sw[OUTS];
    float sd[OUTS];
    OUT(o) sw[o] = TO_VEC(0.0f), sd[o] = 0.0f;
    for (int r = first + LINE; r < last; r += 2 * ROWS) {
        vec v[2];
        float g[2][OUTS];
        _Pragma("unroll") for (int d = 0; d < 2; d++)
        {
            const int at = r + d * ROWS;
            v[d] = LDV(ACT, x, (base + min(at, last - 1)) * C + c);
            OUT(o) g[d][o] = at < last ? dy[(base + min(at, last - 1)) * OUTS + o] : 0.0f; /* which makes all of it nothing */
        }
        _Pragma("unroll") for (int d = 0; d < 2; d++)
        {
            vec a;
            const vec centred = v[d] - h.mean, n = back(&h, centred, g[d], &a);
            s0 += n;
            s1 += n * centred;
            OUT(o) sw[o] += g[d][o] * a, sd[o] += g[d][o];
        }
    }
    fold(part, s0, p0 + (size_t)line * C);
    fold(part, s1 * h.rstd, p1 + (size_t)line * C);
    OUT(o)
    {
        __global float *to = pw + ((size_t)line * OUTS + o) * (C + 1);
        fold(part, sw[o], to);
        if (ITEM % LANES == 0) part[LINE] = sd[o];
        barrier(CLK_LOCAL_MEM_FENCE);
        if (ITEM == 0) {
            float s = 0.0f;
            for (int l = 0; l < ROWS; l++) s += part[l];
            to[C] = s;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

/* Items as norm_few_forward's. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void norm_few_backward(const __global act_t *x, const __global float2 *stats, const __global float *gamma,
                       const __global float *beta, const __global float *w, const __global float *dy, const __global float2 *sums,
                       __global act_t *dx, int width, int unit_rows)
{
    const int c = COLUMN, lead = (int)get_global_id(1) * ROWS * SPAN, end = min(unit_rows, lead + ROWS * SPAN);
    const size_t unit = get_global_id(2), base = unit * unit_rows;
    const channels h = channels_of(stats + unit * (C / width), gamma, beta, w, width, c);
    vec m1, m2;
    pairs_of(sums + unit * (C / width), width, c, &m1, &m2);
    m1 *= h.rstd;
    m2 *= h.rstd * h.rstd;
    for (int r = lead + LINE; r < end; r += DEPTH * ROWS) {
        vec v[DEPTH];
        float g[DEPTH][OUTS];
        EACH(d)
        {
            const size_t row = base + min(r + d * ROWS, end - 1);
            v[d] = LDV(ACT, x, row * C + c);
            OUT(o) g[d][o] = dy[row * OUTS + o];
        }
        EACH(d)
        {
            vec a;
            const vec centred = v[d] - h.mean, n = back(&h, centred, g[d], &a);
            if (r + d * ROWS < end) STV(ACT, dx, (base + r + d * ROWS) * C + c, n * h.scale - m1 - centred * m2);
        }
    }
}
#endif
