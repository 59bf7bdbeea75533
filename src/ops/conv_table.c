/* The tables of the rows that run a convolution, and what their registry asks for. */
#include "conv.h"
#include "wgmma.h"
#include "tuning.h"

#include <stdio.h>
#include <string.h>

/* What decides which program runs, and how channels and columns fill vectors. */
static void rows_kind(char *out, size_t n, const tn_conv_rows *r, tn_dtype act, int N)
{
    snprintf(out, n, "%s%s%s%s", tn_dtype_name(act), r->stride > 1 ? " strided" : "",
             r->channels % 32 ? r->channels < 16 ? " few" : " odd" : "",
             N <= 16   ? " n16"
             : N <= 32 ? " n32"
             : N <= 48 ? " n48"
                       : "");
}

static void conv_kind(char *out, size_t n, const void *args)
{
    const tn_conv_args *a = args;
    char rows[TN_KEY];
    rows_kind(rows, sizeof rows, &a->rows, a->C.dtype, a->C.cols);
    snprintf(out, n, "%s%s%s", rows, a->step > 1 ? " spread" : "", a->bias ? " b" : "");
}

static void conv_grad_kind(char *out, size_t n, const void *args)
{
    const tn_conv_grad_args *a = args;
    rows_kind(out, n, &a->rows, a->dy.dtype, tn_conv_rows_length(&a->rows));
}

static void put_shape(char *out, size_t n, const char *kind, const tn_conv_rows *r, int N)
{
    snprintf(out, n, "%s %dx%d %dx%dx%dx%d>%d", kind, r->kh, r->kw, r->batch, r->grid.h, r->grid.w, r->channels, N);
}

static void conv_key(char *out, size_t n, const void *args)
{
    const tn_conv_args *a = args;
    char kind[TN_KEY / 2];
    conv_kind(kind, sizeof kind, a);
    put_shape(out, n, kind, &a->rows, a->C.cols);
}

static void conv_grad_key(char *out, size_t n, const void *args)
{
    const tn_conv_grad_args *a = args;
    char kind[TN_KEY / 2];
    conv_grad_kind(kind, sizeof kind, a);
    put_shape(out, n, kind, &a->rows, a->dy.cols);
}

static double rows_work(const tn_conv_rows *r, int N)
{
    return 2.0 * tn_conv_rows_count(r) * tn_conv_rows_length(r) * N;
}

static double conv_work(const void *args)
{
    const tn_conv_args *a = args;
    return rows_work(&a->rows, a->C.cols);
}

static double conv_grad_work(const void *args)
{
    const tn_conv_grad_args *a = args;
    return rows_work(&a->rows, a->dy.cols);
}

/* Fewer images. */
static void rows_shrink(tn_conv_rows *r, int N, double most)
{
    r->batch = tn_bucket(r->batch);
    while (r->batch > 1 && rows_work(r, N) > most) r->batch /= 2;
    r->image.rows = r->batch * r->size.h * r->size.w;
}

static void conv_shrink(void *args, double most)
{
    tn_conv_args *a = args;
    rows_shrink(&a->rows, a->C.cols, most);
    a->C.rows = a->rows.batch * a->to.h * a->to.w;
}

static void conv_grad_shrink(void *args, double most)
{
    tn_conv_grad_args *a = args;
    rows_shrink(&a->rows, a->dy.cols, most);
    a->dy.rows = tn_conv_rows_count(&a->rows);
}

/* *t becomes a tensor of its own, as wide as its rows lie apart. */
static int conv_copy(tn_tensor *t, tn_ctx *c, tn_error *err)
{
    const tn_tensor view = *t;
    t->mem = NULL;
    TN_TRY(tn_tensor_new(t, c->dev, view.dtype, view.rows, view.ld, "tuning", err));
    TN_TRY(tn_tensor_random(c->dev, t, err));
    t->cols = view.cols, t->off = view.off < (size_t)view.ld ? view.off : 0;
    return 0;
}

static int conv_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_conv_args *a = copy;
    *a = *(const tn_conv_args *)args;
    const bool biased = a->bias != NULL;
    tn_tensor bias = tn_view(NULL, TN_F32, 1, a->C.cols);
    tn_tensor *const t[] = {&a->rows.image, &a->W, &a->C};
    for (size_t i = 0; i < TN_COUNT(t); i++) t[i]->mem = NULL;
    a->bias = NULL;
    a->W.off = 0;
    for (size_t i = 0; i < TN_COUNT(t); i++) TN_TRY(conv_copy(t[i], c, err));
    if (biased) TN_TRY(conv_copy(&bias, c, err));
    a->bias = bias.mem;
    return 0;
}

static void conv_release(void *copy, tn_ctx *c)
{
    tn_conv_args *a = copy;
    tn_buffer_free(a->bias);
    tn_buffer_free(a->C.mem);
    tn_buffer_free(a->W.mem);
    tn_buffer_free(a->rows.image.mem);
    (void)c;
}

static int conv_grad_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_conv_grad_args *a = copy;
    *a = *(const tn_conv_grad_args *)args;
    tn_tensor *const t[] = {&a->rows.image, &a->dy, &a->sum};
    for (size_t i = 0; i < TN_COUNT(t); i++) t[i]->mem = NULL;
    a->sum.off = 0;
    for (size_t i = 0; i < TN_COUNT(t); i++) TN_TRY(conv_copy(t[i], c, err));
    return 0;
}

static void conv_grad_release(void *copy, tn_ctx *c)
{
    tn_conv_grad_args *a = copy;
    tn_buffer_free(a->sum.mem);
    tn_buffer_free(a->dy.mem);
    tn_buffer_free(a->rows.image.mem);
    (void)c;
}

static const tn_variant conv_rows[] = {
    {.name = "wgmma", .needs = TN_CAP_NV_WGMMA, .can = tn_conv_wgmma_can, .run = tn_conv_wgmma, .tunables = tn_wgmma_tunables},
    {.name = "amx", .needs = TN_CAP_VECTORS | TN_CAP_AMX_BF16, .can = tn_conv_amx_can, .run = tn_conv_amx},
    {.name = "dot", .needs = TN_CAP_VECTORS | TN_CAP_AVX512_BF16, .can = tn_conv_dot_can, .run = tn_conv_dot},
    {.name = "cpu", .needs = TN_CAP_VECTORS, .run = tn_conv_cpu},
    {.name = "product", .run = tn_conv_by_product, .not_on_cpus = true},
};
static const tn_variant conv_grad_rows[] = {
    {.name = "wgmma", .needs = TN_CAP_NV_WGMMA, .can = tn_conv_grad_wgmma_can, .run = tn_conv_grad_wgmma},
    {.name = "amx", .needs = TN_CAP_VECTORS | TN_CAP_AMX_BF16, .can = tn_conv_grad_amx_can, .run = tn_conv_grad_amx},
    {.name = "dot", .needs = TN_CAP_VECTORS | TN_CAP_AVX512_BF16, .can = tn_conv_grad_dot_can, .run = tn_conv_grad_dot},
    {.name = "cpu", .needs = TN_CAP_VECTORS, .run = tn_conv_grad_cpu},
    {.name = "product", .run = tn_conv_grad_by_product, .not_on_cpus = true},
};

const tn_variant_op tn_conv_op = {
    .name = "conv",
    .rows = conv_rows,
    .n = TN_COUNT(conv_rows),
    .key = conv_key,
    .kind = conv_kind,
    .make = conv_make,
    .release = conv_release,
    .args_size = sizeof(tn_conv_args),
    .work = conv_work,
    .shrink = conv_shrink,
};
const tn_variant_op tn_conv_grad_op = {
    .name = "conv-grad",
    .rows = conv_grad_rows,
    .n = TN_COUNT(conv_grad_rows),
    .key = conv_grad_key,
    .kind = conv_grad_kind,
    .make = conv_grad_make,
    .release = conv_grad_release,
    .args_size = sizeof(tn_conv_grad_args),
    .work = conv_grad_work,
    .shrink = conv_grad_shrink,
};
