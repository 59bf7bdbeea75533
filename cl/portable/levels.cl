/* Positions of features of several levels, joined to [B*CELLS, D]. */
#define WHOLE 1
#include "common.h"
#include "levels.h"
#ifndef RUN
#define RUN 64 /* rows of a partial sum */
#endif

/* y = x + pos + embed[level]: pos [CELLS, D] and embed [LEVELS, D] float32. Items (D / VW, B*CELLS). */
__kernel void level_positions(const __global act_t *x, const __global float *pos, const __global float *embed, __global act_t *y,
                              int d, int rows)
{
    const int c = (int)get_global_id(0) * VW, r = (int)get_global_id(1), n = r % CELLS;
    if (c >= d || r >= rows) return;
    const vec v = LDV(0, pos, (size_t)n * d + c) + LDV(0, embed, (size_t)level_of(n) * d + c);
    STV(ACT, y, (size_t)r * d + c, LDV(ACT, x, (size_t)r * d + c) + v);
}

/* Runs of a level in one sample, and those of the levels before it. */
inline int runs_of(int level) { return (level_h[level] * level_w[level] + RUN - 1) / RUN; }
inline int runs_before(int level)
{
    int n = 0;
    for (int l = 0; l < level; l++) n += runs_of(l);
    return n;
}

/* parts [B * runs of a sample, D] float32: sums over runs of RUN rows of one level. Items (D / VW, B * runs). */
__kernel void level_sums(const __global act_t *dy, __global float *parts, int d, int runs, int all)
{
    const int c = (int)get_global_id(0) * VW, i = (int)get_global_id(1), run = i % runs;
    if (c >= d || i >= all) return;
    int level = 0;
    while (run >= runs_before(level + 1)) level++;
    const int at = (run - runs_before(level)) * RUN, last = min(at + RUN, level_h[level] * level_w[level]);
    const size_t first = (size_t)(i / runs) * CELLS + level_first[level];
    vec s = TO_VEC(0.0f);
    for (int n = at; n < last; n++) s += LDV(ACT, dy, (first + n) * d + c);
    STV(0, parts, (size_t)i * d + c, s);
}

/* out[level, c] += the sums of that level's runs in every sample. Items (D, LEVELS). */
__kernel void level_add(const __global float *parts, __global float *out, int d, int runs, int batch)
{
    const int c = (int)get_global_id(0), level = (int)get_global_id(1);
    if (c >= d || level >= LEVELS) return;
    const int from = runs_before(level), to = from + runs_of(level);
    float s = 0.0f;
    for (int b = 0; b < batch; b++)
        for (int i = from; i < to; i++) s += parts[((size_t)b * runs + i) * d + c];
    out[(size_t)level * d + c] += s;
}
