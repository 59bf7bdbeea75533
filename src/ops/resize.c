/* Bilinear and nearest resizing. The bilinear factor 2, which decoders consist of, has kernels of its own on GPUs and on CPUs. */
#include "cpu.h"
#include "spatial.h"

#include <string.h>

#define RESIZE   "portable/resize.cl"
#define UPSAMPLE "gpu/upsample.cl"
#define DOUBLING "cpu/upsample.cl"

/* The small and the large side and how they are stored. */
typedef struct {
    const tn_tensor *from, *to, *more; /* more: NULL, or what is added to `from` */
    const tn_resize *r;
    int batch, channels;
    tn_dtype small, large;
    bool back;
} resize_call;

static bool same_size(const tn_resize *r)
{
    return r->in.h == r->out.h && r->in.w == r->out.w && r->sy == 1 && r->sx == 1;
}

static bool doubles(const tn_resize *r)
{
    return 2 * r->in.h == r->out.h && 2 * r->in.w == r->out.w && r->sy == 0.5f && r->sx == 0.5f;
}

static int resize_same(tn_ctx *c, const resize_call *k, tn_error *err)
{
    tn_options o;
    const size_t n = (size_t)k->from->rows * (size_t)k->channels;
    const int vw = n % 4 ? 1 : 4;
    TN_TRY(tn_countable("resizing", n, err));
    TN_TRY(tn_options_set(&o, err, "-DOUT=%d -DVW=%d", (int)k->to->dtype, vw));
    tn_arg args[] = {TN_BUF(k->from->mem), TN_BUF(k->to->mem), TN_INT(n)};
    return tn_spatial_run(c, &(tn_spatial_kernel){RESIZE, "bilinear_same", o.s, k->from->dtype}, n / (size_t)vw, 1, args,
                          TN_COUNT(args), err);
}

static int resize_twice(tn_ctx *c, const resize_call *k, tn_error *err)
{
    enum { GROUP = 64, GROUPS_A_UNIT = 64, LEAST = 6 };
    tn_options o;
    const tn_size2 in = k->r->in;
    const int vw = tn_run_width(c, k->small, k->channels), items = in.w * (k->channels / vw), height = k->back ? in.h : in.h + 1;
    const int groups = (int)c->dev->info.compute_units * GROUPS_A_UNIT;
    const tn_runs run = tn_runs_of(height, k->batch, TN_CEIL_DIV(items, GROUP), groups, LEAST);
    TN_TRY(tn_countable("resizing", 4 * (size_t)in.h * (size_t)in.w * (size_t)k->channels, err));
    TN_TRY(tn_options_set(&o, err, "-DOUT=%d -DVW=%d -DCHANNELS=%d", (int)k->large, vw, k->channels));
    const tn_tensor *more = k->more ? k->more : k->from;
    tn_arg args[] = {TN_BUF(k->from->mem), TN_BUF(k->to->mem),    TN_INT(in.h),         TN_INT(in.w),
                     TN_INT(run.span),     TN_INT(run.per_image), TN_INT(k->more != 0), TN_BUF(more->mem)};
    return tn_spatial_run(c, &(tn_spatial_kernel){UPSAMPLE, k->back ? "upsample_backward" : "upsample_forward", o.s, k->small},
                          (size_t)items, (size_t)k->batch * (size_t)run.per_image, args, (int)TN_COUNT(args) - (k->back ? 0 : 2),
                          err);
}

static int resize_twice_cpu(tn_ctx *c, const resize_call *k, tn_error *err)
{
    enum { ITEMS_A_UNIT = 16, LEAST = 2 };
    const tn_size2 in = k->r->in;
    const tn_runs run = tn_runs_of(in.h, k->batch, 1, ITEMS_A_UNIT * (int)c->dev->info.compute_units, LEAST);
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DOUT=%d", (int)k->small, (int)k->large));
    const tn_arg args[] = {TN_BUF(k->from->mem), TN_BUF(k->to->mem),  TN_INT(in.h),
                           TN_INT(in.w),         TN_INT(k->channels), TN_INT(run.span)};
    const tn_range range = {2, {(size_t)run.per_image, (size_t)k->batch}, {1, 1}};
    return tn_op_run(c, DOUBLING, k->back ? "upsample_backward" : "upsample_forward", o.s, args, TN_COUNT(args), &range, err);
}

static int resize(tn_ctx *c, const resize_call *k, tn_error *err)
{
    const tn_resize *r = k->r;
    if (same_size(r)) return resize_same(c, k, err);
    const bool cpu = tn_cpu_kernels(c->dev);
    if (doubles(r) && !cpu) return resize_twice(c, k, err);
    if (doubles(r) && k->channels % 16 == 0) return resize_twice_cpu(c, k, err);
    tn_options o;
    const int vw = tn_run_width(c, k->small, k->channels), rows = k->batch * (k->back ? r->in.h : r->out.h);
    const size_t items = (size_t)(k->back ? r->in.w : r->out.w) * (size_t)(k->channels / vw);
    TN_TRY(tn_options_set(&o, err, "-DOUT=%d -DVW=%d", (int)k->large, vw));
    tn_arg args[] = {TN_BUF(k->from->mem), TN_BUF(k->to->mem),  TN_INT(r->in.h), TN_INT(r->in.w), TN_INT(r->out.h),
                     TN_INT(r->out.w),     TN_INT(k->channels), TN_FLT(r->sy),   TN_FLT(r->sx),   TN_INT(rows)};
    return tn_spatial_run(c, &(tn_spatial_kernel){RESIZE, k->back ? "bilinear_backward" : "bilinear_forward", o.s, k->small}, items,
                          (size_t)rows, args, TN_COUNT(args), err);
}

int tn_bilinear_forward(tn_ctx *c, const tn_tensor *x, int batch, const tn_resize *r, tn_tensor *y, tn_error *err)
{
    resize_call k = {.from = x, .to = y, .r = r, .batch = batch, .channels = x->cols, .back = false};
    TN_TRY(tn_storage(&k.small, "resizing", TN_LIST(x), NULL, err));
    TN_TRY(tn_storage(&k.large, "resizing", TN_LIST(y), NULL, err));
    return resize(c, &k, err);
}

int tn_bilinear_backward(tn_ctx *c, tn_tensor *dy, const tn_tensor *more, int batch, const tn_resize *r, tn_tensor *dx,
                         tn_error *err)
{
    resize_call k = {.from = dy, .to = dx, .r = r, .batch = batch, .channels = dx->cols, .back = true};
    TN_TRY(tn_storage(&k.small, "resizing's backward", TN_LIST(dx), NULL, err));
    TN_TRY(tn_storage(&k.large, "resizing's backward", more ? TN_LIST(dy, more) : TN_LIST(dy), NULL, err));
    if (more && doubles(r) && !tn_cpu_kernels(c->dev)) k.more = more;
    else if (more) TN_TRY(tn_residual(c, dy, more, NULL, dy, err));
    return resize(c, &k, err);
}

/* ---- nearest ---- */

/* Forward, or back into `to`. A CPU's item takes a pixel, whose place is then looked for once. */
static int nearest_run(tn_ctx *c, bool back, bool add, const tn_tensor *to, const tn_resize *r, const tn_arg *buffers, int n,
                       tn_error *err)
{
    const char *entry = back ? "nearest_backward" : "upsample_add";
    const int width = back ? r->in.w : r->out.w;
    const int C = to->cols, vw = tn_run_width(c, to->dtype, C), span = c->dev->info.type == TN_DEVICE_CPU ? C : vw,
              rows = to->rows / width;
    const tn_arg sizes[] = {TN_INT(r->in.h), TN_INT(r->in.w), TN_INT(r->out.h), TN_INT(r->out.w), TN_INT(C),
                            TN_FLT(r->sy),   TN_FLT(r->sx),   TN_INT(rows),     TN_INT(span)};
    tn_arg args[3 + TN_COUNT(sizes)];
    tn_options o;
    memcpy(args, buffers, sizeof *buffers * (size_t)n);
    memcpy(args + n, sizes, sizeof sizes);
    TN_TRY(tn_options_set(&o, err, "-DVW=%d -DADD=%d", vw, (int)add));
    return tn_spatial_run(c, &(tn_spatial_kernel){RESIZE, entry, o.s, to->dtype}, (size_t)width * (size_t)(C / span), (size_t)rows,
                          args, n + (int)TN_COUNT(sizes), err);
}

int tn_upsample_add(tn_ctx *c, const tn_tensor *x, const tn_tensor *z, const tn_resize *r, tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "adding an upsampled map", TN_LIST(x, z, y), NULL, err));
    const tn_arg buffers[] = {TN_BUF(x->mem), TN_BUF(z->mem), TN_BUF(y->mem)};
    return nearest_run(c, false, false, y, r, buffers, TN_COUNT(buffers), err);
}

int tn_nearest_backward(tn_ctx *c, const tn_tensor *dy, const tn_resize *r, tn_tensor *dz, bool add, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "an upsampled map's gradient", TN_LIST(dy, dz), NULL, err));
    const tn_arg buffers[] = {TN_BUF(dy->mem), TN_BUF(dz->mem)};
    return nearest_run(c, true, add, dz, r, buffers, TN_COUNT(buffers), err);
}
