/* Deformable attention by cl/portable/deform.cl; the gradient of its value by deform_value.cl, a few images at a time. */
#include "deform.h"

#define DEFORM "portable/deform.cl"
#define VALUE  "portable/deform_value.cl"

/* How groups cover pairs: as many of them as a group's local memory and items hold, `lanes` items each. */
typedef struct {
    tn_options o;
    int pairs, lanes;
} pair_groups;

static int pair_cover(pair_groups *p, const tn_ctx *c, const tn_deform_call *k, tn_error *err)
{
    enum { ITEMS = 128, LOCAL = 16 << 10, LOCAL_A_SAMPLE = 40 };
    const int vw = tn_run_width(c, k->act, k->hd), items = TN_MIN(ITEMS, (int)c->dev->info.max_work_group);
    p->lanes = TN_MIN(k->hd / vw, items);
    p->pairs = TN_MAX(1, TN_MIN(items / p->lanes, LOCAL / (LOCAL_A_SAMPLE * k->each)));
    return tn_options_set(&p->o, err, "-DACT=%d -DVW=%d -DPAIRS=%d -DLANES=%d %s", (int)k->act, vw, p->pairs, p->lanes, k->sizes.s);
}

/* A kernel on `pairs` pairs. */
static int pair_run(tn_ctx *c, const pair_groups *p, const char *entry, int pairs, const tn_arg *args, int n, tn_error *err)
{
    const size_t local = (size_t)p->pairs * (size_t)p->lanes;
    const tn_range range = {1, {(size_t)TN_CEIL_DIV(pairs, p->pairs) * local}, {local}};
    TN_TRY(tn_countable(entry, range.global[0], err));
    return tn_op_run(c, DEFORM, entry, p->o.s, args, n, &range, err);
}

int tn_deform_portable_forward(tn_ctx *c, const tn_deform_call *k, tn_tensor *o, tn_error *err)
{
    pair_groups p;
    TN_TRY(pair_cover(&p, c, k, err));
    const tn_arg args[] = {TN_BUF(k->f->value->mem), TN_BUF(k->f->samples->mem), TN_BUF(o->mem), TN_INT(k->pairs)};
    return pair_run(c, &p, "deform_forward", k->pairs, args, TN_COUNT(args), err);
}

int tn_deform_portable_dsamples(tn_ctx *c, const tn_deform_call *k, const tn_tensor *d_o, tn_tensor *dsamples, tn_error *err)
{
    pair_groups p;
    TN_TRY(pair_cover(&p, c, k, err));
    const tn_arg args[] = {TN_BUF(k->f->value->mem), TN_BUF(k->f->samples->mem), TN_BUF(d_o->mem), TN_BUF(dsamples->mem),
                           TN_INT(k->pairs)};
    return pair_run(c, &p, "deform_dsamples", k->pairs, args, TN_COUNT(args), err);
}

/* ---- the gradient of the value ---- */

/* The tables of `images` images, and how their kernels are cut. */
typedef struct {
    tn_options o;
    pair_groups pairs;
    tn_tensor shares, counts, records;
    int images, planes; /* planes: of an image */
    int tile, group;    /* items of a group that sorts, and of one that gathers */
    int chunks, slices; /* of a plane's samples; of a head's columns */
    int side;           /* of the square of cells that a group gathers for */
} value_work;

/* Columns of a head that a group gathers: the widest part that fits local memory beside those of other cells. */
static int value_slice(int hd, int vw)
{
    enum { COLUMNS = 32 };
    int slice = hd;
    while (slice > TN_MAX(COLUMNS, vw) && slice % 2 == 0 && slice / 2 % vw == 0) slice /= 2;
    return slice;
}

/* A group gathers for as many cells as keep its items busy with a bin each, LEAST bins at least. */
static int value_side(int lanes, int slice, int items)
{
    enum { LEAST = 9, MOST = 7, LOCAL = 16 << 10, LOCAL_A_COLUMN = 4 * sizeof(float) };
    int side = 1;
    for (int bins = 9; side < MOST && bins * lanes <= TN_MAX(items, LEAST * lanes) && bins * LOCAL_A_COLUMN * slice <= LOCAL;
         bins = (side + 2) * (side + 2))
        side++;
    return side;
}

static void value_shape(value_work *w, const tn_ctx *c, const tn_deform_call *k, int slice, int vw)
{
    enum { ITEMS = 128 };
    const int lanes = slice / vw;
    w->tile = TN_MIN(ITEMS, (int)c->dev->info.max_work_group);
    w->group = TN_MAX(1, w->tile / lanes) * lanes;
    w->planes = k->f->heads * k->f->levels->n;
    w->slices = k->hd / slice;
    w->side = value_side(lanes, slice, w->tile);
}

static int value_cut(value_work *w, const tn_ctx *c, const tn_deform_call *k, tn_error *err)
{
    enum { GROUPS_A_UNIT = 4 };
    const int vw = k->hd % 4 ? 1 : 4, slice = value_slice(k->hd, vw), plane = k->cells * k->f->points;
    const tn_levels *l = k->f->levels;
    value_shape(w, c, k, slice, vw);
    size_t bins = 0, records = (size_t)w->planes * (size_t)plane;
    for (int i = 0; i < l->n; i++) bins += (size_t)(l->h[i] + 1) * (size_t)(l->w[i] + 1);
    w->images = tn_deform_images(k, sizeof(float) * 5 * records); /* a record is four, its share of the softmax one */
    const int groups = GROUPS_A_UNIT * (int)c->dev->info.compute_units, each = TN_CEIL_DIV(groups, w->images * w->planes),
              chunk = TN_ROUND_UP(TN_CEIL_DIV(plane, each), w->tile);
    w->chunks = TN_CEIL_DIV(plane, chunk);
    const size_t counts = (size_t)w->chunks * (size_t)k->f->heads * bins;
    TN_TRY(tn_countable("deformable attention's backward", (size_t)w->images * TN_MAX(counts, 4 * records), err));
    w->counts = tn_view(NULL, TN_I32, w->images, (int)counts);
    w->records = tn_view(NULL, TN_I32, w->images, (int)(4 * records));
    w->shares = tn_view(NULL, TN_F32, w->images, (int)records);
    return tn_options_set(&w->o, err, "-DACT=%d -DVW=%d -DCHUNK=%d -DTILE=%d -DSLICE=%d -DSIDE=%d -DWG=%d %s", (int)k->act, vw,
                          chunk, w->tile, slice, w->side, w->group, k->sizes.s);
}

static int value_take(value_work *w, tn_ctx *c, tn_error *err)
{
    tn_tensor *const t[] = {&w->shares, &w->counts, &w->records};
    for (size_t i = 0; i < TN_COUNT(t); i++) TN_TRY(tn_ws_take(c, t[i], t[i]->dtype, t[i]->rows, t[i]->cols, err));
    return 0;
}

/* Lists the samples of `images` images from row `row` on. */
static int value_lists(tn_ctx *c, const tn_deform_call *k, const value_work *w, int row, int images, tn_error *err)
{
    tn_buffer *const samples = k->f->samples->mem;
    const size_t planes = (size_t)images * (size_t)w->planes, tile = (size_t)w->tile, group = (size_t)w->group;
    const int pairs = images * k->cells * k->f->heads;
    const tn_range each = {1, {(size_t)pairs * (size_t)k->each}, {64}}, scan = {1, {planes * group}, {group}},
                   place = {2, {planes * tile, (size_t)w->chunks}, {tile, 1}};
    const tn_arg a0[] = {TN_BUF(samples), TN_BUF(w->shares.mem), TN_INT(row * k->f->heads), TN_INT(pairs)},
                 a1[] = {TN_BUF(samples), TN_BUF(w->counts.mem), TN_INT(row), TN_INT(images)},
                 a2[] = {TN_BUF(w->counts.mem), TN_INT(images)},
                 a3[] = {TN_BUF(samples),        TN_BUF(w->shares.mem), TN_BUF(w->counts.mem),
                         TN_BUF(w->records.mem), TN_INT(row),           TN_INT(images)};
    TN_TRY(pair_run(c, &w->pairs, "deform_shares", pairs, a0, TN_COUNT(a0), err));
    TN_TRY(tn_op_fill(c, w->counts.mem, 0, tn_tensor_bytes(&w->counts), 0, err));
    TN_TRY(tn_op_run(c, VALUE, "deform_count", w->o.s, a1, TN_COUNT(a1), &each, err));
    TN_TRY(tn_op_run(c, VALUE, "deform_starts", w->o.s, a2, TN_COUNT(a2), &scan, err));
    return tn_op_run(c, VALUE, "deform_place", w->o.s, a3, TN_COUNT(a3), &place, err);
}

static int value_gather(tn_ctx *c, const tn_deform_call *k, const value_work *w, const tn_tensor *d_o, tn_tensor *dvalue, int row,
                        int images, tn_error *err)
{
    const tn_levels *l = k->f->levels;
    size_t tiles = 0;
    for (int i = 0; i < l->n; i++) tiles += (size_t)TN_CEIL_DIV(l->h[i], w->side) * (size_t)TN_CEIL_DIV(l->w[i], w->side);
    const tn_range range = {
        2, {tiles * (size_t)w->group, (size_t)images * (size_t)k->f->heads * (size_t)w->slices}, {(size_t)w->group, 1}};
    const tn_arg args[] = {TN_BUF(d_o->mem),    TN_BUF(w->counts.mem), TN_BUF(w->records.mem),
                           TN_BUF(dvalue->mem), TN_INT(row),           TN_INT(images)};
    return tn_op_run(c, VALUE, "deform_gather", w->o.s, args, TN_COUNT(args), &range, err);
}

int tn_deform_portable_dvalue(tn_ctx *c, const tn_deform_call *k, const tn_tensor *d_o, tn_tensor *dvalue, tn_error *err)
{
    const size_t mark = c->ws_used;
    value_work w;
    TN_TRY(value_cut(&w, c, k, err));
    TN_TRY(pair_cover(&w.pairs, c, k, err));
    TN_TRY(value_take(&w, c, err));
    for (int b = 0; b < k->batch; b += w.images) {
        const int images = TN_MIN(w.images, k->batch - b);
        TN_TRY(value_lists(c, k, &w, b * k->cells, images, err));
        TN_TRY(value_gather(c, k, &w, d_o, dvalue, b * k->cells, images, err));
    }
    c->ws_used = mark;
    return 0;
}
