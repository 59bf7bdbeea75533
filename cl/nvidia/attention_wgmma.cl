/* Multi-head attention on Hopper's warpgroup instructions (rewritten PTX; see attention.h, and attention_mma.cl for the plain
 * order of things). What differs:
 * - a warpgroup (4 warps) owns 64 rows, in registers, or in dq, where that leaves room for a third group, in local memory, from where
 *   the matrix units read the streamed tiles themselves;
 * - they work while the warps do other arithmetic, hence the order inside each loop: start the scores of tile t and the products
 *   that use the probabilities of tile t-1, then turn those scores into probabilities;
 * - the copy engine brings everything, and a group takes one block of rows after another: what the next one begins with comes
 *   while this one ends;
 * - rows are streamed shifted by `pad`, so that the ragged tile comes first: it is taken in steps of 16 rows before the loop, and
 *   the loop knows only full tiles.
 * No branch on the item stands around these instructions: else addresses are not known to be alike for the whole warp. */
#include "ptx.h"
#include "attention.h"
#include "copy_engine.h"
#include "attention_ring.h"
#define FORWARD_ITEMS  256 /* two warpgroups: they hide each other's waiting */
#define BACKWARD_ITEMS 128

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

/* The same with the left operand, 64 rows of 16 columns, in local memory: the warp goes on at once. */
#define WGMMA64_LOCAL(io, add, c, a, b)                                                                                            \
    __asm volatile("{ .reg .pred p; .reg .b64 d, e; mov.pred p, " #add ";\n"                                                       \
                   "mov.b64 d, {%32, 0x40000040}; mov.b64 e, {%33, 0x40000040};\n" HIDDEN                                          \
                   "wgmma.mma_async.sync.aligned.m64n64k16.f32." T16 "." T16 " " REGS64 ", d, e, p, 1, 1, 0, 0;\n}"                \
                   : C64(io, c)                                                                                                    \
                   : "r"(a), "r"(b)                                                                                                \
                   : "memory")
#define WGMMA16_LOCAL(io, add, c, a, b)                                                                                            \
    __asm volatile("{ .reg .pred p; .reg .b64 d, e; mov.pred p, " #add ";\n"                                                       \
                   "mov.b64 d, {%8, 0x40000040}; mov.b64 e, {%9, 0x40000040};\n" HIDDEN                                            \
                   "wgmma.mma_async.sync.aligned.m64n16k16.f32." T16 "." T16 " {%0,%1,%2,%3,%4,%5,%6,%7}"                          \
                   ", d, e, p, 1, 1, 0, 0;\n}"                                                                                     \
                   : C16(io, c)                                                                                                    \
                   : "r"(a), "r"(b)                                                                                                \
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

/* The same of rows in local memory. */
inline void scores_local(float s[8][4], uint rows, uint tile)
{
    const uint a = describe(rows), b = describe(tile);
    WGMMA64_LOCAL("=f", 0, s, a, b);
    UNROLL
    for (int k = 1; k < 4; k++) WGMMA64_LOCAL("+f", 1, s, a + 2 * k, b + 2 * k);
}

inline void scores16_local(float s[8][4], uint rows, uint tile)
{
    const uint a = describe(rows), b = describe(tile);
    WGMMA16_LOCAL("=f", 0, s, a, b);
    UNROLL
    for (int k = 1; k < 4; k++) WGMMA16_LOCAL("+f", 1, s, a + 2 * k, b + 2 * k);
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
    publish();
    sum[0] = was[0];
    sum[1] = was[1];
    raise_top(s, acc, top, sum, scale2, 64);
    exp_sum_rows(s, scale2, top, sum, 64);
}

inline int outgrown(const float sum[2])
{
    return any_lane(!(fmax(sum[0], sum[1]) < LIMIT));
}

/* qkv's tensor map is number map_qkv of maps. Items (FORWARD_ITEMS * groups); `works` blocks of 128 rows. */
__kernel GROUP(FORWARD_ITEMS)
void attn_forward(const __global uchar *maps, uint map_qkv, __global ushort *o, __global float *lse, int n, int heads, int works,
                  int groups, float scale)
{
    RING_BYTES(space, FORWARD);
    MIN_GROUPS(2); /* four warpgroups: a product with a left operand in registers blocks its warp until it runs */
    const int group = GROUP_ID(0, FORWARD_ITEMS);
    const task x = task_of(maps + map_qkv * 128, n, heads, works, groups, 128, FORWARD_ITEMS);
    const float scale2 = scale * LOG2E;
    ring r = open_ring(LOCAL_ADDRESS(space), &x, group, FORWARD);
    uint turn = 0;
    for (int work = group; work < works; work += groups, turn++) {
        float acc[8][4], s[8][4], top[2] = {NEG, NEG}, sum[2] = {0.0f, 0.0f};
        uint q[4][4], p[4][4], before;
        bar_wait(r.own_full, turn & 1);
        read_rows(q, r.own);
        have_read();
        leave_own(&r);
        uint now = take(&r, &x, FORWARD);
        clear(acc);
        for (int k = x.pad & ~15; k < 64; k += 16) {
            start_products();
            scores16(s, q, now + k * ROW);
            commit_products();
            WAIT_PRODUCTS16(s);
            keep_columns(s, x.pad - k, 16, 16);
            raise_top(s, acc, top, sum, scale2, 16);
            exp_sum_rows(s, scale2, top, sum, 16);
            pack_step(p[0], s, 0);
            start_products();
            WGMMA64("+f", 1, acc, p[0], describe(now + TILE + k * ROW), 1);
            commit_products();
            WAIT_PRODUCTS(0, acc);
        }
        leave(&r, now);
        fill_own(&r, &x, work + groups, turn + 1, FORWARD);
        if (x.count > 1) {
            now = take(&r, &x, FORWARD);
            start_products();
            scores(s, q, now);
            commit_products();
            WAIT_PRODUCTS(0, s);
            const float was[2] = {sum[0], sum[1]};
            exp_sum_rows(s, scale2, top, sum, 64);
            if (outgrown(sum)) again(s, acc, top, sum, was, q, now, scale2);
            pack_tile(p, s);
            before = now;
            for (int t = 2; t < x.count; t++) { /* p holds tile t-1 */
                now = take(&r, &x, FORWARD);
                const float was[2] = {sum[0], sum[1]};
                start_products();
                scores(s, q, now);
                commit_products();
                accumulate(acc, p, before + TILE);
                commit_products();
                WAIT_PRODUCTS(1, s);
                exp_sum_rows(s, scale2, top, sum, 64);
                const int rise = outgrown(sum);
                WAIT_PRODUCTS(0, acc);
                leave(&r, before);
                if (rise) again(s, acc, top, sum, was, q, now, scale2);
                pack_tile(p, s);
                before = now;
            }
            start_products();
            accumulate(acc, p, before + TILE);
            commit_products();
            WAIT_PRODUCTS(0, acc);
            leave(&r, before);
        }
        const place h = place_of(work, &x);
        finish_rows(top, sum, lse + (size_t)h.bh * n, h.row, n);
        store_rows(o + h.out, h.d, h.row, n, acc, sum[0], sum[1]);
    }
}

/* ---- backward: blocks of 64 rows ---- */

/* dq, and what attn_dkv reads: base2 and delta [B*heads, 64 * count], where a head's rows stand behind `pad` zeros. */
__kernel GROUP(BACKWARD_ITEMS)
void attn_dq(const __global uchar *maps_qkv, uint map_qkv, const __global uchar *maps_o, uint map_o, const __global uchar *maps_do,
             uint map_do, const __global float *lse, __global float *base2, __global float *delta, __global ushort *dqkv, int n,
             int heads, int works, int groups, float scale P_TURN)
{
    RING_BYTES(space, DQ);
    MIN_GROUPS(3);
    const int group = GROUP_ID(0, BACKWARD_ITEMS);
    task x = task_of(maps_qkv + map_qkv * 128, n, heads, works, groups, 64, BACKWARD_ITEMS);
    x.o = maps_o + map_o * 128, x.d_o = maps_do + map_do * 128;
    const float scale2 = scale * LOG2E;
    ring r = open_ring(LOCAL_ADDRESS(space), &x, group, DQ);
    float low[2], next[2];
    place h = place_of(group, &x);
    load_low(next, lse + (size_t)h.bh * n, h.row, n);
    uint turn = 0;
    for (int work = group; work < works; work += groups, turn++) {
        float acc[8][4], s[8][4], ds[8][4], dot[2];
        uint y[4][4], p[4][4], before;
        low[0] = next[0], low[1] = next[1];
        const uint q = r.own, g = q + TILE;
        bar_wait(r.own_full, turn & 1);
        uint now = take(&r, &x, DQ);
        read_rows(p, g);
        read_rows(y, now);
        have_read();
        leave(&r, now);
        h = place_of(work, &x);
        const size_t at = (size_t)h.bh * x.count * 64;
        if (work % x.blocks == 0 && (int)get_local_id(0) < x.pad) base2[at + get_local_id(0)] = delta[at + get_local_id(0)] = 0.0f;
        row_numbers(low, dot, p, y, base2 + at + x.pad, delta + at + x.pad, h.row, n);
        if (work + groups < works) {
            const place then = place_of(work + groups, &x);
            load_low(next, lse + (size_t)then.bh * n, then.row, n);
        }
        clear(acc);
        now = take(&r, &x, DQ);
        for (int k = x.pad & ~15; k < 64; k += 16) {
            start_products();
            scores16_local(s, q, now + k * ROW);
            scores16_local(ds, g, now + TILE + k * ROW);
            commit_products();
            WAIT_PRODUCTS16(s);
            WAIT_PRODUCTS16(ds);
            keep_columns(s, x.pad - k, 16, 16);
            exp_rows(s, scale2, low, 16);
            slope_rows(s, ds, dot, 16);
            pack_step(p[0], ds, 0);
            start_products();
            WGMMA64("+f", 1, acc, p[0], describe(now + k * ROW), 1);
            commit_products();
            WAIT_PRODUCTS(0, acc);
        }
        leave(&r, now);
        if (x.count > 1) {
            now = take(&r, &x, DQ);
            start_products();
            scores_local(s, q, now);
            commit_products();
            scores_local(ds, g, now + TILE);
            commit_products();
            WAIT_PRODUCTS(1, s);
            exp_rows(s, scale2, low, 64);
            WAIT_PRODUCTS(0, ds);
            slope_rows(s, ds, dot, 64);
            pack_tile(p, ds);
            before = now;
            for (int t = 2; t < x.count; t++) { /* p holds dS of tile t-1 */
                now = take(&r, &x, DQ);
                start_products();
                accumulate(acc, p, before); /* first: it holds the warp until it runs */
                commit_products();
                scores_local(s, q, now);
                commit_products();
                scores_local(ds, g, now + TILE);
                commit_products();
                WAIT_PRODUCTS(1, s);
                leave(&r, before);
                exp_rows(s, scale2, low, 64);
                WAIT_PRODUCTS(0, ds);
                slope_rows(s, ds, dot, 64);
                pack_tile(p, ds);
                before = now;
            }
            start_products();
            accumulate(acc, p, before);
            commit_products();
            change_own(&r, &x, work + groups, turn + 1, DQ);
            WAIT_PRODUCTS(0, acc);
            leave(&r, before);
        } else change_own(&r, &x, work + groups, turn + 1, DQ);
        STORE_TURNED(dqkv + h.in, h.ld, h.row, n, acc, scale);
    }
}

/* exp_rows and slope_rows with a number for each column. */
inline void exp_columns(float s[8][4], float scale2, const __global float *low, const int cols)
{
    const __global float2 *at = (const __global float2 *)low + get_local_id(0) % 4;
    UNROLL
    for (int j = 0; j < cols / 8; j++) UNROLL
        for (int e = 0; e < 4; e++) s[j][e] = exp2_fast(fma(s[j][e], scale2, -(e % 2 ? at[4 * j].y : at[4 * j].x)));
}

inline void slope_columns(float p[8][4], float ds[8][4], const __global float *dot, const int cols)
{
    const __global float2 *at = (const __global float2 *)dot + get_local_id(0) % 4;
    UNROLL
    for (int j = 0; j < cols / 8; j++) UNROLL
        for (int e = 0; e < 4; e++) ds[j][e] = p[j][e] * (ds[j][e] - (e % 2 ? at[4 * j].y : at[4 * j].x));
}

/* dk and dv. The products are taken transposed, keys as rows. Rows of padding are zeros in q, dO, base2 and delta, so they add
 * nothing. Its own rows in registers: from local memory, with steps of 32 rows besides so that three groups fit, it took longer. */
__kernel GROUP(BACKWARD_ITEMS)
void attn_dkv(const __global uchar *maps_qkv, uint map_qkv, const __global uchar *maps_do, uint map_do,
              const __global float *restrict base2, const __global float *restrict delta, __global ushort *dqkv, int n, int heads,
              int works, int groups, float scale P_TURN)
{
    RING_BYTES(space, DKV);
    const int group = GROUP_ID(0, BACKWARD_ITEMS);
    task x = task_of(maps_qkv + map_qkv * 128, n, heads, works, groups, 64, BACKWARD_ITEMS);
    x.d_o = maps_do + map_do * 128;
    const float scale2 = scale * LOG2E;
    ring r = open_ring(LOCAL_ADDRESS(space), &x, group, DKV);
    uint turn = 0;
    for (int work = group; work < works; work += groups, turn++) {
        float dk[8][4], dv[8][4], s[8][4], ds[8][4];
        uint k[4][4], v[4][4], p[4][4], pd[4][4], before;
        const place h = place_of(work, &x);
        const __global float *low = base2 + (size_t)h.bh * x.count * 64, *dot = delta + (size_t)h.bh * x.count * 64;
        bar_wait(r.own_full, turn & 1);
        read_rows(k, r.own);
        read_rows(v, r.own + TILE);
        have_read();
        leave_own(&r);
        uint now = take(&r, &x, DKV);
        clear(dk);
        clear(dv);
        for (int i = x.pad & ~15; i < 64; i += 16) {
            start_products();
            scores16(s, k, now + i * ROW);
            scores16(ds, v, now + TILE + i * ROW);
            commit_products();
            WAIT_PRODUCTS16(s);
            WAIT_PRODUCTS16(ds);
            exp_columns(s, scale2, low + i, 16);
            slope_columns(s, ds, dot + i, 16);
            pack_step(p[0], s, 0);
            pack_step(pd[0], ds, 0);
            start_products();
            WGMMA64("+f", 1, dv, p[0], describe(now + TILE + i * ROW), 1);
            WGMMA64("+f", 1, dk, pd[0], describe(now + i * ROW), 1);
            commit_products();
            WAIT_PRODUCTS(0, dv);
            WAIT_PRODUCTS(0, dk);
        }
        leave(&r, now);
        fill_own(&r, &x, work + groups, turn + 1, DKV);
        if (x.count > 1) {
            now = take(&r, &x, DKV);
            start_products();
            scores(s, k, now);
            commit_products();
            scores(ds, v, now + TILE);
            commit_products();
            WAIT_PRODUCTS(1, s);
            exp_columns(s, scale2, low + 64, 64);
            WAIT_PRODUCTS(0, ds);
            slope_columns(s, ds, dot + 64, 64);
            pack_tile(p, s);
            pack_tile(pd, ds);
            before = now;
            for (int t = 2; t < x.count; t++) { /* p and pd hold P and dS of tile t-1 */
                now = take(&r, &x, DKV);
                start_products();
                scores(s, k, now);
                commit_products();
                scores(ds, v, now + TILE);
                commit_products();
                accumulate(dv, p, before + TILE);
                accumulate(dk, pd, before);
                commit_products();
                WAIT_PRODUCTS(2, s);
                exp_columns(s, scale2, low + t * 64, 64);
                WAIT_PRODUCTS(1, ds);
                slope_columns(s, ds, dot + t * 64, 64);
                WAIT_PRODUCTS(0, dv);
                WAIT_PRODUCTS(0, dk);
                leave(&r, before);
                pack_tile(p, s);
                pack_tile(pd, ds);
                before = now;
            }
            start_products();
            accumulate(dv, p, before + TILE);
            accumulate(dk, pd, before);
            commit_products();
            WAIT_PRODUCTS(0, dv);
            WAIT_PRODUCTS(0, dk);
            leave(&r, before);
        }
        STORE_TURNED(dqkv + h.in + h.d, h.ld, h.row, n, dk, scale);
        store_rows(dqkv + h.in + 2 * h.d, h.ld, h.row, n, dv, 1.0f, 1.0f);
    }
}
