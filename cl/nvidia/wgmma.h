/* Hopper's warpgroup products (wgmma) of tiles in local memory that the copy engine fills. Rewritten PTX. Needs ptx.h and
 * copy_engine.h. BN: columns of a product (64, 128, 160 or 192). TB 1: B lies [BN, K], 0: [K, BN]. TA 1: A lies [K, 64],
 * 0: [64, K]. MI, DEPTH: see the end.
 *
 * The compiler runs products one by one (and only its report says so) where a branch stands between two of them in a loop; the wait
 * for the last takes the sums as "+f", or they may be read before it. */
#ifndef TA
#define TA 0
#endif
#ifndef TB
#define TB 1
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
#define BK            64                     /* of a stage */
#define SWIZZLE(r, c) (((c) ^ ((r)&7)) << 4) /* the 128-byte swizzle that wgmma and the copy engine share */

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
#elif BN == 160
#define SUMS     TEN() TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) "%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
#define SUM_ARGS F32(0), F32(32), F4(64), F4(68), F4(72), F4(76)
#define DA       "%80"
#define DB       "%81"
#define KEEPS    "%82"
#elif BN == 192
#define SUMS     TEN() TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7) TEN(8) "%90,%91,%92,%93,%94,%95"
#define SUM_ARGS F32(0), F32(32), F32(64)
#define DA       "%96"
#define DB       "%97"
#define KEEPS    "%98"
#endif
/* 16 along K, in units of 16 bytes */
#if TA
#define NEXT_A  "128"
#define TRANS_A "1"
#else
#define NEXT_A  "2"
#define TRANS_A "0"
#endif
#if TB
#define NEXT_B  "2"
#define TRANS_B "0"
#else
#define NEXT_B  "128"
#define TRANS_B "1"
#endif
#define MULTIPLY(a, b)                                                                                                             \
    "wgmma.mma_async.sync.aligned.m64n" STR(BN) "k16.f32." T16 "." T16 " {" SUMS "}, " a ", " b ", p, 1, 1, " TRANS_A ", " TRANS_B \
                                                "; "
#define NEXT  "add.s64 a, a, " NEXT_A "; add.s64 b, b, " NEXT_B "; " MULTIPLY("a", "b")
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
    __asm volatile(BEGIN "mov.b64 a, " DA "; mov.b64 b, " DB "; " MULTIPLY("a", "b") "setp.eq.b32 p, " KEEPS ", " KEEPS
                                                                                     "; " NEXT NEXT NEXT "}"
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

/* ---- two warpgroups that multiply in turn, and a warp that loads for them ----
 * Each warpgroup takes every other tile of 64*MI x BN, so that one stores while the other multiplies; a ring of DEPTH stages along
 * K serves both (`full` and `empty` barriers), `order` says whose turn it is. */
#define BM      (64 * MI)
#define THREADS 384
#define LOADER  256 /* the item that tells the copy engine what to do */
/* 384 items get 168 registers each; the loading warpgroup hands some of its own to those that multiply */
#define FEW_REGISTERS()  __asm volatile(HIDDEN "setmaxnreg.dec.sync.aligned.u32 40;")
#define MANY_REGISTERS() __asm volatile(HIDDEN "setmaxnreg.inc.sync.aligned.u32 232;")
#define A_BYTES          (BM * BK * 2)
#define STAGE            (A_BYTES + BN * BK * 2)

typedef struct {
    uint base, full, empty, order;
} ring;
#define RING_BARRIERS (16 * DEPTH + 16) /* bytes */

inline ring ring_at(uint base, uint barriers)
{
    const ring p = {base, barriers, barriers + 8 * DEPTH, barriers + 16 * DEPTH};
    return p;
}

inline void open_ring(ring p)
{
    for (int s = 0; s < DEPTH; s++) {
        bar_init(p.full + 8 * s, 1);
        bar_init(p.empty + 8 * s, 4);
    }
    for (int g = 0; g < 16; g += 8) bar_init(p.order + g, 4);
}

/* Where the i-th stage goes, as soon as it is read no more; so many bytes are going to come. */
inline uint stage_to_fill(ring p, int i, int bytes)
{
    const int s = i % DEPTH;
    bar_wait(p.empty + 8 * s, (i / DEPTH & 1) ^ 1);
    bar_expect(p.full + 8 * s, bytes);
    return p.base + s * STAGE;
}
#define FULL(i) (p.full + 8 * ((i) % DEPTH))

/* acc = (keep ? acc : 0) + the i-th stage's product of 64 * rows rows, as soon as it is full; on return all stages before it have
 * been read. */
#define USE(times, rows, i, keep, lora)                                                                                            \
    {                                                                                                                              \
        const uint at = p.base + (i) % DEPTH * STAGE, b_at = at + A_BYTES;                                                         \
        const ulong a = lora ? narrow_tile_of(at) : tile_of(at, TA ? 512 : 1);                                                     \
        const ulong b = TB && lora ? narrow_tile_of(b_at) : tile_of(b_at, TB ? 1 : 512);                                           \
        bar_wait(FULL(i), (i) / DEPTH & 1);                                                                                        \
        UNROLL for (int x = 0; x < (rows); x++) times(acc[x], a + x * 4 * (lora ? 32 : 128), b, keep);                             \
        commit_products();                                                                                                         \
        wait_but_one();                                                                                                            \
    }
#define RELEASE(i)                                                                                                                 \
    if (lane == 0) bar_arrive(p.empty + 8 * ((i) % DEPTH))
/* A phase is known by one bit only: the first turn of the first warpgroup is free. */
#define WAIT_TURN(turns) bar_wait(p.order + 8 * group, ((turns)&1) ^ (group == 0))
#define PASS_TURN()                                                                                                                \
    if (lane == 0) bar_arrive(p.order + 8 * (group ^ 1))
#define WAIT_SUMS(rows) UNROLL for (int x = 0; x < (rows); x++) wait_sums(acc[x])
