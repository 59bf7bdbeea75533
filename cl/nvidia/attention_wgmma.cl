/* Multi-head attention on Hopper's warpgroup instructions (rewritten PTX; see attention.h, and attention_mma.cl for the plain
 * order of things). What differs:
 * - a warpgroup (4 warps) owns 64 rows, and the matrix units read the streamed tiles from local memory themselves;
 * - they work while the warps do other arithmetic, hence the order inside each loop: start the scores of tile t and the products
 *   that use the probabilities of tile t-1, then turn those scores into probabilities;
 * - rows are streamed shifted by `pad`, so that the ragged tile comes first: it is taken in steps of 16 rows before the loop, and
 *   the loop knows only full tiles.
 * No branch on the item stands around these instructions: else addresses are not known to be alike for the whole warp. */
#include "ptx.h"
#include "attention.h"
#define TILE           (64 * ROW)
#define STAGE          (4 * TILE + 1024) /* two tiles of each operand and two numbers a row: one wait, one barrier for all */
#define STAGES         3                 /* one in use, one that products may still read, one on its way */
#define OTHER          (2 * TILE)        /* in a stage: the second operand */
#define LOW            (4 * TILE)        /* lse in base 2 of its 128 rows */
#define DOT            (LOW + 512)       /* and their delta */
#define FORWARD_ITEMS  256               /* two warpgroups: they hide each other's waiting */
#define BACKWARD_ITEMS 128
#define TILES(name)    __local uchar name[STAGES * STAGE] __attribute__((aligned(1024)))

/* ---- one instruction each ---- */

#define FOUR(io, c, j) io(c[j][0]), io(c[j][1]), io(c[j][2]), io(c[j][3])
#define C16(io, c)     FOUR(io, c, 0), FOUR(io, c, 1)
#define C64(io, c)                                                                                                                 \
    C16(io, c), FOUR(io, c, 2), FOUR(io, c, 3), FOUR(io, c, 4), FOUR(io, c, 5), FOUR(io, c, 6), FOUR(io, c, 7)
#define REGS64                                                                                                                     \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                                                                      \
    "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}"
#define A4(a) "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])

/* What the units are told of a tile: its address, 1024 bytes from 8 rows to the next 8, 128-byte swizzle. This is the lower half;
 * the upper is 0x40000040 throughout. */
inline uint describe(uint at)
{
    return at >> 4 | 64u << 16;
}

/* c[64x64] = a[64x16] b, or with "+f" and 1 added to c: b is 64 rows of 16 columns, or `across` 16 rows of 64. A first product must
 * write "=f": reading c would keep 32 registers alive that hold nothing. */
#define WGMMA64(io, add, c, a, b, across)                                                                                          \
    __asm volatile("{ .reg .pred p; .reg .b64 d; mov.pred p, " #add "; mov.b64 d, {%36, 0x40000040};\n" HIDDEN                     \
                   "wgmma.mma_async.sync.aligned.m64n64k16.f32." T16 "." T16 " " REGS64                                            \
                   ", {%32,%33,%34,%35}, d, p, 1, 1, " #across ";\n}"                                                              \
                   : C64(io, c)                                                                                                    \
                   : A4(a), "r"(b)                                                                                                 \
                   : "memory")

/* c[64x16], b 16 rows of 16 columns */
#define WGMMA16(io, add, c, a, b)                                                                                                  \
    __asm volatile("{ .reg .pred p; .reg .b64 d; mov.pred p, " #add "; mov.b64 d, {%12, 0x40000040};\n" HIDDEN                     \
                   "wgmma.mma_async.sync.aligned.m64n16k16.f32." T16 "." T16 " {%0,%1,%2,%3,%4,%5,%6,%7}"                          \
                   ", {%8,%9,%10,%11}, d, p, 1, 1, 0;\n}"                                                                          \
                   : C16(io, c)                                                                                                    \
                   : A4(a), "r"(b)                                                                                                 \
                   : "memory")

inline void start_products(void)
{
    __asm volatile(HIDDEN "wgmma.fence.sync.aligned;" ::: "memory");
}

inline void commit_products(void)
{
    __asm volatile(HIDDEN "wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Until at most `left` of the latest commits are under way. c is named so that no use of it moves above the wait. */
#define WAIT_PRODUCTS(left, c) __asm volatile(HIDDEN "wgmma.wait_group.sync.aligned " #left ";" : C64("+f", c)::"memory")
#define WAIT_PRODUCTS16(c)     __asm volatile(HIDDEN "wgmma.wait_group.sync.aligned 0;" : C16("+f", c)::"memory")

inline void load2(float r[2], uint at)
{
    __asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(r[0]), "=f"(r[1]) : "r"(at));
}

/* All copies asked for have arrived, and are visible to the matrix units, for the whole group. */
inline void wait_copies(void)
{
    __asm volatile("cp.async.wait_all;" ::: "memory");
    __asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* ---- building blocks ---- */

/* s = a . tile^T */
inline void scores(float s[8][4], uint a[4][4], uint tile)
{
    const uint b = describe(tile);
    WGMMA64("=f", 0, s, a[0], b, 0);
    UNROLL
    for (int k = 1; k < 4; k++) WGMMA64("+f", 1, s, a[k], b + 2 * k, 0);
}

inline void scores16(float s[8][4], uint a[4][4], uint tile) /* of 16 rows of the tile */
{
    const uint b = describe(tile);
    WGMMA16("=f", 0, s, a[0], b);
    UNROLL
    for (int k = 1; k < 4; k++) WGMMA16("+f", 1, s, a[k], b + 2 * k);
}

/* acc += p . tile */
inline void accumulate(float acc[8][4], uint p[4][4], uint tile)
{
    const uint b = describe(tile);
    UNROLL
    for (int k = 0; k < 4; k++) WGMMA64("+f", 1, acc, p[k], b + 128 * k, 1);
}

inline void pack_tile(uint p[4][4], float s[8][4])
{
    UNROLL
    for (int k = 0; k < 4; k++) pack_step(p[k], s, k);
}

/* Local memory is a ring of stages. */
inline uint next_stage(uint stage, uint base)
{
    return stage == base + (STAGES - 1) * STAGE ? base : stage + STAGE;
}

/* Before tile t: where a stage begins, waits for it and asks for the next one. */
inline uint advance(stream *f, uint stage, uint base, int t, int count, int pad, const int items)
{
    if (t % 2) return stage;
    wait_copies();
    stage = next_stage(stage, base);
    if (t + 2 < count) fetch(f, next_stage(stage, base), OTHER, (t + 2) * 64 - pad, 128, items);
    return stage;
}

/* ---- forward ---- */

/* A full tile once more, from the sums that were, with its maxima as references. Rare, and one warp's business: so the scores come
 * from the warp's own matrix instruction, 16 rows at a time. */
inline void again(float s[8][4], float acc[8][4], float top[2], float sum[2], const float was[2], uint q[4][4], uint tile,
                  float scale2)
{
    const uint at = tile + straight();
    UNROLL
    for (int j = 0; j < 4; j++) {
        UNROLL
        for (int e = 0; e < 4; e++) s[2 * j][e] = s[2 * j + 1][e] = 0.0f;
        UNROLL
        for (int k = 0; k < 4; k++) {
            uint b[4];
            LDMATRIX("", b[0], b[1], b[2], b[3], (at ^ k << 5) + j * 16 * ROW);
            MMA16816(s[2 * j], q[k][0], q[k][1], q[k][2], q[k][3], b[0], b[1]);
            MMA16816(s[2 * j + 1], q[k][0], q[k][1], q[k][2], q[k][3], b[2], b[3]);
        }
    }
    sum[0] = was[0];
    sum[1] = was[1];
    raise_top(s, acc, top, sum, scale2, 64);
    exp_sum_rows(s, scale2, top, sum, 64);
}

inline int outgrown(const float sum[2])
{
    return any_lane(!(fmax(sum[0], sum[1]) < LIMIT));
}

__kernel GROUP(FORWARD_ITEMS)
void attn_forward(const __global ushort *qkv, __global ushort *o, __global float *lse, int n, int heads, float scale)
{
    TILES(tiles);
    MIN_GROUPS(2); /* four warpgroups: a product with a left operand in registers blocks its warp until it runs */
    const uint base = LOCAL_ADDRESS(tiles);
    const place h = find_place(n, heads, FORWARD_ITEMS, 16);
    const int count = (n + 63) / 64, pad = count * 64 - n;
    const float scale2 = scale * LOG2E;
    uint stage = base + (STAGES - 1) * STAGE, before; /* before: tile t-1 */
    stream f = stream_from(qkv + h.in + h.d, h.ld, qkv + h.in + 2 * h.d, h.ld, -pad, n);
    float acc[8][4], s[8][4], top[2] = {NEG, NEG}, sum[2] = {0.0f, 0.0f};
    uint q[4][4], p[4][4];
    fetch(&f, base, OTHER, -pad, 128, FORWARD_ITEMS);
    load_rows(q, qkv + h.in, h.ld, h.row, n);
    clear(acc);
    stage = advance(&f, stage, base, 0, count, pad, FORWARD_ITEMS);
    for (int k = pad & ~15; k < 64; k += 16) {
        start_products();
        scores16(s, q, base + k * ROW);
        commit_products();
        WAIT_PRODUCTS16(s);
        keep_columns(s, pad - k, 16, 16);
        raise_top(s, acc, top, sum, scale2, 16);
        exp_sum_rows(s, scale2, top, sum, 16);
        pack_step(p[0], s, 0);
        start_products();
        WGMMA64("+f", 1, acc, p[0], describe(base + OTHER + k * ROW), 1);
        commit_products();
        WAIT_PRODUCTS(0, acc);
    }
    if (count > 1) {
        start_products();
        scores(s, q, base + TILE);
        commit_products();
        WAIT_PRODUCTS(0, s);
        const float was[2] = {sum[0], sum[1]};
        exp_sum_rows(s, scale2, top, sum, 64);
        if (outgrown(sum)) again(s, acc, top, sum, was, q, base + TILE, scale2);
        pack_tile(p, s);
        before = base + TILE;
        for (int t = 2; t < count; t++) { /* p holds tile t-1 */
            stage = advance(&f, stage, base, t, count, pad, FORWARD_ITEMS);
            const uint now = stage + t % 2 * TILE;
            const float was[2] = {sum[0], sum[1]};
            start_products();
            scores(s, q, now);
            commit_products();
            accumulate(acc, p, before + OTHER);
            commit_products();
            WAIT_PRODUCTS(1, s);
            exp_sum_rows(s, scale2, top, sum, 64);
            const int rise = outgrown(sum);
            WAIT_PRODUCTS(0, acc);
            if (rise) again(s, acc, top, sum, was, q, now, scale2);
            pack_tile(p, s);
            before = now;
        }
        start_products();
        accumulate(acc, p, before + OTHER);
        commit_products();
        WAIT_PRODUCTS(0, acc);
    }
    finish_rows(top, sum, lse + (size_t)h.bh * n, h.row, n);
    store_rows(o + h.out, h.d, h.row, n, acc, sum[0], sum[1]);
}

/* ---- backward ---- */

/* dq, and what attn_dkv reads: base2 and delta [B*heads, N]. */
__kernel GROUP(BACKWARD_ITEMS)
void attn_dq(const __global ushort *qkv, const __global ushort *o, const __global ushort *d_o, const __global float *lse,
             __global float *base2, __global float *delta, __global ushort *dqkv, int n, int heads, float scale P_TURN)
{
    TILES(tiles);
    const uint base = LOCAL_ADDRESS(tiles);
    const place h = find_place(n, heads, BACKWARD_ITEMS, 16);
    const size_t at = (size_t)h.bh * n;
    const int count = (n + 63) / 64, pad = count * 64 - n;
    const float scale2 = scale * LOG2E;
    uint stage = base + (STAGES - 1) * STAGE, before;
    stream f = stream_from(qkv + h.in + h.d, h.ld, qkv + h.in + 2 * h.d, h.ld, -pad, n);
    float acc[8][4], s[8][4], ds[8][4], low[2], dot[2];
    uint q[4][4], g[4][4], p[4][4];
    fetch(&f, base, OTHER, -pad, 128, BACKWARD_ITEMS);
    load_rows(q, qkv + h.in, h.ld, h.row, n);
    load_rows(g, d_o + h.out, h.d, h.row, n);
    load_rows(p, o + h.out, h.d, h.row, n);
    row_numbers(low, dot, g, p, lse + at, base2 + at, delta + at, h.row, n);
    clear(acc);
    stage = advance(&f, stage, base, 0, count, pad, BACKWARD_ITEMS);
    for (int k = pad & ~15; k < 64; k += 16) {
        start_products();
        scores16(s, q, base + k * ROW);
        scores16(ds, g, base + OTHER + k * ROW);
        commit_products();
        WAIT_PRODUCTS16(s);
        WAIT_PRODUCTS16(ds);
        keep_columns(s, pad - k, 16, 16);
        exp_rows(s, scale2, low, 16);
        slope_rows(s, ds, dot, 16);
        pack_step(p[0], ds, 0);
        start_products();
        WGMMA64("+f", 1, acc, p[0], describe(base + k * ROW), 1);
        commit_products();
        WAIT_PRODUCTS(0, acc);
    }
    if (count > 1) {
        start_products();
        scores(s, q, base + TILE);
        commit_products();
        scores(ds, g, base + OTHER + TILE);
        commit_products();
        WAIT_PRODUCTS(1, s);
        exp_rows(s, scale2, low, 64);
        WAIT_PRODUCTS(0, ds);
        slope_rows(s, ds, dot, 64);
        pack_tile(p, ds);
        before = base + TILE;
        for (int t = 2; t < count; t++) { /* p holds dS of tile t-1 */
            stage = advance(&f, stage, base, t, count, pad, BACKWARD_ITEMS);
            const uint now = stage + t % 2 * TILE;
            start_products();
            scores(s, q, now);
            commit_products();
            scores(ds, g, now + OTHER);
            commit_products();
            accumulate(acc, p, before);
            commit_products();
            WAIT_PRODUCTS(2, s);
            exp_rows(s, scale2, low, 64);
            WAIT_PRODUCTS(1, ds);
            slope_rows(s, ds, dot, 64);
            WAIT_PRODUCTS(0, acc);
            pack_tile(p, ds);
            before = now;
        }
        start_products();
        accumulate(acc, p, before);
        commit_products();
        WAIT_PRODUCTS(0, acc);
    }
    STORE_TURNED(dqkv + h.in, h.ld, h.row, n, acc, scale);
}

/* exp_rows and slope_rows with a number for each column, in local memory at `at`. */
inline void exp_columns(float s[8][4], float scale2, uint at, const int cols)
{
    at += (uint)get_local_id(0) % 4 * 8;
    UNROLL
    for (int j = 0; j < cols / 8; j++) {
        float low[2];
        load2(low, at + j * 32);
        UNROLL
        for (int e = 0; e < 4; e++) s[j][e] = exp2_fast(fma(s[j][e], scale2, -low[e % 2]));
    }
}

inline void slope_columns(float p[8][4], float ds[8][4], uint at, const int cols)
{
    at += (uint)get_local_id(0) % 4 * 8;
    UNROLL
    for (int j = 0; j < cols / 8; j++) {
        float dot[2];
        load2(dot, at + j * 32);
        UNROLL
        for (int e = 0; e < 4; e++) ds[j][e] = p[j][e] * (ds[j][e] - dot[e % 2]);
    }
}

/* The numbers of a stage's 128 rows, from row `first` on; the head's. */
inline void fetch_numbers(uint to, const __global float *base2, const __global float *delta, int first, int n)
{
    const int item = (int)get_local_id(0), r = first + item, bytes = (uint)r < (uint)n ? 4 : 0;
    copy4(to + LOW + item * 4, base2 + r, bytes);
    copy4(to + DOT + item * 4, delta + r, bytes);
}

/* dk and dv. The products are taken transposed, keys as rows. Rows of padding are zeros in q, dO, base2 and delta, so they add
 * nothing. */
__kernel GROUP(BACKWARD_ITEMS)
void attn_dkv(const __global ushort *qkv, const __global ushort *d_o, const __global float *base2, const __global float *delta,
              __global ushort *dqkv, int n, int heads, float scale P_TURN)
{
    TILES(tiles);
    const uint base = LOCAL_ADDRESS(tiles);
    const place h = find_place(n, heads, BACKWARD_ITEMS, 16);
    const int count = (n + 63) / 64, pad = count * 64 - n;
    const __global float *low = base2 + (size_t)h.bh * n, *dot = delta + (size_t)h.bh * n;
    const float scale2 = scale * LOG2E;
    uint stage = base + (STAGES - 1) * STAGE, before;
    stream f = stream_from(qkv + h.in, h.ld, d_o + h.out, h.d, -pad, n);
    float dk[8][4], dv[8][4], s[8][4], ds[8][4];
    uint k[4][4], v[4][4], p[4][4], pd[4][4];
    fetch_numbers(base, low, dot, -pad, n);
    fetch(&f, base, OTHER, -pad, 128, BACKWARD_ITEMS);
    load_rows(k, qkv + h.in + h.d, h.ld, h.row, n);
    load_rows(v, qkv + h.in + 2 * h.d, h.ld, h.row, n);
    clear(dk);
    clear(dv);
    stage = advance(&f, stage, base, 0, count, pad, BACKWARD_ITEMS);
    if (2 < count) fetch_numbers(next_stage(stage, base), low, dot, 128 - pad, n);
    for (int i = pad & ~15; i < 64; i += 16) {
        start_products();
        scores16(s, k, base + i * ROW);
        scores16(ds, v, base + OTHER + i * ROW);
        commit_products();
        WAIT_PRODUCTS16(s);
        WAIT_PRODUCTS16(ds);
        exp_columns(s, scale2, base + LOW + i * 4, 16);
        slope_columns(s, ds, base + DOT + i * 4, 16);
        pack_step(p[0], s, 0);
        pack_step(pd[0], ds, 0);
        start_products();
        WGMMA64("+f", 1, dv, p[0], describe(base + OTHER + i * ROW), 1);
        WGMMA64("+f", 1, dk, pd[0], describe(base + i * ROW), 1);
        commit_products();
        WAIT_PRODUCTS(0, dv);
        WAIT_PRODUCTS(0, dk);
    }
    if (count > 1) {
        start_products();
        scores(s, k, base + TILE);
        commit_products();
        scores(ds, v, base + OTHER + TILE);
        commit_products();
        WAIT_PRODUCTS(1, s);
        exp_columns(s, scale2, base + LOW + 256, 64);
        WAIT_PRODUCTS(0, ds);
        slope_columns(s, ds, base + DOT + 256, 64);
        pack_tile(p, s);
        pack_tile(pd, ds);
        before = base + TILE;
        for (int t = 2; t < count; t++) { /* p and pd hold P and dS of tile t-1 */
            stage = advance(&f, stage, base, t, count, pad, BACKWARD_ITEMS);
            if (t % 2 == 0 && t + 2 < count) fetch_numbers(next_stage(stage, base), low, dot, (t + 2) * 64 - pad, n);
            const uint now = stage + t % 2 * TILE, numbers = stage + t % 2 * 256;
            start_products();
            scores(s, k, now);
            commit_products();
            scores(ds, v, now + OTHER);
            commit_products();
            accumulate(dv, p, before + OTHER);
            accumulate(dk, pd, before);
            commit_products();
            WAIT_PRODUCTS(2, s);
            exp_columns(s, scale2, numbers + LOW, 64);
            WAIT_PRODUCTS(1, ds);
            slope_columns(s, ds, numbers + DOT, 64);
            WAIT_PRODUCTS(0, dv);
            WAIT_PRODUCTS(0, dk);
            pack_tile(p, s);
            pack_tile(pd, ds);
            before = now;
        }
        start_products();
        accumulate(dv, p, before + OTHER);
        accumulate(dk, pd, before);
        commit_products();
        WAIT_PRODUCTS(0, dv);
        WAIT_PRODUCTS(0, dk);
    }
    STORE_TURNED(dqkv + h.in + h.d, h.ld, h.row, n, dk, scale);
    store_rows(dqkv + h.in + 2 * h.d, h.ld, h.row, n, dv, 1.0f, 1.0f);
}
