/* Positions of features of several levels, one level after another. */
#define WHOLE 1
#include "common.h"
#include "levels.h"
#ifndef RUN
#define RUN 64 /* rows of a partial sum */
#endif

/* y = pos + embed[level]: pos, y [CELLS, D] and embed [LEVELS, D] float32. Items (D / VW, CELLS). */
__kernel void level_positions(const __global float *pos, const __global float *embed, __global float *y, int d, int rows)
{
    const int c = (int)get_global_id(0) * VW, n = (int)get_global_id(1);
    if (c >= d || n >= rows) return;
    STV(0, y, (size_t)n * d + c, LDV(0, pos, (size_t)n * d + c) + LDV(0, embed, (size_t)level_of(n) * d + c));
}

/* Runs of a level, and those of the levels before it. */
inline int runs_of(int level) { return (level_h[level] * level_w[level] + RUN - 1) / RUN; }
inline int runs_before(int level)
{
    int n = 0;
    for (int l = 0; l < level; l++) n += runs_of(l);
    return n;
}

/* parts [runs, D] float32: sums over runs of RUN rows of one level. Items (D / VW, runs). */
__kernel void level_sums(const __global act_t *dy, __global float *parts, int d, int runs)
{
    const int c = (int)get_global_id(0) * VW, run = (int)get_global_id(1);
    if (c >= d || run >= runs) return;
    int level = 0;
    while (run >= runs_before(level + 1)) level++;
    const int at = (run - runs_before(level)) * RUN, last = min(at + RUN, level_h[level] * level_w[level]);
    vec s = TO_VEC(0.0f);
    for (int n = at; n < last; n++) s += LDV(ACT, dy, (size_t)(level_first[level] + n) * d + c);
    STV(0, parts, (size_t)run * d + c, s);
}

/* out[level, c] += the sums of that level's runs. Items (D, LEVELS). */
__kernel void level_add(const __global float *parts, __global float *out, int d)
{
    const int c = (int)get_global_id(0), level = (int)get_global_id(1);
    if (c >= d || level >= LEVELS) return;
    const int from = runs_before(level), to = from + runs_of(level);
    float s = 0.0f;
    for (int i = from; i < to; i++) s += parts[(size_t)i * d + c];
    out[(size_t)level * d + c] += s;
}
