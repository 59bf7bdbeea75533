/* Several products over a long K at once: for each job C += alpha * thin^T wide, thin [K, M] with M <= 48, wide [K, N]. A group sums
 * `rows` rows of one tile of 128 columns of one job; the last of a tile's groups to end adds their parts, in their order, so that
 * the result does not depend on who that is. Groups: tiles * splits.
 *
 *   ACT: storage of thin and wide. Rows of both begin at 16-byte multiples. A job with a threshold reads wide with its dropout. */
#define VW 1
#include "ptx.h"
#include "common.h"
#include "drop.h"
#include "step.h"
#define ITEMS  128
#define STEP   32
#define DEPTH  4
#define JOBS   12
#define WIDE   128
#define MOST   48
#define A_MOST (STEP * MOST * 2)
#define BYTES  (A_MOST + STEP * WIDE * 2) /* of a step */
#define PART   (MOST * WIDE)              /* floats of a group's part */

/* Where the operands begin and how far their rows are apart; C's strides along thin and wide; the first of its tiles. As grad_job of
 * src/ops/grads.c. */
typedef struct {
    uint thin, wide, c;
    int thin_ld, wide_ld, c_thin, c_wide, M, N, first;
    uint salt, threshold, bits; /* bits: the first of the mask's words */
    float alpha;
} grad_job;
typedef struct {
    grad_job job[JOBS];
} grad_jobs;

#include "pieces.h"

/* The blocks of a step's rows, 16 of them after the others. */
#ifdef BITS
#define KEPT_BYTES (STEP / 16 * (WIDE / 32) * BITS_BLOCK)
#define FETCH_KEPT(s)                                                                                                              \
    if (j.threshold && id < KEPT_BYTES / 16)                                                                                       \
        copy_bits(kept_at + (s) % DEPTH * KEPT_BYTES, id,                                                                          \
                  bits_block(begin + (s)*STEP + id / 16 * 16, n0 + id / 4 % 4 * 32, K, j.N A_BITS));
#else
#define KEPT_BYTES 0
#define FETCH_KEPT(s)
#endif

/* The part of rows begin to `end` of the tile at n0, of K; mi tiles of 16 along thin. */
inline void sum_rows(__global float *part, uint base, const __global ushort *thin, const __global ushort *wide, grad_job j, int n0,
                     int begin, int end, int K, uint seed, int id, const int mi P_BITS)
{
    const int warp = id / 32, lane = id % 32, r = lane / 4, q = lane % 4, n_of = warp * 32, steps = (end - begin + STEP - 1) / STEP;
    float acc[MOST / 16][4][4];
    const uint kept_at = base + BYTES * DEPTH;
    UNROLL for (int i = 0; i < mi; i++)
        UNROLL for (int t = 0; t < 4; t++)
            UNROLL for (int e = 0; e < 4; e++) acc[i][t][e] = 0.0f;
    piece_stream b_next = stream_pieces(wide, j.wide_ld, WIDE / 8, begin, end, n0, j.N, id), a_next[2];
    UNROLL for (int i = 0; i < 2; i++) a_next[i] = stream_pieces(thin, j.thin_ld, 2 * mi, begin, end, 0, j.M, id + i * ITEMS);
#define FETCH(s)                                                                                                                   \
    if ((s) < steps) {                                                                                                             \
        const uint to = base + (s) % DEPTH * BYTES;                                                                                \
        UNROLL for (int i = 0; i * ITEMS < STEP * 2 * mi; i++)                                                                     \
            if (id + i * ITEMS < STEP * 2 * mi) fetch_next(&a_next[i], to, j.thin_ld, STEP, STEP, 2 * mi);                         \
        fetch_next(&b_next, to + A_MOST, j.wide_ld, STEP, ITEMS / (WIDE / 8), WIDE / 8);                                           \
        FETCH_KEPT(s)                                                                                                              \
    }                                                                                                                              \
    commit_copies();
    for (int s = 0; s < DEPTH - 1; s++) { FETCH(s) }
    for (int s = 0; s < steps; s++) {
        WAIT_COPIES(2); /* DEPTH - 2 */
        barrier(CLK_LOCAL_MEM_FENCE);
        FETCH(s + DEPTH - 1)
        const uint a_at = base + s % DEPTH * BYTES, b_at = a_at + A_MOST;
        UNROLL for (int k = 0; k < STEP; k += 16) {
            uint a[MOST / 16][4], b[2][4];
            UNROLL for (int i = 0; i < mi; i++) {
                const int row = k + lane % 8 + lane / 16 * 8, c = i * 2 + lane / 8 % 2;
                LDMATRIX(".trans", a[i][0], a[i][1], a[i][2], a[i][3], a_at + PIECE(row, c, 2 * mi));
            }
            UNROLL for (int t = 0; t < 2; t++) {
                const int row = k + lane % 16, c = (n_of + t * 16) / 8 + lane / 16;
                LDMATRIX(".trans", b[t][0], b[t][1], b[t][2], b[t][3], b_at + PIECE(row, c, WIDE / 8));
            }
            if (j.threshold) {
#ifdef BITS
                const uint words = kept_at + s % DEPTH * KEPT_BYTES + (k / 16 * (WIDE / 32) + warp) * BITS_BLOCK;
                const uint kept = bits_here(words, lane);
#else
                const uint kept = bits_drawn(begin + s * STEP + k + r, n0 + n_of, j.N, seed, j.threshold);
#endif
                const uint spread = spread_below(kept, lane);
                UNROLL for (int t = 0; t < 2; t++)
                    UNROLL for (int e = 0; e < 4; e++) b[t][e] = keep_pair(b[t][e], spread, 4 * t + e);
            }
            UNROLL for (int i = 0; i < mi; i++)
                UNROLL for (int t = 0; t < 4; t++)
                    MMA16816(acc[i][t], a[i][0], a[i][1], a[i][2], a[i][3], b[t / 2][t % 2 * 2], b[t / 2][t % 2 * 2 + 1]);
        }
    }
    UNROLL for (int i = 0; i < mi; i++)
        UNROLL for (int t = 0; t < 4; t++)
            UNROLL for (int h = 0; h < 2; h++)
                vstore2((float2)(acc[i][t][2 * h], acc[i][t][2 * h + 1]), 0,
                        part + (i * 16 + h * 8 + r) * WIDE + n_of + t * 8 + 2 * q);
}

/* Every group's writes before this are there for whoever comes behind it. */
inline void groups_fence(void)
{
    __asm volatile("fence.acq_rel.gpu;" ::: "memory");
}

/* C of the tile: its parts in their order. Rows of several warps, several parts and what C held are asked for at once, so that enough
 * is on its way; a part has room for all rows. */
#define ROWS  4
#define PARTS 8
inline void add_parts(__global float *C, const __global float *parts, grad_job j, int n0, int splits, int id)
{
    const int n = id % 32 * 4;
    C += j.c;
    for (int m0 = id / 32; m0 < j.M; m0 += ROWS * ITEMS / 32) {
        float4 s[ROWS];
        float was[ROWS][4];
        UNROLL for (int i = 0; i < ROWS; i++) {
            const int m = min(m0 + i * (ITEMS / 32), j.M - 1);
            s[i] = (float4)(0.0f);
            UNROLL for (int e = 0; e < 4; e++) was[i][e] = C[(size_t)m * j.c_thin + (size_t)min(n0 + n + e, j.N - 1) * j.c_wide];
        }
        for (int z = 0; z < splits; z += PARTS) {
            float4 v[PARTS][ROWS];
            UNROLL for (int e = 0; e < PARTS; e++)
                UNROLL for (int i = 0; i < ROWS; i++)
                    v[e][i] = vload4(0, parts + (size_t)min(z + e, splits - 1) * PART + (m0 + i * (ITEMS / 32)) * WIDE + n);
            UNROLL for (int e = 0; e < PARTS; e++)
                UNROLL for (int i = 0; i < ROWS; i++) s[i] += z + e < splits ? v[e][i] : (float4)(0.0f);
        }
        UNROLL for (int i = 0; i < ROWS; i++) {
            const int m = m0 + i * (ITEMS / 32);
            const float v[4] = {s[i].x, s[i].y, s[i].z, s[i].w};
            UNROLL for (int e = 0; e < 4; e++)
                if (m < j.M && n0 + n + e < j.N)
                    C[(size_t)m * j.c_thin + (size_t)(n0 + n + e) * j.c_wide] = fma(j.alpha, v[e], was[i][e]);
        }
    }
}

#ifdef BITS
#define P_JOBS_BITS , const __global ushort *bits
#define A_JOB_BITS  , bits, j.bits
#else
#define P_JOBS_BITS
#define A_JOB_BITS
#endif
#define P(i) , const __global ushort *thin##i, const __global ushort *wide##i, __global float *c##i
#define OPERAND(i)                                                                                                                 \
    if (at == i) thin = thin##i, wide = wide##i, C = c##i;

/* counts: one for each tile, zero before and after. */
__kernel GROUP(ITEMS)
void thin_grads(const grad_jobs jobs, int n_jobs, int tiles, int splits, int rows, int K, const __global tn_step *step,
                __global float *parts, volatile __global uint *counts P_JOBS_BITS P(0) P(1) P(2) P(3) P(4) P(5) P(6) P(7) P(8) P(9) P(10) P(11))
{
    __local uchar local_tiles[(BYTES + KEPT_BYTES) * DEPTH] __attribute__((aligned(128)));
    __local uint ended;
    const uint base = LOCAL_ADDRESS(local_tiles);
    const int id = (int)get_local_id(0), group = GROUP_ID(0, ITEMS), tile = group % tiles, z = group / tiles;
    int at = 0;
    while (at + 1 < n_jobs && tile >= jobs.job[at + 1].first) at++;
    const grad_job j = jobs.job[at];
    const __global ushort *thin = thin0, *wide = wide0;
    __global float *C = c0;
    OPERAND(1) OPERAND(2) OPERAND(3) OPERAND(4) OPERAND(5) OPERAND(6)
    OPERAND(7) OPERAND(8) OPERAND(9) OPERAND(10) OPERAND(11)
    const int n0 = (tile - j.first) * WIDE, begin = z * rows, end = min(K, begin + rows);
    const uint seed = tn_hash(step->seed, j.salt);
    __global float *mine = parts + (size_t)tile * splits * PART;
    thin += j.thin, wide += j.wide;
    if (j.M <= 16) sum_rows(mine + (size_t)z * PART, base, thin, wide, j, n0, begin, end, K, seed, id, 1 A_JOB_BITS);
    else if (j.M <= 32) sum_rows(mine + (size_t)z * PART, base, thin, wide, j, n0, begin, end, K, seed, id, 2 A_JOB_BITS);
    else sum_rows(mine + (size_t)z * PART, base, thin, wide, j, n0, begin, end, K, seed, id, 3 A_JOB_BITS);
    groups_fence();
    barrier(CLK_LOCAL_MEM_FENCE);
    if (id == 0) ended = atomic_inc(&counts[tile]);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (ended + 1 != (uint)splits) return;
    groups_fence();
    if (id == 0) counts[tile] = 0;
    add_parts(C, mine, j, n0, splits, id);
}
