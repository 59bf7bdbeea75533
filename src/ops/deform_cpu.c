/* Deformable attention on CPU devices (cl/cpu/deform.cl). */
#include "cpu.h"
#include "deform.h"
#include "spatial.h"

#define CPU_DEFORM "cpu/deform.cl"

enum { HEAD_STEP = 16, ITEMS_A_UNIT = 16 };

bool tn_deform_cpu_can(const tn_ctx *c, const tn_deform_call *k)
{
    return tn_cpu_kernels(c->dev) && k->hd % HEAD_STEP == 0;
}

static int deform_cpu_run(tn_ctx *c, const tn_deform_call *k, const char *entry, const tn_range *range, const tn_arg *args, int n,
                          tn_error *err)
{
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d %s", (int)k->act, k->sizes.s));
    return tn_op_run(c, CPU_DEFORM, entry, o.s, args, n, range, err);
}

/* Runs of queries for every head of every image. */
static tn_range deform_runs(const tn_ctx *c, const tn_deform_call *k, int *run)
{
    enum { LEAST = 16 };
    const int heads = k->batch * k->f->heads;
    const tn_runs r = tn_runs_of(k->cells, heads, 1, ITEMS_A_UNIT * (int)c->dev->info.compute_units, LEAST);
    *run = r.span;
    return (tn_range){2, {(size_t)r.per_image, (size_t)heads}, {1, 1}};
}

int tn_deform_cpu_forward(tn_ctx *c, const tn_deform_call *k, tn_tensor *o, tn_error *err)
{
    int run;
    const tn_range range = deform_runs(c, k, &run);
    const tn_arg args[] = {TN_BUF(k->f->value->mem), TN_BUF(k->f->samples->mem), TN_BUF(o->mem), TN_INT(run)};
    return deform_cpu_run(c, k, "deform_forward", &range, args, TN_COUNT(args), err);
}

int tn_deform_cpu_dsamples(tn_ctx *c, const tn_deform_call *k, const tn_tensor *d_o, tn_tensor *dsamples, tn_error *err)
{
    int run;
    const tn_range range = deform_runs(c, k, &run);
    const tn_arg args[] = {TN_BUF(k->f->value->mem), TN_BUF(k->f->samples->mem), TN_BUF(d_o->mem), TN_BUF(dsamples->mem),
                           TN_INT(run)};
    return deform_cpu_run(c, k, "deform_dsamples", &range, args, TN_COUNT(args), err);
}

/* ---- the gradient of the value ---- */

/* Rows of a level that an item owns: their sums stay in a core's cache, and there is work for every thread. */
static int band_rows(const tn_ctx *c, const tn_deform_call *k, int level)
{
    enum { FLOATS = 1 << 18, ITEMS = 4 };
    const int h = k->f->levels->h[level], fits = TN_MAX(1, FLOATS / (k->f->levels->w[level] * k->hd));
    const int planes = k->batch * k->f->heads, want = TN_CEIL_DIV(ITEMS * (int)c->dev->info.compute_units, planes);
    return TN_MIN(fits, TN_CEIL_DIV(h, TN_MIN(h, want)));
}

static size_t band_floats(const tn_ctx *c, const tn_deform_call *k)
{
    size_t most = 0;
    for (int l = 0; l < k->f->levels->n; l++)
        most = TN_MAX(most, (size_t)band_rows(c, k, l) * (size_t)k->f->levels->w[l] * (size_t)k->hd);
    return most;
}

/* The levels of `images` images from row `row` on. */
static int bands(tn_ctx *c, const tn_deform_call *k, const tn_tensor *shares, const tn_tensor *d_o, tn_tensor *dvalue, int row,
                 int images, tn_error *err)
{
    enum { OWN = 7 };
    tn_arg args[OWN + TN_CPU_SCRATCH_ARGS] = {TN_BUF(k->f->samples->mem), TN_BUF(shares->mem), TN_BUF(d_o->mem),
                                              TN_BUF(dvalue->mem), TN_INT(row)};
    TN_TRY(tn_cpu_scratch(c, band_floats(c, k), args + OWN, err));
    for (int l = 0; l < k->f->levels->n; l++) {
        const int band = band_rows(c, k, l), h = k->f->levels->h[l];
        const tn_range range = {2, {(size_t)TN_CEIL_DIV(h, band), (size_t)images * (size_t)k->f->heads}, {1, 1}};
        args[OWN - 2] = TN_INT(l), args[OWN - 1] = TN_INT(band);
        TN_TRY(deform_cpu_run(c, k, "deform_dvalue", &range, args, TN_COUNT(args), err));
    }
    return 0;
}

int tn_deform_cpu_dvalue(tn_ctx *c, const tn_deform_call *k, const tn_tensor *d_o, tn_tensor *dvalue, tn_error *err)
{
    const size_t mark = c->ws_used;
    const int columns = k->f->heads * k->each, images = tn_deform_images(k, sizeof(float) * (size_t)k->cells * (size_t)columns);
    tn_tensor shares;
    TN_TRY(tn_ws_take(c, &shares, TN_F32, images * k->cells, columns, err));
    const size_t taken = c->ws_used;
    for (int b = 0; b < k->batch; b += images, c->ws_used = taken) {
        const int now = TN_MIN(images, k->batch - b), row = b * k->cells;
        const tn_arg args[] = {TN_BUF(k->f->samples->mem), TN_BUF(shares.mem), TN_INT(row), TN_INT(now * k->cells)};
        const tn_range rows = {1, {(size_t)now * (size_t)k->cells}, {0}};
        TN_TRY(deform_cpu_run(c, k, "deform_shares", &rows, args, TN_COUNT(args), err));
        TN_TRY(bands(c, k, &shares, d_o, dvalue, row, now, err));
    }
    c->ws_used = mark;
    return 0;
}
