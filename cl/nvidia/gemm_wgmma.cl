/* C[M,N] = epilogue(A[M,K] op(B)) with Hopper's warpgroup products (wgmma) and tensor copy engine. Rewritten PTX. 16-bit storage
 * (ACT), float32 sums; N a multiple of 8, every row aligned to 16 bytes; M and K free.
 *
 *   TB 1: B is [N,K], a linear layer's weight; 0: [K,N].   PAIR p: p steps of 16 along the second pair's depth, T [M, ...] times
 *   L ([N, depth] where TB, else [depth, N]), come first; their sum is scaled and masked, and the product is added to it.
 *   Epilogue: matrix_unit.h.   BN, MI, DEPTH: tile columns, 64 rows times MI, stages of 64 along K in local memory.
 *
 * A group is a warp that loads and two warpgroups that multiply. Each of these takes every other tile of 64*MI x BN, so that one
 * stores while the other multiplies; the ring of stages serves both in turn (`full` and `empty` mbarriers, `order` between the two).
 * Groups: one a multiprocessor, `units` of them; each walks over its share of the tiles.
 *
 * The compiler runs products one by one (and only its report says so) where a branch stands between two of them in a loop; the wait
 * for the last takes the sums as "+f", or they may be read before it. */
#include "common.h"
#include "step.h"
#include "ptx.h"
#include "matrix_unit.h"
#include "epilogue.h"
#ifndef TB
#define TB 1
#endif
#ifndef PAIR
#define PAIR 0
#endif
#ifndef BN
#define BN 128
#endif
#ifndef MI
#define MI 2
#endif
#ifndef DEPTH
#define DEPTH 5
#endif
#define BK      64
#define BM      (64 * MI)
#define THREADS 384
/* 384 items get 168 registers each; the loading warpgroup hands some of its own to those that multiply */
#define LOAD_REGS     "40"
#define MULTIPLY_REGS "232"
#define A_BYTES       (BM * BK * 2)
#define STAGE         (A_BYTES + BN * BK * 2)
/* The copy engine also brings a tile's extra, to a place of its own for each warpgroup. */
#define EXTRA_BYTES (READS ? BM * BN * 2 : 0)
#define SWIZZLE(r, c) (((c) ^ ((r) & 7)) << 4) /* the 128-byte swizzle that wgmma and the copy engine share */

/* ---- barriers in local memory ---- */

inline void bar_init(uint bar, int count)
{
    __asm volatile(HIDDEN "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}

inline void bar_arrive(uint bar)
{
    __asm volatile(HIDDEN "mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

inline void bar_expect(uint bar, int bytes)
{
    __asm volatile(HIDDEN "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}

inline void bar_wait(uint bar, uint phase)
{
    __asm volatile(HIDDEN "{ .reg .pred p; WAIT: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1; @p bra DONE; bra WAIT; "
                          "DONE: }" ::"r"(bar),
                   "r"(phase)
                   : "memory");
}

/* What this item did to local memory by ordinary instructions comes before what the copy engine and wgmma do to it next. */
inline void publish(void)
{
    __asm volatile(HIDDEN "fence.proxy.async.shared::cta;" ::: "memory");
}

inline void load_box(uint to, const __global uchar *map, int x, int y, uint bar)
{
    __asm volatile(HIDDEN "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                          "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                   "l"(map), "r"(x), "r"(y), "r"(bar)
                   : "memory");
}

/* ---- wgmma ---- */
#define TEN(t) "%" #t "0,%" #t "1,%" #t "2,%" #t "3,%" #t "4,%" #t "5,%" #t "6,%" #t "7,%" #t "8,%" #t "9,"
#define F4(i)  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define F32(i) F4(i), F4(i + 4), F4(i + 8), F4(i + 12), F4(i + 16), F4(i + 20), F4(i + 24), F4(i + 28)
#if BN == 64
#define SUMS     TEN() TEN(1) TEN(2) "%30,%31"
#define SUM_ARGS F32(0)
#define DA       "%32"
#define DB       "%33"
#define KEEPS    "%34"
#elif BN == 128
#define SUMS     TEN() TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) "%60,%61,%62,%63"
#define SUM_ARGS F32(0), F32(32)
#define DA       "%64"
#define DB       "%65"
#define KEEPS    "%66"
#elif BN == 192
#define SUMS     TEN() TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7) TEN(8) "%90,%91,%92,%93,%94,%95"
#define SUM_ARGS F32(0), F32(32), F32(64)
#define DA       "%96"
#define DB       "%97"
#define KEEPS    "%98"
#endif
#if TB
#define NEXT_B  "2" /* 16 along K, in units of 16 bytes */
#define TRANS_B "0"
#else
#define NEXT_B  "128"
#define TRANS_B "1"
#endif
#define MULTIPLY(a, b)                                                                                                             \
    "wgmma.mma_async.sync.aligned.m64n" STR(BN) "k16.f32." T16 "." T16 " {" SUMS "}, " a ", " b ", p, 1, 1, 0, " TRANS_B "; "
#define NEXT  "add.s64 a, a, 2; add.s64 b, b, " NEXT_B "; " MULTIPLY("a", "b")
#define BEGIN HIDDEN "wgmma.fence.sync.aligned; { .reg .pred p; .reg .b64 a, b; setp.ne.b32 p, " KEEPS ", 0; "

/* A tile as wgmma is told of it: 8 rows of 128 bytes after one another make a swizzled kilobyte. */
inline ulong tile_of(uint at, uint beside)
{
    return 1ul << 62 | 64ul << 32 | (ulong)beside << 16 | at >> 4;
}

/* The same for rows of 32 bytes with the 32-byte swizzle: T and L come so (boxes of 64 that reach outside a matrix 16 wide cost the
 * copy engine as much as several full ones). */
inline ulong narrow_tile_of(uint at)
{
    return 3ul << 62 | 16ul << 32 | 1ul << 16 | at >> 4;
}

/* d = (keep ? d : 0) + 64 rows of A times B over a whole stage. One statement, so that nothing comes between. */
inline void multiply64(float *d, ulong a, ulong b, int keep)
{
    __asm volatile(BEGIN "mov.b64 a, " DA "; mov.b64 b, " DB "; " MULTIPLY("a", "b")
                   "setp.eq.b32 p, " KEEPS ", " KEEPS "; " NEXT NEXT NEXT "}"
                   : SUM_ARGS
                   : "l"(a), "l"(b), "r"(keep)
                   : "memory");
}

/* The same over 16 along K only. */
inline void multiply16(float *d, ulong a, ulong b, int keep)
{
    __asm volatile(BEGIN MULTIPLY(DA, DB) "}" : SUM_ARGS : "l"(a), "l"(b), "r"(keep) : "memory");
}

inline void commit_products(void)
{
    __asm volatile(HIDDEN "wgmma.commit_group.sync.aligned;" ::: "memory");
}

inline void wait_but_one(void)
{
    __asm volatile(HIDDEN "wgmma.wait_group.sync.aligned 1;" ::: "memory");
}

inline void wait_sums(float *d)
{
    __asm volatile(HIDDEN "wgmma.wait_group.sync.aligned 0;" : SUM_ARGS::"memory");
}

/* ---- the product ---- */

/* The extra of 32 columns, from c on, of rows r and r+8 of the tile that the copy engine laid at `at`: blocks of 64 columns, so
 * that this lane's words lie where no two lanes of the warp meet a bank. */
inline void staged_extra(uint4 *held, uint at, int r, int c)
{
    UNROLL for (int h = 0; h < 2; h++) {
        uint w[4];
        UNROLL for (int j = 0; j < 4; j++) {
            const uint from = at + c / 64 * (BM * 128) + (r + 8 * h) * 128 + SWIZZLE(r, c % 64 / 8 + j) + (get_local_id(0) & 3) * 4;
            __asm volatile("ld.shared.b32 %0, [%1];" : "=r"(w[j]) : "r"(from) : "memory");
        }
        held[h] = (uint4)(w[0], w[1], w[2], w[3]);
    }
}

/* Local memory: the ring, the extras, then the barriers. */
typedef struct {
    uint base, extras, full, empty, order, extra_full, extra_empty;
} places;
#define LOCAL_BYTES (STAGE * DEPTH + 2 * EXTRA_BYTES + 16 * DEPTH + 48)

inline places places_at(uint base)
{
    places p = {base, base + STAGE * DEPTH, base + STAGE * DEPTH + 2 * EXTRA_BYTES};
    p.empty = p.full + 8 * DEPTH;
    p.order = p.empty + 8 * DEPTH;
    p.extra_full = p.order + 16;
    p.extra_empty = p.order + 32;
    return p;
}

inline void open_barriers(places p)
{
    for (int s = 0; s < DEPTH; s++) {
        bar_init(p.full + 8 * s, 1);
        bar_init(p.empty + 8 * s, 4);
    }
    for (int g = 0; g < 16; g += 8) {
        bar_init(p.order + g, 4);
        bar_init(p.extra_full + g, 1);
        bar_init(p.extra_empty + g, 4);
    }
    __asm volatile(HIDDEN "fence.mbarrier_init.release.cluster;" ::: "memory");
}

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

/* Multiplies the i-th stage as soon as it is full; on return all stages before it have been read. */
#define USE(times, i, keep, lora)                                                                                                  \
    {                                                                                                                              \
        const uint at = p.base + (i) % DEPTH * STAGE, b_at = at + A_BYTES;                                                            \
        const ulong a = lora ? narrow_tile_of(at) : tile_of(at, 1);                                                                \
        const ulong b = TB && lora ? narrow_tile_of(b_at) : tile_of(b_at, TB ? 1 : 512);                                           \
        bar_wait(p.full + 8 * ((i) % DEPTH), (i) / DEPTH & 1);                                                                           \
        UNROLL for (int x = 0; x < MI; x++) times(acc[x], a + x * 4 * (lora ? 32 : 128), b, keep);                                 \
        commit_products();                                                                                                         \
        wait_but_one();                                                                                                            \
    }
#define RELEASE(i)                                                                                                                 \
    if (lane == 0) bar_arrive(p.empty + 8 * ((i) % DEPTH))
#define PIECES_ACROSS (BN / 32)
#define PIECE_COUNT   (MI * PIECES_ACROSS)
#define ROW(x)        (m * BM + (x) / PIECES_ACROSS * 64 + (warp & 3) * 16 + (lane >> 2))
#define COLUMN(x)     (n * BN + (x) % PIECES_ACROSS * 32)
#define SUMS_OF(x)    &acc[(x) / PIECES_ACROSS][(x) % PIECES_ACROSS * 16]

/* Drawn before it is this warpgroup's turn to multiply: the other one's products take the time. */
#ifdef MASK_E
#define KEPT(x) kept_bits(ROW(x), COLUMN(x), N, seed, e_threshold)
#else
#define KEPT(x) 0xffffu
#endif

/* part: columns of C that share columns of T (N where all take all of it). Items THREADS * units. */
__kernel GROUP(THREADS) void gemm_wgmma(const __global uchar *maps_a, uint map_a, const __global uchar *maps_b, uint map_b, int M,
                                        int N, int K, int units P_PAIR P_READS P_MASK P_END)
{
    __local uchar __attribute__((aligned(1024))) tiles[LOCAL_BYTES];
    MIN_GROUPS(1);
    const places p = places_at(LOCAL_ADDRESS(tiles));
    const int id = (int)get_local_id(0), warp = id >> 5, lane = id & 31, unit = (int)get_global_id(0) / THREADS;
    const int down = (M + BM - 1) / BM, across = (N + BN - 1) / BN, all = down * across;
    const int steps = (K + BK - 1) / BK, stages = steps + PAIR; /* of a tile */
    if (id == 0) open_barriers(p);
    barrier(CLK_LOCAL_MEM_FENCE);

    if (warp >= 8) { /* load */
        __asm volatile(HIDDEN "setmaxnreg.dec.sync.aligned.u32 " LOAD_REGS ";");
        if (id == 256) {
            const __global uchar *at_a = maps_a + map_a * 128, *at_b = maps_b + map_b * 128;
            for (int t = unit, i = 0, turn = 0; t < all; t += units) {
                int m, n;
                tile_at(t, down, across, &m, &n);
                const int m0 = m * BM, n0 = n * BN;
#if PAIR
                for (int l = 0; l < PAIR; l++, i++) {
                    const int s = i % DEPTH, t0 = TB ? n0 / part * (PAIR * 16) + l * 16 : l * 16;
                    const uint to = p.base + s * STAGE, bar = p.full + 8 * s;
                    bar_wait(p.empty + 8 * s, (i / DEPTH & 1) ^ 1);
                    bar_expect(bar, (BM + BN) * 32);
                    load_box(to, maps_t + map_t * 128, t0, m0, bar);
#if TB
                    load_box(to + A_BYTES, maps_l + map_l * 128, l * 16, n0, bar);
#else
                    for (int j = 0; j < BN / 64; j++)
                        load_box(to + A_BYTES + j * 8192, maps_l + map_l * 128, n0 + j * 64, l * 16, bar);
#endif
                }
#endif
                for (int kt = 0; kt < steps; kt++, i++) {
                    const int s = i % DEPTH, k0 = kt * BK;
                    const uint to = p.base + s * STAGE, bar = p.full + 8 * s;
                    bar_wait(p.empty + 8 * s, (i / DEPTH & 1) ^ 1);
                    bar_expect(bar, STAGE);
                    load_box(to, at_a, k0, m0, bar);
#if TB
                    load_box(to + A_BYTES, at_b, k0, n0, bar);
#else
                    for (int j = 0; j < BN / 64; j++) load_box(to + A_BYTES + j * 8192, at_b, n0 + j * 64, k0, bar);
#endif
                }
#if READS
                /* last, for then the warpgroup multiplies already and has read what lay there before */
                const uint g = turn & 1, to = p.extras + g * EXTRA_BYTES, bar = p.extra_full + 8 * g;
                bar_wait(p.extra_empty + 8 * g, (turn / 2 & 1) ^ 1);
                bar_expect(bar, EXTRA_BYTES);
                for (int j = 0; j < BN / 64; j++) load_box(to + j * BM * 128, maps_e + map_e * 128, n0 + j * 64, m0, bar);
                turn++;
#endif
            }
        }
    } else { /* multiply */
        __asm volatile(HIDDEN "setmaxnreg.inc.sync.aligned.u32 " MULTIPLY_REGS ";");
        const int group = warp >> 2;
        float acc[MI][BN / 2];
        int i = group * stages, turn = 0, turns = 0;
#ifdef MASK_E
        const uint seed = tn_hash(step->seed, e_salt);
        const float pair_scale = pair_alpha * e_keep;
#elif PAIR
        const float pair_scale = pair_alpha;
#endif
        for (int t = unit; t < all; t += units, turn ^= 1) {
            if (turn != group) continue;
            int m, n;
            tile_at(t, down, across, &m, &n);
#if PAIR
            uint kept[PIECE_COUNT / 2]; /* 16 bits a piece */
            UNROLL for (int x = 0; x < PIECE_COUNT / 2; x++) kept[x] = KEPT(2 * x) | KEPT(2 * x + 1) << 16;
#endif
            bar_wait(p.order + 8 * group, (turns++ & 1) ^ (group == 0)); /* a phase is known by one bit only */
#if PAIR
            for (int l = 0; l < PAIR; l++, i++) {
                USE(multiply16, i, l, true);
                if (l > 0) RELEASE(i - 1);
            }
            UNROLL for (int x = 0; x < MI; x++) wait_sums(acc[x]);
            RELEASE(i - 1);
            UNROLL for (int x = 0; x < PIECE_COUNT; x++) settle(SUMS_OF(x), kept[x / 2] >> x % 2 * 16, pair_scale);
#endif
            for (int kt = 0; kt < steps; kt++, i++) {
                USE(multiply64, i, PAIR || kt, false);
                if (kt > 0) RELEASE(i - 1);
            }
            if (lane == 0) bar_arrive(p.order + 8 * (group ^ 1));
            UNROLL for (int x = 0; x < MI; x++) wait_sums(acc[x]);
            RELEASE(i - 1);
            i += stages;
            uint4 held[2];
#if READS
            bar_wait(p.extra_full + 8 * group, turns - 1 & 1);
#endif
#ifdef TURN
            UNROLL for (int x = 0; x < PIECE_COUNT; x += 2) FINISH_TURNED(x)
#else
            UNROLL for (int x = 0; x < PIECE_COUNT; x++) {
#if READS
                staged_extra(held, p.extras + group * EXTRA_BYTES, ROW(x) - m * BM, COLUMN(x) - n * BN);
#endif
                finish(SUMS_OF(x), held, ROW(x), COLUMN(x), M, N A_END);
            }
#endif
#if READS
            publish(); /* read through one proxy, written next through the other */
            __asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
            if (lane == 0) bar_arrive(p.extra_empty + 8 * group);
#endif
        }
    }
}
