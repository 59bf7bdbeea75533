/* The gradient of deformable attention's value, which a scatter would need atomic sums for: each sample adds to four cells. Here each
 * four cells have a list of their samples, made by counting integers alone and in the order of the samples, so that two runs add the
 * same numbers in the same order.
 *
 * A plane is a level of one head of one image: CELLS * POINTS samples in CHUNKS chunks of CHUNK, a multiple of TILE. A bin is where
 * the upper left one of a sample's four cells may be: (h + 1) * (w + 1) of a level, the first row and column being outside.
 * counts [CHUNKS][images * HEADS * BINS] int, 0 at first; records [images * HEADS * LEVELS][CELLS * POINTS] (query in its image,
 * share of the softmax, lx, ly), a float as its bits; both for `images` images from row `row` on. */
#define WHOLE 1
#include "common.h"
#include "levels.h"
#include "deform.h"
#ifndef CHUNK
#define CHUNK 256
#endif
#ifndef TILE
#define TILE 64
#endif
#ifndef SLICE
#define SLICE HD /* columns that a group gathers */
#endif
#ifndef SIDE
#define SIDE 2 /* of the square of cells that a group gathers for */
#endif
#ifndef WG
#define WG 64
#endif
#define AHEAD 4 /* records that are read at once */
#define BINS_HERE ((SIDE + 1) * (SIDE + 1))
#define PLANE (CELLS * POINTS)
#define BIN1  ((H0 + 1) * (W0 + 1))
#define BIN2  (BIN1 + (H1 + 1) * (W1 + 1))
#define BIN3  (BIN2 + (H2 + 1) * (W2 + 1))
#define BIN4  (BIN3 + (H3 + 1) * (W3 + 1))
#define BIN5  (BIN4 + (H4 + 1) * (W4 + 1))
#define BIN6  (BIN5 + (H5 + 1) * (W5 + 1))
#define BIN7  (BIN6 + (H6 + 1) * (W6 + 1))
#define BINS  (BIN7 + (H7 + 1) * (W7 + 1) - (8 - LEVELS)) /* of one head; levels that are not there have one each */
#define CHUNKS ((PLANE + CHUNK - 1) / CHUNK)
__constant int level_bin[8] = {0, BIN1, BIN2, BIN3, BIN4, BIN5, BIN6, BIN7};

/* The bin of sample s of a pair among all of its head, and how it lies there; -1: it adds to no cell. */
inline int bin_of(place_t *p, const __global act_t *samples, int pair, int s)
{
    const int level = s / POINTS;
    return place_of(p, samples, pair, s) ? level_bin[level] + (p->y + 1) * (level_w[level] + 1) + p->x + 1 : -1;
}

/* Counts each chunk's samples by bins. Items (images * CELLS * HEADS * EACH). */
__kernel void deform_count(const __global act_t *samples, volatile __global int *counts, int row, int images)
{
    const int i = (int)get_global_id(0), s = i % EACH, pair = i / EACH, query = pair / HEADS;
    if (query >= images * CELLS) return;
    place_t p;
    const int bin = bin_of(&p, samples, row * HEADS + pair, s), chunk = (query % CELLS * POINTS + s % POINTS) / CHUNK;
    const int head = query / CELLS * HEADS + pair % HEADS; /* of all images */
    if (bin >= 0) atomic_inc(&counts[(chunk * images * HEADS + head) * BINS + bin]);
}

/* From counts to where each chunk's samples of a bin begin in the records: an item has some bins that follow each other. Items (WG *
 * planes). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void deform_starts(__global int *counts, int images)
{
    __local int sums[WG];
    const int l = (int)get_local_id(0), plane = (int)(get_global_id(0) / WG), head = plane / LEVELS, level = plane % LEVELS;
    const int bins = (level_h[level] + 1) * (level_w[level] + 1), each = (bins + WG - 1) / WG, chunk = images * HEADS * BINS;
    const int from = l * each, to = min(bins, from + each);
    __global int *own = counts + head * BINS + level_bin[level];
    int all = 0;
    for (int k = 0; k < CHUNKS; k++)
        for (int i = from; i < to; i++) all += own[k * chunk + i];
    sums[l] = all;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int step = 1; step < WG; step *= 2) {
        const int more = l >= step ? sums[l - step] : 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        sums[l] += more;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    int at = plane * PLANE + sums[l] - all;
    for (int i = from; i < to; i++)
        for (int k = 0; k < CHUNKS; k++) {
            const int n = own[k * chunk + i];
            own[k * chunk + i] = at;
            at += n;
        }
}

/* Puts a chunk's samples in its bins' places in the records, in their order: of those of a tile, each counts the ones before it
 * that share its bin. Leaves in counts where each bin's samples of the chunk end. Items (TILE * planes, CHUNKS). */
__kernel __attribute__((reqd_work_group_size(TILE, 1, 1)))
void deform_place(const __global act_t *samples, const __global float *shares, volatile __global int *counts,
                  __global int4 *records, int row, int images)
{
    __local int4 bins[TILE / 4];
    const int l = (int)get_local_id(0), plane = (int)(get_global_id(0) / TILE), level = plane % LEVELS;
    const int chunk = (int)get_global_id(1), image = plane / LEVELS / HEADS, head = plane / LEVELS % HEADS;
    volatile __global int *own = counts + (chunk * images * HEADS + plane / LEVELS) * BINS;
    for (int t = chunk * CHUNK; t < min(PLANE, (chunk + 1) * CHUNK); t += TILE) {
        const int query = (t + l) / POINTS, s = level * POINTS + (t + l) % POINTS, pair = (image * CELLS + query) * HEADS + head;
        place_t p;
        const int bin = t + l < PLANE ? bin_of(&p, samples, row * HEADS + pair, s) : -1;
        ((__local int *)bins)[l] = bin;
        barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
        int ahead = 0, all = 0;
        for (int k = 0; k < TILE / 4; k++) {
            const int4 same = bins[k] == bin; /* -1 where it is */
            all -= same.x + same.y + same.z + same.w;
            ahead -= k < l / 4 ? same.x + same.y + same.z + same.w : 0;
        }
        const int4 same = bins[l / 4] == bin;
        ahead -= (l % 4 > 0 ? same.x : 0) + (l % 4 > 1 ? same.y : 0) + (l % 4 > 2 ? same.z : 0);
        const int at = bin >= 0 ? own[bin] + ahead : 0;
        barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
        if (bin < 0) continue;
        records[at] = (int4)(query, as_int(shares[(size_t)pair * EACH + s]), as_int(p.lx), as_int(p.ly));
        if (ahead == all - 1) own[bin] = at + 1;
    }
}

/* Tiles of a level. */
inline int tiles_of(int level)
{
    return ((level_h[level] + SIDE - 1) / SIDE) * ((level_w[level] + SIDE - 1) / SIDE);
}

/* What the samples of one bin add to its four cells. */
inline void bin_sums(vec sum[4], const __global act_t *d_o, const __global int4 *records, int from, int to)
{
    for (int k = 0; k < 4; k++) sum[k] = TO_VEC(0.0f);
    for (int i = from; i < to; i += AHEAD) {
        int4 r[AHEAD];
        vec d[AHEAD];
        for (int k = 0; k < AHEAD; k++) r[k] = records[min(i + k, to - 1)];
        for (int k = 0; k < AHEAD; k++) d[k] = LDV(ACT, d_o, (size_t)r[k].x * WIDTH);
        for (int k = 0; k < AHEAD; k++) {
            const float lx = as_float(r[k].z), ly = as_float(r[k].w);
            const vec all = (i + k < to ? as_float(r[k].y) : 0.0f) * d[k], right = lx * all, left = all - right;
            sum[0] += left - ly * left;
            sum[1] += right - ly * right;
            sum[2] += ly * left;
            sum[3] += ly * right;
        }
    }
}

/* SLICE columns of dvalue for a tile of SIDE x SIDE cells. Items (WG * tiles of all levels, images * heads * slices). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void deform_gather(const __global act_t *d_o, const __global int *counts, const __global int4 *records, __global act_t *dvalue,
                   int row, int images)
{
    __local vec part[BINS_HERE * 4][SLICE / VW];
    const int l = (int)get_local_id(0), c = l % (SLICE / VW), slice = (int)get_global_id(1) % (HD / SLICE);
    const int head = (int)get_global_id(1) / (HD / SLICE), column = head % HEADS * HD + slice * SLICE + c * VW;
    int tile = (int)(get_global_id(0) / WG), level = 0;
    for (; tile >= tiles_of(level); level++) tile -= tiles_of(level);
    const int h = level_h[level], w = level_w[level], wide = (w + SIDE - 1) / SIDE;
    const int y0 = tile / wide * SIDE, x0 = tile % wide * SIDE, plane = head * LEVELS + level;
    const size_t first = (size_t)(row + head / HEADS * CELLS) * WIDTH + column;
    const __global int *ends = counts + ((CHUNKS - 1) * images * HEADS + head) * BINS + level_bin[level];
    for (int i = l / (SLICE / VW); i < BINS_HERE; i += WG / (SLICE / VW)) {
        const int y = y0 + i / (SIDE + 1), x = x0 + i % (SIDE + 1), bin = y * (w + 1) + x;
        const bool there = y <= h && x <= w;
        vec sum[4];
        bin_sums(sum, d_o + first, records, there && bin ? ends[bin - 1] : plane * PLANE, there ? ends[bin] : 0);
        for (int k = 0; k < 4; k++) part[4 * i + k][c] = sum[k];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = l / (SLICE / VW); i < SIDE * SIDE; i += WG / (SLICE / VW)) {
        const int y = y0 + i / SIDE, x = x0 + i % SIDE, bin = 4 * (i / SIDE * (SIDE + 1) + i % SIDE), below = bin + 4 * (SIDE + 1);
        if (y >= h || x >= w) continue;
        const vec sum = (part[bin + 3][c] + part[bin + 4 + 2][c]) + (part[below + 1][c] + part[below + 4][c]);
        STV(ACT, dvalue, first + (size_t)(level_first[level] + y * w + x) * WIDTH, sum);
    }
}
