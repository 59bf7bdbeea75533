/* Multi-scale deformable self-attention and the gradient of where it samples. value, o and d_o are [B*CELLS, WIDTH]. A group of WG
 * items takes PAIRS pairs: first their samples, one an item, then the channels, LANES items a pair. */
#define WHOLE 1
#include "common.h"
#include "levels.h"
#include "deform.h"
#ifndef PAIRS
#define PAIRS 4
#endif
#ifndef LANES
#define LANES (HD / VW)
#endif
#define WG      (PAIRS * LANES)
#define AT_ONCE (LANES < 8 ? LANES : 8) /* samples of a pair that are under way together */

/* What of a group's samples comes into a pair's softmax: exp(logit - the largest of the pair); their sums are the caller's. */
inline void powers(const __global act_t *samples, int first, int pairs, __local float *logit, __local float *power)
{
    for (int i = (int)get_local_id(0); i < PAIRS * EACH; i += WG)
        logit[i] = first + i / EACH < pairs ? LD(ACT, samples, logit_at(first + i / EACH, i % EACH)) : 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = (int)get_local_id(0); i < PAIRS * EACH; i += WG) {
        const __local float *own = logit + i / EACH * EACH;
        float most = own[0];
        for (int k = 1; k < EACH; k++) most = fmax(most, own[k]);
        power[i] = exp(logit[i] - most);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

inline float share_of(const __local float *power, int i)
{
    float sum = 0.0f;
    for (int k = 0; k < EACH; k++) sum += power[i / EACH * EACH + k];
    return power[i] / sum;
}

/* Elements of value at which a pair's columns of the four cells begin (of some cell where one is outside), and their parts in the
 * sample (0 outside). */
inline void corners(const place_t *p, bool near, int pair, int level, int4 *at, float4 *part)
{
    const int h = level_h[level], w = level_w[level], first = pair / HEADS / CELLS * CELLS + level_first[level];
    const int x0 = max(p->x, 0), x1 = min(p->x + 1, w - 1), y0 = max(p->y, 0) * w, y1 = min(p->y + 1, h - 1) * w;
    const float left = near && p->x >= 0 ? 1.0f - p->lx : 0.0f, right = near && p->x + 1 < w ? p->lx : 0.0f;
    const float above = p->y >= 0 ? 1.0f - p->ly : 0.0f, below = p->y + 1 < h ? p->ly : 0.0f;
    *at = (first + (int4)(y0 + x0, y0 + x1, y1 + x0, y1 + x1)) * WIDTH + pair % HEADS * HD;
    *part = (float4)(above * left, above * right, below * left, below * right);
}

/* Items (WG * groups of pairs). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void deform_forward(const __global act_t *value, const __global act_t *samples, __global act_t *o, int pairs)
{
    __local float logit[PAIRS * EACH], power[PAIRS * EACH];
    __local int4 at[PAIRS * EACH];
    __local float4 part[PAIRS * EACH];
    const int l = (int)get_local_id(0), first = (int)(get_global_id(0) / WG) * PAIRS, pair = first + l / LANES;
    powers(samples, first, pairs, logit, power);
    for (int i = l; i < PAIRS * EACH; i += WG) {
        place_t p;
        int4 cells;
        float4 parts;
        const int of = min(first + i / EACH, pairs - 1);
        const bool near = place_of(&p, samples, of, i % EACH);
        corners(&p, near, of, i % EACH / POINTS, &cells, &parts);
        at[i] = cells, part[i] = share_of(power, i) * parts;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (pair >= pairs) return;
    for (int c = l % LANES * VW; c < HD; c += LANES * VW) {
        vec sum = TO_VEC(0.0f);
        for (int k = l / LANES * EACH; k < (l / LANES + 1) * EACH; k++) {
            sum += part[k].x * LDV(ACT, value, at[k].x + c);
            sum += part[k].y * LDV(ACT, value, at[k].y + c);
            sum += part[k].z * LDV(ACT, value, at[k].z + c);
            sum += part[k].w * LDV(ACT, value, at[k].w + c);
        }
        STV(ACT, o, (size_t)pair * HD + c, sum);
    }
}

/* What of d_o times the four cells' columns is an item's share. */
inline float4 part_of_slopes(const __global act_t *value, const __global act_t *d_o, size_t row, int4 at, int lane)
{
    vec a = TO_VEC(0.0f), b = a, c = a, e = a;
    for (int k = lane * VW; k < HD; k += LANES * VW) {
        const vec d = LDV(ACT, d_o, row + k);
        a += d * LDV(ACT, value, at.x + k);
        b += d * LDV(ACT, value, at.y + k);
        c += d * LDV(ACT, value, at.z + k);
        e += d * LDV(ACT, value, at.w + k);
    }
    return (float4)(HSUM(a), HSUM(b), HSUM(c), HSUM(e));
}

/* dsamples like samples. The items of a pair go through its samples AT_ONCE at a time: an item has one of them, and for all of them its
 * columns. Items (WG * groups of pairs). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void deform_dsamples(const __global act_t *value, const __global act_t *samples, const __global act_t *d_o,
                     __global act_t *dsamples, int pairs)
{
    __local float share[PAIRS * EACH], power[PAIRS * EACH], slope[PAIRS * EACH];
    __local int4 cells[PAIRS][AT_ONCE];
    __local float4 sums[PAIRS][AT_ONCE][LANES + 1]; /* one more: no two items of a pair share a bank */
    const int l = (int)get_local_id(0), first = (int)(get_global_id(0) / WG) * PAIRS, own = l / LANES, lane = l % LANES;
    const int pair = min(first + own, pairs - 1);
    powers(samples, first, pairs, share, power); /* logits, which nobody reads behind it */
    for (int i = l; i < PAIRS * EACH; i += WG) share[i] = share_of(power, i);
    for (int k = 0; k < EACH; k += AT_ONCE) {
        const int s = min(k + lane, EACH - 1), count = min(AT_ONCE, EACH - k);
        place_t p;
        int4 at;
        float4 part, g = (float4)(0.0f);
        const bool near = place_of(&p, samples, pair, s), mine = lane < count;
        corners(&p, near, pair, s / POINTS, &at, &part);
        if (mine) cells[own][lane] = at;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = 0; i < count; i++)
            sums[own][i][lane] = part_of_slopes(value, d_o, (size_t)pair * HD, cells[own][i], lane);
        barrier(CLK_LOCAL_MEM_FENCE);
        if (!mine || first + own >= pairs) continue;
        for (int i = 0; i < LANES; i++) g += sums[own][lane][i];
        const float right = p.x + 1 < level_w[s / POINTS], left = p.x >= 0, below = p.y + 1 < level_h[s / POINTS], above = p.y >= 0;
        g *= near ? (float4)(above * left, above * right, below * left, below * right) : (float4)(0.0f); /* 0 outside */
        slope[own * EACH + s] = dot(part, g);
        const float dx = (1.0f - p.ly) * (g.y - g.x) + p.ly * (g.w - g.z), dy = (1.0f - p.lx) * (g.z - g.x) + p.lx * (g.w - g.y);
        const size_t to = (size_t)(pair / HEADS) * ROW + 2 * (pair % HEADS * EACH + s);
        ST(ACT, dsamples, to, share[own * EACH + s] * dx);
        ST(ACT, dsamples, to + 1, share[own * EACH + s] * dy);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = l; i < PAIRS * EACH && first + i / EACH < pairs; i += WG) {
        float mean = 0.0f;
        for (int k = i / EACH * EACH; k < (i / EACH + 1) * EACH; k++) mean += share[k] * slope[k];
        ST(ACT, dsamples, logit_at(first + i / EACH, i % EACH), share[i] * (slope[i] - mean));
    }
}

/* shares [pairs, EACH] float32 of the pairs from `from` on: the softmax. Items (WG * groups of pairs). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void deform_shares(const __global act_t *samples, __global float *shares, int from, int pairs)
{
    __local float logit[PAIRS * EACH], power[PAIRS * EACH];
    const int first = (int)(get_global_id(0) / WG) * PAIRS;
    powers(samples, from + first, from + pairs, logit, power);
    for (int i = (int)get_local_id(0); i < PAIRS * EACH && first + i / EACH < pairs; i += WG)
        shares[(size_t)first * EACH + i] = share_of(power, i);
}
