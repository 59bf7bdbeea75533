/* GroupNorm and BatchNorm on CPU devices (cl/cpu/norm2d.cl). */
#include "norm_cpu.h"
#include "cpu.h"

#define NORM "cpu/norm2d.cl"

enum { VECTOR = 16, MOST_VECTORS = 4, CHUNKS_A_UNIT = 8, LEAST_ROWS = 64, MOST_ROWS = 256, ITEMS_A_UNIT = 16, LEAST_SPAN = 16 };

/* How the rows of units are cut. */
typedef struct {
    int nv, units, chunk_rows, chunks; /* chunks of a unit */
} norm_cut;

bool tn_norm_cpu_can(const tn_ctx *c, const tn_tensor *x)
{
    return tn_cpu_kernels(c->dev) && x->cols % VECTOR == 0;
}

/* Chunks of equal length within a unit, several for each thread, and so short that sums down their rows lose little. */
static norm_cut cut(const tn_ctx *c, const tn_tensor *x, int unit_rows)
{
    norm_cut k = {.nv = MOST_VECTORS, .units = x->rows / unit_rows};
    while (x->cols % (VECTOR * k.nv)) k.nv /= 2;
    const int blocks = x->cols / (VECTOR * k.nv) * k.units,
              want = TN_CEIL_DIV(CHUNKS_A_UNIT * (int)c->dev->info.compute_units, blocks);
    k.chunk_rows = TN_MIN(TN_MIN(unit_rows, (int)MOST_ROWS), TN_MAX(LEAST_ROWS, TN_CEIL_DIV(unit_rows, want)));
    while (unit_rows % k.chunk_rows) k.chunk_rows--;
    k.chunks = unit_rows / k.chunk_rows;
    return k;
}

static int run(tn_ctx *c, const char *entry, const tn_tensor *x, const norm_cut *k, const tn_range *range, const tn_arg *args,
               int n, tn_error *err)
{
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DNV=%d", (int)x->dtype, k->nv));
    return tn_op_run(c, NORM, entry, o.s, args, n, range, err);
}

/* Down the rows of every chunk. */
static tn_range of_chunks(const tn_tensor *x, const norm_cut *k)
{
    return (tn_range){2, {(size_t)(x->cols / (VECTOR * k->nv)), (size_t)k->units * (size_t)k->chunks}, {1, 1}};
}

static tn_range of_channels(int channels, const norm_cut *k)
{
    return (tn_range){2, {(size_t)channels, (size_t)k->units}, {0}};
}

/* Along the rows of every unit, `span` of them at a time. */
static tn_range of_spans(const tn_ctx *c, int unit_rows, const norm_cut *k, int *span)
{
    const tn_runs runs = tn_runs_of(unit_rows, k->units, 1, ITEMS_A_UNIT * (int)c->dev->info.compute_units, LEAST_SPAN);
    *span = runs.span;
    return (tn_range){2, {(size_t)runs.per_image, (size_t)k->units}, {1, 1}};
}

int tn_norm_cpu_stats(tn_ctx *c, const tn_tensor *x, int unit_rows, int groups, float eps, tn_tensor *stats, tn_error *err)
{
    const size_t mark = c->ws_used;
    const norm_cut k = cut(c, x, unit_rows);
    const int C = x->cols;
    tn_tensor p0, p1;
    TN_TRY(tn_ws_take(c, &p0, TN_F32, k.units * k.chunks, C, err));
    TN_TRY(tn_ws_take(c, &p1, TN_F32, k.units * k.chunks, C, err));
    const tn_range down = of_chunks(x, &k), each = of_channels(groups, &k);
    const tn_arg a1[] = {TN_BUF(x->mem), TN_BUF(p0.mem), TN_BUF(p1.mem), TN_INT(C), TN_INT(k.chunk_rows)};
    const tn_arg a2[] = {TN_BUF(p0.mem), TN_BUF(p1.mem),   TN_BUF(stats->mem),   TN_INT(C),
                         TN_INT(groups), TN_INT(k.chunks), TN_INT(k.chunk_rows), TN_FLT(eps)};
    TN_TRY(run(c, "norm_moments", x, &k, &down, a1, TN_COUNT(a1), err));
    TN_TRY(run(c, "norm_merge", x, &k, &each, a2, TN_COUNT(a2), err));
    c->ws_used = mark;
    return 0;
}

/* Of each channel: its statistics, or (affine) what the norm multiplies by and adds. */
static int lines_of(tn_ctx *c, const tn_norm2d *n, const norm_cut *k, bool affine, tn_tensor *lines, tn_error *err)
{
    const int C = n->x->cols;
    const tn_range each = of_channels(C, k);
    TN_TRY(tn_ws_take(c, lines, TN_F32, 2 * k->units, C, err));
    const tn_arg args[] = {TN_BUF(n->stats->mem), TN_BUF(lines->mem),    TN_INT(C),
                           TN_INT(n->groups),     TN_BUF(n->gamma->mem), TN_BUF(n->beta->mem)};
    return run(c, affine ? "norm_affine" : "norm_lines", n->x, k, &each, args, affine ? 6 : 4, err);
}

/* What follows the norm; *kept says whether it keeps something. */
static int end_options(tn_options *o, const tn_norm2d *n, const norm_cut *k, const tn_norm_end *end, bool *kept, tn_error *err)
{
    *kept = end && end->kept;
    if (!end) return tn_options_set(o, err, "-DACT=%d -DNV=%d", (int)n->x->dtype, k->nv);
    return tn_options_set(o, err, "-DACT=%d -DNV=%d -DACTIVATE -DFN=%d%s%s", (int)n->x->dtype, k->nv, (int)end->fn,
                          *kept ? " -DKEPT" : "", *kept && end->slope ? " -DSLOPE" : "");
}

int tn_norm_cpu_apply(tn_ctx *c, const tn_norm2d *n, const tn_norm_end *end, tn_tensor *y, tn_error *err)
{
    const size_t mark = c->ws_used;
    const norm_cut k = cut(c, n->x, n->unit_rows);
    tn_tensor lines;
    tn_options o;
    int span;
    bool kept;
    const tn_range along = of_spans(c, n->unit_rows, &k, &span);
    TN_TRY(lines_of(c, n, &k, true, &lines, err));
    TN_TRY(end_options(&o, n, &k, end, &kept, err));
    const tn_arg args[] = {TN_BUF(n->x->mem),
                           TN_BUF(lines.mem),
                           TN_BUF(y->mem),
                           TN_INT(n->x->cols),
                           TN_INT(n->unit_rows),
                           TN_INT(span),
                           TN_BUF(kept ? end->kept->mem : NULL)};
    TN_TRY(tn_op_run(c, NORM, "norm_apply", o.s, args, TN_COUNT(args) - !kept, &along, err));
    c->ws_used = mark;
    return 0;
}

int tn_norm_cpu_parts(tn_ctx *c, const tn_norm2d *n, const tn_tensor *dy, tn_norm_parts *out, tn_error *err)
{
    const norm_cut k = cut(c, n->x, n->unit_rows);
    const int C = n->x->cols;
    const tn_range down = of_chunks(n->x, &k);
    out->chunks = k.chunks;
    TN_TRY(lines_of(c, n, &k, false, &out->lines, err));
    TN_TRY(tn_ws_take(c, &out->p0, TN_F32, k.units * k.chunks, C, err));
    TN_TRY(tn_ws_take(c, &out->p1, TN_F32, k.units * k.chunks, C, err));
    const tn_arg args[] = {TN_BUF(n->x->mem),   TN_BUF(dy->mem), TN_BUF(out->lines.mem), TN_BUF(out->p0.mem),
                           TN_BUF(out->p1.mem), TN_INT(C),       TN_INT(k.chunk_rows),   TN_INT(k.chunks)};
    return run(c, "norm_back_parts", n->x, &k, &down, args, TN_COUNT(args), err);
}

int tn_norm_cpu_backward(tn_ctx *c, const tn_norm2d *n, const tn_norm_parts *p, const tn_tensor *sums, const tn_tensor *dy,
                         tn_tensor *dx, tn_error *err)
{
    const norm_cut k = cut(c, n->x, n->unit_rows);
    const int C = n->x->cols;
    const tn_range each = of_channels(C, &k);
    tn_tensor more;
    int span;
    const tn_range along = of_spans(c, n->unit_rows, &k, &span);
    TN_TRY(tn_ws_take(c, &more, TN_F32, 3 * k.units, C, err));
    const tn_arg a1[] = {TN_BUF(p->lines.mem), TN_BUF(n->gamma->mem), TN_BUF(sums->mem), TN_BUF(more.mem), TN_INT(C),
                         TN_INT(n->groups)};
    const tn_arg a2[] = {TN_BUF(n->x->mem), TN_BUF(more.mem),     TN_BUF(dy->mem), TN_BUF(dx->mem),
                         TN_INT(C),         TN_INT(n->unit_rows), TN_INT(span)};
    TN_TRY(run(c, "norm_back_lines", n->x, &k, &each, a1, TN_COUNT(a1), err));
    return run(c, "norm_backward", n->x, &k, &along, a2, TN_COUNT(a2), err);
}
