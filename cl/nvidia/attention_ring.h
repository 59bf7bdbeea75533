/* What the copy engine brings to the kernels of attention_wgmma.cl, and when: tiles in a ring, and the rows that a group owns.
 * After ptx.h, attention.h and copy_engine.h. */
#ifndef TN_ATTENTION_RING_H
#define TN_ATTENTION_RING_H
#define TILE        (64 * ROW)
#define SLOT        (2 * TILE) /* a tile of each streamed operand, or the rows that a group owns */
#define SLOTS(kind) ((kind) == DQ ? 3 : 5)
#define AHEAD(kind) (SLOTS(kind) - 2) /* tiles asked for before they are taken: products may still read the one before */

enum { FORWARD, DQ, DKV };

/* What the launch has to do: blocks of `rows` rows, `blocks` to a head. */
typedef struct {
    const __global uchar *qkv, *o, *d_o; /* tensor maps: boxes of 64 columns and 64 rows of an image */
    int n, heads, works, groups;
    int count, pad, blocks, rows, warps;
} task;

inline task task_of(const __global uchar *qkv, int n, int heads, int works, int groups, const int rows, const int items)
{
    task t;
    t.qkv = t.o = t.d_o = qkv;
    t.n = n, t.heads = heads, t.works = works, t.groups = groups;
    t.count = (n + 63) / 64, t.pad = t.count * 64 - n;
    t.blocks = (n + rows - 1) / rows, t.rows = rows, t.warps = items / 32;
    return t;
}

typedef struct {
    int bh, image, column, row; /* the head, its first column in o, the block's first row */
} spot;

inline spot spot_of(int work, const task *t)
{
    spot s;
    s.bh = work / t->blocks;
    s.row = work % t->blocks * t->rows;
    s.image = s.bh / t->heads;
    s.column = s.bh % t->heads * 64;
    return s;
}

/* Tiles pass through a ring of slots, block after block (dq: before a block's tiles its rows of o); beside it is a place for the
 * rows that the group owns. */
typedef struct {
    uint base, own, full, empty, own_full, own_empty;
    int used, filled; /* the slots to take and to fill next, and how often the ring has been round, modulo 2 */
    uint used_turn, filled_turn;
    int work, tile; /* what comes into the slot to fill */
    spot at;
} ring;
#define LOCAL_BYTES(kind)      ((SLOTS(kind) + 1) * SLOT + SLOTS(kind) * 16 + 16)
#define RING_BYTES(name, kind) __local uchar name[LOCAL_BYTES(kind)] __attribute__((aligned(1024)))

inline int first_tile(const int kind)
{
    return kind == DQ ? -1 : 0;
}

/* Asks for the next tile, as soon as all warps have left its slot. */
inline void fill(ring *r, const task *t, const int kind)
{
    const bool mine = get_local_id(0) == 0 && r->work < t->works, own = kind == DQ && r->tile < 0;
    const uint to = r->base + r->filled * SLOT, bar = r->full + 8 * r->filled;
    const int d = t->heads * 64, row = own ? r->at.row : r->tile * 64 - t->pad;
    bar_wait(r->empty + 8 * r->filled, r->filled_turn ^ 1);
    bar_expect_if(mine, bar, own ? TILE : SLOT);
    if (kind == DKV) { /* q and dO */
        load_patch_if(mine, to, t->qkv, r->at.column, row, 0, r->at.image, bar);
        load_patch_if(mine, to + TILE, t->d_o, r->at.column, row, 0, r->at.image, bar);
    } else { /* k and v */
        load_patch_if(mine, to, own ? t->o : t->qkv, own ? r->at.column : r->at.column + d, row, 0, r->at.image, bar);
        load_patch_if(mine && !own, to + TILE, t->qkv, r->at.column + 2 * d, row, 0, r->at.image, bar);
    }
    if (++r->filled == SLOTS(kind)) r->filled = 0, r->filled_turn ^= 1;
    if (++r->tile == t->count) {
        r->tile = first_tile(kind);
        r->work += t->groups;
        r->at = spot_of(r->work, t);
    }
}

/* Asks for the rows of the group's block number `turn`, as soon as all warps have left those of the last one. */
inline void fill_own(const ring *r, const task *t, int work, uint turn, const int kind)
{
    const bool mine = get_local_id(0) == 0 && work < t->works;
    const spot s = spot_of(work, t);
    const int d = t->heads * 64;
    bar_wait(r->own_empty, (turn & 1) ^ 1);
    bar_expect_if(mine, r->own_full, SLOT);
    load_patch_if(mine, r->own, t->qkv, kind == DKV ? s.column + d : s.column, s.row, 0, s.image, r->own_full);
    if (kind == FORWARD) load_patch_if(mine, r->own + TILE, t->qkv, s.column, s.row + 64, 0, s.image, r->own_full);
    else if (kind == DQ) load_patch_if(mine, r->own + TILE, t->d_o, s.column, s.row, 0, s.image, r->own_full);
    else load_patch_if(mine, r->own + TILE, t->qkv, s.column + 2 * d, s.row, 0, s.image, r->own_full);
}

inline ring open_ring(uint base, const task *t, int group, const int kind)
{
    const int slots = SLOTS(kind);
    ring r;
    r.base = base, r.own = base + slots * SLOT, r.full = r.own + SLOT;
    r.empty = r.full + 8 * slots, r.own_full = r.empty + 8 * slots, r.own_empty = r.own_full + 8;
    r.used = r.filled = 0, r.used_turn = r.filled_turn = 0;
    r.work = group, r.tile = first_tile(kind), r.at = spot_of(group, t);
    if (get_local_id(0) == 0) {
        for (int i = 0; i < slots; i++) {
            bar_init(r.full + 8 * i, 1);
            bar_init(r.empty + 8 * i, t->warps);
        }
        bar_init(r.own_full, 1);
        bar_init(r.own_empty, t->warps);
    }
    show_barriers();
    barrier(CLK_LOCAL_MEM_FENCE);
    fill_own(&r, t, group, 0, kind);
    for (int i = 0; i < AHEAD(kind); i++) fill(&r, t, kind);
    return r;
}

/* The next tile, there for the whole warpgroup. Every one before the last one taken has been left. */
inline uint take(ring *r, const task *t, const int kind)
{
    const int used = r->used;
    fill(r, t, kind);
    bar_wait(r->full + 8 * used, r->used_turn);
    if (++r->used == SLOTS(kind)) r->used = 0, r->used_turn ^= 1;
    return r->base + used * SLOT;
}

/* This warp reads the tile no more; its products with it have ended. */
inline void leave(const ring *r, uint tile)
{
    bar_arrive_if(get_local_id(0) % 32 == 0, r->empty + (tile - r->base) / (SLOT / 8));
}

inline void leave_own(const ring *r)
{
    bar_arrive_if(get_local_id(0) % 32 == 0, r->own_empty);
}

/* The warp is through with the rows that the group owns, whose next ones are asked for. */
inline void change_own(const ring *r, const task *t, int work, uint turn, const int kind)
{
    leave_own(r);
    fill_own(r, t, work, turn, kind);
}

/* Before leaving: what came by ordinary instructions from where the copy engine writes next. */
inline void have_read(void)
{
    publish();
    sync_warp();
}

/* The warp's 16 of rows that lie at `tile`, as left operands. */
inline void read_rows(uint a[4][4], uint tile)
{
    const uint at = tile + (uint)get_local_id(0) / 32 * 16 * ROW + transposed();
    UNROLL
    for (int k = 0; k < 4; k++) LDMATRIX("", a[k][0], a[k][1], a[k][2], a[k][3], at ^ k << 5);
}

/* Where a warp's results lie. */
inline place place_of(int work, const task *t)
{
    const spot s = spot_of(work, t);
    return place_at(s.bh, s.row + (int)get_local_id(0) / 32 * 16, t->n, t->heads);
}
#endif
