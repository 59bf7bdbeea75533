/* Multi-head attention on the matrix unit of a warp (mma.sync, sm_80 and later); see attention.h.
 *
 * A warp owns two blocks of 16 rows (a tile that it reads from local memory then serves twice), a group 128 rows. Two building
 * blocks do all the arithmetic:
 *     scores:      s    = a . tile^T     (over the head's 64 columns)
 *     accumulate:  acc += p . tile       (over the tile's rows) */
#include "ptx.h"
#include "attention.h"
#define ITEMS         128
#define BLOCKS        2                         /* of 16 rows, of one warp */
#define FORWARD_ROWS  64                        /* of a streamed tile, whose scores are held at once */
#define BACKWARD_ROWS 128                       /* of which STEP at a time are taken */
#define STEP          16
#define STAGES        3                         /* tiles in local memory: one in use, two on their way */
#define STAGE(rows)   ((rows) * (2 * ROW + 8))  /* bytes: a tile of each operand, and two numbers a row */
#define NUMBERS       (2 * BACKWARD_ROWS * ROW) /* in a stage, after its tiles */
#define TILES(name, rows) __local uchar name[STAGES * STAGE(rows)] __attribute__((aligned(128)))
#define EACH_BLOCK UNROLL for (int m = 0; m < BLOCKS; m++)

inline void load4(float r[4], uint at)
{
    __asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(r[0]), "=f"(r[1]), "=f"(r[2]), "=f"(r[3]) : "r"(at));
}

/* ---- building blocks ---- */

/* s = a . tile^T for `cols` rows of the tile. near: straight() */
inline void scores(float s[BLOCKS][8][4], uint a[BLOCKS][4][4], uint tile, uint near, const int cols)
{
    UNROLL
    for (int j = 0; j < cols / 16; j++) {
        EACH_BLOCK UNROLL
            for (int e = 0; e < 4; e++) s[m][2 * j][e] = s[m][2 * j + 1][e] = 0.0f;
        UNROLL
        for (int k = 0; k < 4; k++) {
            uint b[4];
            LDMATRIX("", b[0], b[1], b[2], b[3], tile + (near ^ (k << 5)) + j * 16 * ROW);
            EACH_BLOCK {
                MMA16816(s[m][2 * j], a[m][k][0], a[m][k][1], a[m][k][2], a[m][k][3], b[0], b[1]);
                MMA16816(s[m][2 * j + 1], a[m][k][0], a[m][k][1], a[m][k][2], a[m][k][3], b[2], b[3]);
            }
        }
    }
}

/* acc += p . tile for `cols` rows of the tile. far: transposed() */
inline void accumulate(float acc[BLOCKS][8][4], float p[BLOCKS][8][4], uint tile, uint far, const int cols)
{
    UNROLL
    for (int k = 0; k < cols / 16; k++) {
        uint a[BLOCKS][4];
        EACH_BLOCK pack_step(a[m], p[m], k);
        UNROLL
        for (int j = 0; j < 4; j++) {
            uint b[4];
            LDMATRIX(".trans", b[0], b[1], b[2], b[3], tile + (far ^ (j << 5)) + k * 16 * ROW);
            EACH_BLOCK {
                MMA16816(acc[m][2 * j], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
                MMA16816(acc[m][2 * j + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
            }
        }
    }
}

/* Local memory is a ring: where tile t lies. */
inline uint slot(uint base, int t, const int rows)
{
    return base + (uint)(t % STAGES) * STAGE(rows);
}

/* Asks for tile t, if there is one. */
inline void fetch_tile(stream *f, uint base, int t, int count, const int rows)
{
    if (t < count) fetch(f, slot(base, t, rows), rows * ROW, t * rows, rows, ITEMS);
}

/* The next tile has arrived for the whole group; the one after it may be on its way. */
inline void wait_tile(void)
{
    WAIT_COPIES(1);
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* ---- forward ---- */

typedef struct {
    uint q[BLOCKS][4][4];
    float acc[BLOCKS][8][4], top[BLOCKS][2], sum[BLOCKS][2], scale2;
    uint near, far;
} state;

/* `cols` keys from k_tile on, of which `left` are keys; their values lie at v_tile. first: nothing came before. */
inline void softmax_tile(__private state *x, uint k_tile, uint v_tile, int first, const int cols, const int left)
{
    float s[BLOCKS][8][4], was[BLOCKS][2];
    int rise = first;
    do {
        float most = 0.0f;
        scores(s, x->q, k_tile, x->near, cols);
        EACH_BLOCK {
            if (left < cols) keep_columns(s[m], 0, left, cols);
            if (rise) raise_top(s[m], x->acc[m], x->top[m], x->sum[m], x->scale2, cols);
        }
        EACH_BLOCK {
            was[m][0] = x->sum[m][0];
            was[m][1] = x->sum[m][1];
            exp_sum_rows(s[m], x->scale2, x->top[m], x->sum[m], cols);
            most = fmax(most, fmax(x->sum[m][0], x->sum[m][1]));
        }
        rise = !rise && any_lane(!(most < LIMIT));
        if (rise) EACH_BLOCK {
                x->sum[m][0] = was[m][0];
                x->sum[m][1] = was[m][1];
            }
    } while (rise);
    accumulate(x->acc, s, v_tile, x->far, cols);
}

__kernel GROUP(ITEMS)
void attn_forward(const __global ushort *qkv, __global ushort *o, __global float *lse, int n, int heads, float scale)
{
    TILES(tiles, FORWARD_ROWS);
    const uint base = LOCAL_ADDRESS(tiles);
    const place h = find_place(n, heads, ITEMS, 16 * BLOCKS);
    const int count = (n + FORWARD_ROWS - 1) / FORWARD_ROWS;
    stream f = stream_from(qkv + h.in + h.d, h.ld, qkv + h.in + 2 * h.d, h.ld, 0, n);
    state x;
    for (int t = 0; t < STAGES - 1; t++) {
        fetch_tile(&f, base, t, count, FORWARD_ROWS);
        commit_copies();
    }
    EACH_BLOCK {
        load_rows(x.q[m], qkv + h.in, h.ld, h.row + 16 * m, n);
        x.top[m][0] = x.top[m][1] = NEG;
        x.sum[m][0] = x.sum[m][1] = 0.0f;
        clear(x.acc[m]);
    }
    x.scale2 = scale * LOG2E;
    x.near = straight();
    x.far = transposed();
    for (int t = 0; t < count; t++) {
        const uint k_now = slot(base, t, FORWARD_ROWS), v_now = k_now + FORWARD_ROWS * ROW;
        wait_tile();
        fetch_tile(&f, base, t + STAGES - 1, count, FORWARD_ROWS);
        commit_copies();
        if (h.row >= n) continue; /* the whole warp */
        const int left = n - t * FORWARD_ROWS;
        if (left >= FORWARD_ROWS) softmax_tile(&x, k_now, v_now, t == 0, FORWARD_ROWS, FORWARD_ROWS);
        else
            for (int k = 0; k < left; k += 16) softmax_tile(&x, k_now + k * ROW, v_now + k * ROW, t + k == 0, 16, left - k);
    }
    EACH_BLOCK {
        finish_rows(x.top[m], x.sum[m], lse + (size_t)h.bh * n, h.row + 16 * m, n);
        store_rows(o + h.out, h.d, h.row + 16 * m, n, x.acc[m], x.sum[m][0], x.sum[m][1]);
    }
}

/* ---- backward ---- */

/* dq, and what attn_dkv reads: base2 and delta [B*heads, N]. Keys from n on are zeros in k, so they add nothing; only their
 * probabilities must be kept finite. */
__kernel GROUP(ITEMS)
void attn_dq(const __global ushort *qkv, const __global ushort *o, const __global ushort *d_o, const __global float *lse,
             __global float *base2, __global float *delta, __global ushort *dqkv, int n, int heads, float scale P_TURN)
{
    TILES(tiles, BACKWARD_ROWS);
    const uint base = LOCAL_ADDRESS(tiles), near = straight(), far = transposed();
    const place h = find_place(n, heads, ITEMS, 16 * BLOCKS);
    const size_t at = (size_t)h.bh * n;
    const int count = (n + BACKWARD_ROWS - 1) / BACKWARD_ROWS;
    const float scale2 = scale * LOG2E;
    stream f = stream_from(qkv + h.in + h.d, h.ld, qkv + h.in + 2 * h.d, h.ld, 0, n);
    float acc[BLOCKS][8][4], low[BLOCKS][2], dot[BLOCKS][2];
    uint q[BLOCKS][4][4], g[BLOCKS][4][4];
    for (int t = 0; t < STAGES - 1; t++) {
        fetch_tile(&f, base, t, count, BACKWARD_ROWS);
        commit_copies();
    }
    EACH_BLOCK {
        const int row = h.row + 16 * m;
        uint y[4][4];
        load_rows(q[m], qkv + h.in, h.ld, row, n);
        load_rows(g[m], d_o + h.out, h.d, row, n);
        load_rows(y, o + h.out, h.d, row, n);
        load_low(low[m], lse + at, row, n);
        row_numbers(low[m], dot[m], g[m], y, base2 + at, delta + at, row, n);
        clear(acc[m]);
    }
    for (int t = 0; t < count; t++) {
        const uint now = slot(base, t, BACKWARD_ROWS);
        wait_tile();
        fetch_tile(&f, base, t + STAGES - 1, count, BACKWARD_ROWS);
        commit_copies();
        if (h.row >= n) continue; /* the whole warp */
        _Pragma("unroll 1")
        for (int k = 0; k < BACKWARD_ROWS && t * BACKWARD_ROWS + k < n; k += STEP) {
            const int left = n - t * BACKWARD_ROWS - k;
            float s[BLOCKS][8][4], ds[BLOCKS][8][4];
            scores(s, q, now + k * ROW, near, STEP);
            scores(ds, g, now + (BACKWARD_ROWS + k) * ROW, near, STEP);
            EACH_BLOCK {
                if (left < STEP) keep_columns(s[m], 0, left, STEP);
                exp_rows(s[m], scale2, low[m], STEP);
                slope_rows(s[m], ds[m], dot[m], STEP);
            }
            accumulate(acc, ds, now + k * ROW, far, STEP);
        }
    }
    EACH_BLOCK STORE_TURNED(dqkv + h.in, h.ld, h.row + 16 * m, n, acc[m], scale);
}

/* Asks for base2 and delta of tile t's rows, side by side; the head's. */
inline void fetch_numbers(uint base, const __global float *base2, const __global float *delta, int t, int n)
{
    const int item = (int)get_local_id(0), r = t * BACKWARD_ROWS + item, bytes = r < n ? 4 : 0;
    const uint to = slot(base, t, BACKWARD_ROWS) + NUMBERS + 8 * item;
    copy4(to, base2 + r, bytes);
    copy4(to + 4, delta + r, bytes);
}

/* Scores to probabilities and dS, with the two numbers of each column at `numbers`. */
inline void slope_columns(float p[BLOCKS][8][4], float ds[BLOCKS][8][4], float scale2, uint numbers)
{
    UNROLL
    for (int j = 0; j < STEP / 8; j++) {
        float c[4]; /* of the lane's two columns */
        load4(c, numbers + 64 * j + (uint)get_local_id(0) % 4 * 16);
        EACH_BLOCK UNROLL
            for (int e = 0; e < 4; e++) {
                p[m][j][e] = exp2_fast(fma(p[m][j][e], scale2, -c[e % 2 * 2]));
                ds[m][j][e] = p[m][j][e] * (ds[m][j][e] - c[e % 2 * 2 + 1]);
            }
    }
}

/* dk and dv. The products are taken transposed, keys as rows. Queries from n on are zeros in q, dO, base2 and delta, so they add
 * nothing. */
__kernel GROUP(ITEMS)
void attn_dkv(const __global ushort *qkv, const __global ushort *d_o, const __global float *base2, const __global float *delta,
              __global ushort *dqkv, int n, int heads, float scale P_TURN)
{
    TILES(tiles, BACKWARD_ROWS);
    const uint base = LOCAL_ADDRESS(tiles), near = straight(), far = transposed();
    const place h = find_place(n, heads, ITEMS, 16 * BLOCKS);
    const int count = (n + BACKWARD_ROWS - 1) / BACKWARD_ROWS;
    const __global float *low = base2 + (size_t)h.bh * n, *dot = delta + (size_t)h.bh * n;
    const float scale2 = scale * LOG2E;
    stream f = stream_from(qkv + h.in, h.ld, d_o + h.out, h.d, 0, n);
    float dk[BLOCKS][8][4], dv[BLOCKS][8][4];
    uint k[BLOCKS][4][4], v[BLOCKS][4][4];
    for (int t = 0; t < STAGES - 1; t++) {
        if (t < count) fetch_numbers(base, low, dot, t, n);
        fetch_tile(&f, base, t, count, BACKWARD_ROWS);
        commit_copies();
    }
    EACH_BLOCK {
        load_rows(k[m], qkv + h.in + h.d, h.ld, h.row + 16 * m, n);
        load_rows(v[m], qkv + h.in + 2 * h.d, h.ld, h.row + 16 * m, n);
        clear(dk[m]);
        clear(dv[m]);
    }
    for (int t = 0; t < count; t++) {
        const uint now = slot(base, t, BACKWARD_ROWS);
        wait_tile();
        if (t + STAGES - 1 < count) fetch_numbers(base, low, dot, t + STAGES - 1, n);
        fetch_tile(&f, base, t + STAGES - 1, count, BACKWARD_ROWS);
        commit_copies();
        if (h.row >= n) continue; /* the whole warp */
        _Pragma("unroll 1")
        for (int i = 0; i < BACKWARD_ROWS && t * BACKWARD_ROWS + i < n; i += STEP) {
            float p[BLOCKS][8][4], ds[BLOCKS][8][4];
            scores(p, k, now + i * ROW, near, STEP);
            scores(ds, v, now + (BACKWARD_ROWS + i) * ROW, near, STEP);
            slope_columns(p, ds, scale2, now + NUMBERS + 8 * i);
            accumulate(dv, p, now + (BACKWARD_ROWS + i) * ROW, far, STEP);
            accumulate(dk, ds, now + i * ROW, far, STEP);
        }
    }
    EACH_BLOCK {
        STORE_TURNED(dqkv + h.in + h.d, h.ld, h.row + 16 * m, n, dk[m], scale);
        store_rows(dqkv + h.in + 2 * h.d, h.ld, h.row + 16 * m, n, dv[m], 1.0f, 1.0f);
    }
}
