/* C[M,N] = epilogue(A[M,K] op(B)) on Hopper (wgmma.h). Rewritten PTX. 16-bit storage (ACT), float32 sums; N a multiple of 8, every row
 * aligned to 16 bytes; M and K free.
 *
 *   TB 1: B is [N,K], a linear layer's weight; 0: [K,N].   PAIR p: p steps of 16 along the second pair's depth, T [M, ...] times
 *   L ([N, depth] where TB, else [depth, N]), come first; their sum is scaled and masked, and the product is added to it.
 *   Epilogue: matrix_unit.h.   BN, MI, DEPTH: tile columns, 64 rows times MI, stages of 64 along K in local memory.
 *   PATCHES: a convolution. A's rows are never in memory: patches.h.
 *
 * Groups: one a multiprocessor, `units` of them; each walks over its share of the tiles. Where less than half of them have a tile in
 * the last round, the 64-row halves of its tiles (MI 2) are dealt out instead. */
#include "common.h"
#include "step.h"
#include "ptx.h"
#include "matrix_unit.h"
#if !defined(SLOPE) && !defined(RESIDUAL) /* else the extras have the room */
#define LAID
#endif
#include "epilogue.h"
#include "drop.h"
#ifndef PAIR
#define PAIR 0
#endif
#include "copy_engine.h"
#include "wgmma.h"
/* The copy engine also brings a tile's extra, to a place of its own for each warpgroup. */
#define EXTRA_BYTES (READS ? BM * BN * 2 : 0)
#ifdef PATCHES
#include "patches.h"
#define P_PATCHES , int tiles, patch_grid grid, place_grid to
#define DOWN      tiles
#else
#define P_PATCHES
#define DOWN      ((M + BM - 1) / BM)
#endif

/* What a group is to do next: tile n across, rows from `top` on, all of a tile's or the 64 of half of one. */
typedef struct {
    int top, n;
    bool halved;
} share;

#if MI == 2 && !defined(PATCHES)
/* Tiles of the last round that are dealt out in halves. */
inline int tiles_halved(int all, int units)
{
    const int last = all % units;
    return all > units && 2 * last <= units ? last : 0;
}
#define HALF(s) (s).halved
#else
#define tiles_halved(all, units) 0
#define HALF(s)                  false
#endif

/* The t-th of all + halved. */
inline share share_at(int t, int all, int halved, int down, int across)
{
    const int beyond = t - (all - halved), tile = beyond < 0 ? t : t - (beyond + 1) / 2;
    int m, n;
    tile_at(tile, down, across, &m, &n);
    const share s = {m * BM + (beyond >= 0 ? (beyond & 1) * 64 : 0), n, beyond >= 0};
    return s;
}

/* The extra of 32 columns, from c on, of rows r and r+8 of the tile that the copy engine laid at `at`, in blocks of 64 columns. */
inline void staged_extra(uint4 *held, uint at, int r, int c)
{
    const int lane = (int)get_local_id(0) & 31, in = lane & 7;
    UNROLL for (int h = 0; h < 2; h++) {
        const uint from = at + c / 64 * (BM * 128) + (r - (lane >> 2) + 8 * h + in) * 128 + SWIZZLE(in, c % 64 / 8 + (lane >> 3));
        LDMATRIX("", held[h].x, held[h].y, held[h].z, held[h].w, from);
    }
}

/* Local memory: the ring, the extras or a kilobyte for each warp that multiplies, then the barriers. */
#ifdef LAID
#define LAID_BYTES 8192
#else
#define LAID_BYTES 0
#endif
/* What a tile's rows are normed by: a warp that has nothing else to do works it out where ends are all arithmetic; where they read a
 * table besides (TURN), that is 3 to 10 % slower than what the lanes that multiply do themselves. */
#if defined(NORM) && !defined(TURN)
#define NORMS_AHEAD
#define NORM_BYTES (BM * 8) /* -mean and 1 / deviation of a warpgroup's rows */
#else
#define NORM_BYTES 0
#endif
#define NORMS_AT    (STAGE * DEPTH + 2 * EXTRA_BYTES + LAID_BYTES)
#define BARRIERS_AT (NORMS_AT + 2 * NORM_BYTES)
#define LOCAL_BYTES (BARRIERS_AT + RING_BARRIERS + 64)

/* Of what lies there for each warpgroup. */
inline void open_places(uint full, uint empty)
{
    for (int g = 0; g < 16; g += 8) {
        bar_init(full + g, 1);
        bar_init(empty + g, 4);
    }
}

#ifdef NORMS_AHEAD
inline void put_norms(const __global float2 *restrict row_sums, uint to, int top, int M, float eps)
{
    for (int r = (int)get_local_id(0) & 31; r < BM; r += 32) {
        const float2 norm = norm_of(blocks_sum(row_sums, top + r, M, 0, 1), eps);
        __asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to + r * 8), "f"(norm.x), "f"(norm.y) : "memory");
    }
}

inline float2 norm_at(uint at)
{
    float2 r;
    __asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(r.x), "=f"(r.y) : "r"(at) : "memory");
    return r;
}
#define NORM_OF(row) norm_at(norms + group * NORM_BYTES + ((row)-now.top) * 8)
#else
#define NORM_OF(row) norm_by_quad(row_sums, row, M, norm_eps)
#endif

#if PAIR
#define P_PAIR , const __global uchar *maps_t, uint map_t, const __global uchar *maps_l, uint map_l, int part, float pair_alpha
#else
#define P_PAIR
#endif
#if READS
#define P_READS , const __global uchar *maps_e, uint map_e
#else
#define P_READS
#endif

#ifdef NORM
#define BEGUN true
#else
#define BEGUN PAIR
#endif
#define PIECES_ACROSS (BN / 32)
#define PIECE_COUNT   (MI * PIECES_ACROSS)
#define ROW(x)        (now.top + (x) / PIECES_ACROSS * 64 + (warp & 3) * 16 + (lane >> 2))
#ifdef PATCHES
#define ROWS(x) rows[(x) / PIECES_ACROSS]
#else
#define ROWS(x) (int2)(ROW(x), ROW(x) + 8)
#endif
#define COLUMN(x)     (now.n * BN + (x) % PIECES_ACROSS * 32)
#define SUMS_OF(x)    &acc[(x) / PIECES_ACROSS][(x) % PIECES_ACROSS * 16]

/* Drawn before it is this warpgroup's turn to multiply: the other one's products take the time. */
#ifdef BITS
#define KEPT(x) (uint)bits_block(ROW(x), COLUMN(x), M, N A_BITS)[lane]
#elif defined(MASK_E)
#define KEPT(x) bits_drawn(ROW(x), COLUMN(x), N, seed, e_threshold)
#else
#define KEPT(x) 0xffffu
#endif

#if PAIR
#define PAIR_PRODUCTS(rows)                                                                                                        \
    for (int l = 0; l < PAIR; l++, i++) {                                                                                          \
        USE(multiply16, rows, i, l, true);                                                                                         \
        if (l > 0) RELEASE(i - 1);                                                                                                 \
    }                                                                                                                              \
    WAIT_SUMS(rows);                                                                                                               \
    RELEASE(i - 1);                                                                                                                \
    UNROLL for (int x = 0; x < (rows)*PIECES_ACROSS; x++) settle(SUMS_OF(x), kept[x / 2] >> x % 2 * 16, pair_scale);
#else
#define PAIR_PRODUCTS(rows)
#endif
/* Of 64 * rows rows. A loop for each number: no branch may stand between products. */
#define PRODUCTS(rows)                                                                                                             \
    {                                                                                                                              \
        PAIR_PRODUCTS(rows)                                                                                                        \
        for (int kt = 0; kt < steps; kt++, i++) {                                                                                  \
            USE(multiply64, rows, i, BEGUN || kt, false);                                                                          \
            if (kt > 0) RELEASE(i - 1);                                                                                            \
        }                                                                                                                          \
        PASS_TURN();                                                                                                               \
        WAIT_SUMS(rows);                                                                                                           \
        RELEASE(i - 1);                                                                                                            \
    }

#if READS
#define STAGED_EXTRA(x) staged_extra(held, extras + group * EXTRA_BYTES, ROW(x) - now.top, COLUMN(x) - now.n * BN);
#else
#define STAGED_EXTRA(x)
#endif
#ifdef TURN
#define END_PIECES(from, to) UNROLL for (int x = from; x < to; x += 2) FINISH_TURNED(x)
#else
#define END_PIECES(from, to)                                                                                                       \
    UNROLL for (int x = from; x < to; x++)                                                                                         \
    {                                                                                                                              \
        STAGED_EXTRA(x)                                                                                                            \
        finish(SUMS_OF(x), held, ROWS(x), COLUMN(x), M, N A_RSTD(x) A_RUNNING A_LAID A_END);                                       \
    }
#endif

/* part: columns of C that share columns of T (N where all take all of it). Items THREADS * units. */
__kernel GROUP(THREADS) void gemm_wgmma(const __global uchar *maps_a, uint map_a, const __global uchar *maps_b, uint map_b, int M,
                                        int N, int K, int units P_PATCHES P_PAIR P_READS P_MASK P_BITS P_ROW_SUMS P_END)
{
    __local uchar __attribute__((aligned(1024))) space[LOCAL_BYTES];
    MIN_GROUPS(1);
    const uint base = LOCAL_ADDRESS(space), extras = base + STAGE * DEPTH, extra_full = base + BARRIERS_AT + RING_BARRIERS,
               extra_empty = extra_full + 16, norms = base + NORMS_AT, norm_full = extra_full + 32, norm_empty = norm_full + 16;
    const ring p = ring_at(base, base + BARRIERS_AT);
    const int id = (int)get_local_id(0), warp = id >> 5, lane = id & 31, unit = GROUP_ID(0, THREADS);
    const int down = DOWN, across = (N + BN - 1) / BN, all = down * across, halved = tiles_halved(all, units), shares = all + halved;
    const int steps = (K + BK - 1) / BK, stages = steps + PAIR; /* of a tile */
    if (id == 0) {
        open_ring(p);
        open_places(extra_full, extra_empty);
        open_places(norm_full, norm_empty);
        show_barriers();
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    if (warp >= 8) { /* load */
        FEW_REGISTERS();
        if (id == LOADER) {
            const __global uchar *at_a = maps_a + map_a * 128, *at_b = maps_b + map_b * 128;
            for (int t = unit, i = 0, turn = 0; t < shares; t += units) {
                const share now = share_at(t, all, halved, down, across);
                const int m0 = now.top, n0 = now.n * BN;
#if PAIR
                for (int l = 0; l < PAIR; l++, i++) {
                    const int t0 = TB ? n0 / part * (PAIR * 16) + l * 16 : l * 16;
                    const uint to = stage_to_fill(p, i, (BM + BN) * 32);
                    load_box(to, maps_t + map_t * 128, t0, m0, FULL(i));
#if TB
                    load_box(to + A_BYTES, maps_l + map_l * 128, l * 16, n0, FULL(i));
#else
                    for (int j = 0; j < BN / 64; j++)
                        load_box(to + A_BYTES + j * 8192, maps_l + map_l * 128, n0 + j * 64, l * 16, FULL(i));
#endif
                }
#endif
#ifdef PATCHES
                patch_walk w = first_patch(&grid, m0 / BM);
                for (int kt = 0; kt < steps; kt++, i++, next_patch(&grid, &w)) {
                    const uint to = stage_to_fill(p, i, (grid.wide * grid.tall + BN) * BK * 2);
                    load_patch(to, at_a, w.channel, w.x, w.y, w.image, FULL(i));
                    load_box(to + A_BYTES, at_b, w.k, n0, FULL(i));
                }
#else
                for (int kt = 0; kt < steps; kt++, i++) {
                    const int k0 = kt * BK;
                    const uint to = stage_to_fill(p, i, STAGE);
                    load_box(to, at_a, k0, m0, FULL(i));
#if TB
                    load_box(to + A_BYTES, at_b, k0, n0, FULL(i));
#else
                    for (int j = 0; j < BN / 64; j++) load_box(to + A_BYTES + j * 8192, at_b, n0 + j * 64, k0, FULL(i));
#endif
                }
#endif
#if READS
                /* last, for then the warpgroup multiplies already and has read what lay there before */
                const uint g = turn & 1, to = extras + g * EXTRA_BYTES, bar = extra_full + 8 * g;
                bar_wait(extra_empty + 8 * g, (turn / 2 & 1) ^ 1);
                bar_expect(bar, EXTRA_BYTES);
                for (int j = 0; j < BN / 64; j++) load_box(to + j * BM * 128, maps_e + map_e * 128, n0 + j * 64, m0, bar);
                turn++;
#endif
            }
        }
#ifdef NORMS_AHEAD
        else if (warp == LOADER / 32 + 1) {
            for (int t = unit, turn = 0; t < shares; t += units, turn++) {
                const uint g = turn & 1;
                bar_wait(norm_empty + 8 * g, (turn / 2 & 1) ^ 1);
                put_norms(row_sums, norms + g * NORM_BYTES, share_at(t, all, halved, down, across).top, M, norm_eps);
                sync_warp();
                if (lane == 0) bar_arrive(norm_full + 8 * g);
            }
        }
#endif
    } else { /* multiply */
        MANY_REGISTERS();
        const int group = warp >> 2;
#ifdef LAID
        const uint laid = extras + warp * 1024;
#endif
        float acc[MI][BN / 2];
        int i = group * stages, turn = 0, turns = 0;
#ifdef MASK_E
#ifndef BITS
        const uint seed = tn_hash(step->seed, e_salt);
#endif
        const float pair_scale = pair_alpha * e_keep;
#elif PAIR
        const float pair_scale = pair_alpha;
#endif
        for (int t = unit; t < shares; t += units, turn ^= 1) {
            if (turn != group) continue;
            const share now = share_at(t, all, halved, down, across);
#if PAIR
            uint kept[PIECE_COUNT / 2]; /* 16 bits a piece */
            UNROLL for (int x = 0; x < PIECE_COUNT / 2; x++) kept[x] = KEPT(2 * x) | KEPT(2 * x + 1) << 16;
#endif
#ifdef PATCHES
            int2 rows[MI];
            UNROLL for (int x = 0; x < MI; x++) rows[x] = places_of(&grid, &to, ROW(x * PIECES_ACROSS) - now.top, now.top / BM, M);
#endif
            RUN_SUMS
#ifdef NORMS_AHEAD
            bar_wait(norm_full + 8 * group, turns & 1);
#endif
#ifdef NORM
            BEGIN_NORMED
#endif
#ifdef NORMS_AHEAD
            sync_warp();
            if (lane == 0) bar_arrive(norm_empty + 8 * group);
#endif
            WAIT_TURN(turns);
            turns++;
            if (HALF(now)) PRODUCTS(1)
            else PRODUCTS(MI)
            i += stages;
            uint4 held[2];
#if READS
            bar_wait(extra_full + 8 * group, turns - 1 & 1);
#endif
            END_PIECES(0, PIECES_ACROSS)
            if (!HALF(now)) END_PIECES(PIECES_ACROSS, PIECE_COUNT)
#if READS
            publish(); /* read through one proxy, written next through the other */
            sync_warp();
            if (lane == 0) bar_arrive(extra_empty + 8 * group);
#endif
        }
    }
}
