/* A few outputs of FN(norm(x)), x [units * unit_rows, C], channels last: y[r][o] = sum of w[o][c] FN(norm(x))[r][c] + w[o][C], and the
 * way back, where FN's input is worked out again. An item takes chunk_rows rows of a unit, with the unit's numbers by channel in its
 * own memory.
 *
 *   ACT: storage of x and dx.   C: channels.   VW: divides them.   OUTS: outputs.   FN: as shared/act.h.
 * Items (chunks, units). */
#include "common.h"
#ifndef C
#define C VW
#endif
#ifndef OUTS
#define OUTS 1
#endif
#define COARSE (ACT != 0)
#include "act.h"

#define AT(array, c) CAT(vload, VW)(0, (array) + (c))
#if VW == 1
#undef AT
#define AT(array, c) (array)[c]
#define PUT(v, array, c) (array)[c] = (v)
#define TOTAL(v) (v)
#else
#define PUT(v, array, c) CAT(vstore, VW)(v, 0, (array) + (c))
inline float total(vec v)
{
    float e[VW], s = 0.0f;
    CAT(vstore, VW)(v, 0, e);
    for (int k = 0; k < VW; k++) s += e[k];
    return s;
}
#define TOTAL(v) total(v)
#endif

/* By channel: FN's input is (x - mean) * scale + beta. */
typedef struct {
    float mean[C], scale[C];
} unit_t;

inline void unit_of(unit_t *u, const __global float2 *stats, const __global float *gamma, int unit, int groups)
{
    for (int c = 0; c < C; c++) {
        const float2 s = stats[(size_t)unit * groups + c / (C / groups)];
        u->mean[c] = s.x;
        u->scale[c] = s.y * gamma[c];
    }
}

#define CHUNK                                                                                                                      \
    const int unit = (int)get_global_id(1), first = (int)get_global_id(0) * chunk_rows, last = min(unit_rows, first + chunk_rows); \
    if (first >= last) return;                                                                                                     \
    unit_t u;                                                                                                                      \
    unit_of(&u, stats, gamma, unit, groups);                                                                                       \
    const size_t base = (size_t)unit * unit_rows;

__kernel void norm_few_forward(const __global act_t *x, const __global float2 *stats, const __global float *gamma,
                               const __global float *beta, const __global float *w, __global float *y, int groups, int unit_rows,
                               int chunk_rows)
{
    CHUNK
    for (int r = first; r < last; r++) {
        vec s[OUTS];
        for (int o = 0; o < OUTS; o++) s[o] = TO_VEC(0.0f);
        for (int c = 0; c < C; c += VW) {
            const vec a = fn((LDV(ACT, x, (base + r) * C + c) - AT(u.mean, c)) * AT(u.scale, c) + LDV(0, beta, c));
            for (int o = 0; o < OUTS; o++) s[o] += a * LDV(0, w, o * (C + 1) + c);
        }
        for (int o = 0; o < OUTS; o++) y[(base + r) * OUTS + o] = TOTAL(s[o]) + w[o * (C + 1) + C];
    }
}

/* The gradient of FN's input at channel c of row r, and FN there. */
inline vec back_at(const __global act_t *x, const __global float *beta, const __global float *w, const __global float *dy,
                   const unit_t *u, size_t row, int c, vec *centred, vec *a)
{
    vec slope, d = TO_VEC(0.0f);
    *centred = LDV(ACT, x, row * C + c) - AT(u->mean, c);
    *a = fn_both(*centred * AT(u->scale, c) + LDV(0, beta, c), &slope);
    for (int o = 0; o < OUTS; o++) d += dy[row * OUTS + o] * LDV(0, w, o * (C + 1) + c);
    return d * slope;
}

/* A chunk's sums, in line unit * chunks + chunk of p0, p1 [lines][C] and pw [lines][OUTS * (C + 1)]: of the gradient, of that times
 * xhat, and of dy times FN, with that of dy behind. */
__kernel void norm_few_parts(const __global act_t *x, const __global float2 *stats, const __global float *gamma,
                             const __global float *beta, const __global float *w, const __global float *dy, __global float *p0,
                             __global float *p1, __global float *pw, int groups, int unit_rows, int chunk_rows)
{
    CHUNK
    float s0[C], s1[C], sw[OUTS * C], sd[OUTS];
    for (int c = 0; c < C; c++) s0[c] = s1[c] = 0.0f;
    for (int c = 0; c < OUTS * C; c++) sw[c] = 0.0f;
    for (int o = 0; o < OUTS; o++) sd[o] = 0.0f;
    for (int r = first; r < last; r++) {
        for (int c = 0; c < C; c += VW) {
            vec centred, a;
            const vec d = back_at(x, beta, w, dy, &u, base + r, c, &centred, &a);
            PUT(AT(s0, c) + d, s0, c);
            PUT(AT(s1, c) + d * centred, s1, c);
            for (int o = 0; o < OUTS; o++) PUT(AT(sw, o * C + c) + dy[(base + r) * OUTS + o] * a, sw, o * C + c);
        }
        for (int o = 0; o < OUTS; o++) sd[o] += dy[(base + r) * OUTS + o];
    }
    const size_t line = unit * get_global_size(0) + get_global_id(0);
    for (int c = 0; c < C; c++) {
        p0[line * C + c] = s0[c];
        p1[line * C + c] = s1[c] * stats[(size_t)unit * groups + c / (C / groups)].y;
    }
    for (int o = 0; o < OUTS; o++) {
        for (int c = 0; c < C; c++) pw[line * OUTS * (C + 1) + o * (C + 1) + c] = sw[o * C + c];
        pw[line * OUTS * (C + 1) + o * (C + 1) + C] = sd[o];
    }
}

/* dx = rstd (gamma d - sums.x - xhat sums.y), d the gradient of FN's input; dx may be x. */
__kernel void norm_few_backward(const __global act_t *x, const __global float2 *stats, const __global float *gamma,
                                const __global float *beta, const __global float *w, const __global float *dy,
                                const __global float2 *sums, __global act_t *dx, int groups, int unit_rows, int chunk_rows)
{
    CHUNK
    float m1[C], m2[C];
    for (int c = 0; c < C; c++) {
        const size_t g = (size_t)unit * groups + c / (C / groups);
        const float rstd = stats[g].y;
        m1[c] = sums[g].x * rstd;
        m2[c] = sums[g].y * rstd * rstd;
    }
    for (int r = first; r < last; r++)
        for (int c = 0; c < C; c += VW) {
            vec centred, a;
            const vec d = back_at(x, beta, w, dy, &u, base + r, c, &centred, &a);
            STV(ACT, dx, (base + r) * C + c, d * AT(u.scale, c) - AT(m1, c) - centred * AT(m2, c));
        }
}
