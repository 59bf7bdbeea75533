/* Convolutions by tn_gemm_run: the pixels that outputs depend on become rows in memory (im2col), a bounded part of the batch at a
 * time. */
#include "conv.h"
#include "gemm.h"
#include "spatial.h"

#define CONV "portable/conv.cl"

/* Lines of the grid from the `first` one on. */
static int cut_patches(tn_ctx *c, const tn_conv_rows *r, int first, int lines, tn_tensor *cols, tn_error *err)
{
    const int wide = tn_run_width(c, cols->dtype, r->channels), C = r->image.cols;
    const bool whole = wide > 1 && r->from % wide == 0 && C % wide == 0, cpu = c->dev->info.type == TN_DEVICE_CPU;
    const int vw = whole ? wide : tn_vec_width(c, r->channels);
    const size_t length = (size_t)(cols->cols / vw);
    tn_options o, known = {""};
    if (!cpu) TN_TRY(tn_options_set(&known, err, " -DCHANNELS=%d -DKW=%d -DWHOLE=%d", r->channels, r->kw, whole));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DVW=%d%s", (int)cols->dtype, vw, known.s));
    const tn_arg args[] = {TN_BUF(r->image.mem), TN_BUF(cols->mem),   TN_INT(first),     TN_INT(lines),     TN_INT(C),
                           TN_INT(r->from),      TN_INT(r->channels), TN_INT(r->size.h), TN_INT(r->size.w), TN_INT(r->grid.h),
                           TN_INT(r->grid.w),    TN_INT(r->top),      TN_INT(r->left),   TN_INT(r->stride), TN_INT(r->kh),
                           TN_INT(r->kw),        TN_INT(cols->ld)};
    const tn_range range = {3, {length, (size_t)r->grid.w, (size_t)lines}, {tn_group_items(c, length), 1, 1}};
    TN_TRY(tn_countable("a convolution", (size_t)r->image.rows, err));
    return tn_op_run(c, CONV, "patches", o.s, args, TN_COUNT(args), &range, err);
}

/* What is done with a part of the rows: A are they, `first` the first one. */
typedef int (*part_fn)(tn_ctx *c, const tn_tensor *A, int first, const void *user, tn_error *err);

/* Hands the rows over, as many lines of the grid at once as CHUNK bytes hold. */
static int each_part(tn_ctx *c, const tn_conv_rows *r, part_fn part, const void *user, tn_error *err)
{
    enum { CHUNK = 32 << 20 };
    const int lines = r->batch * r->grid.h, length = tn_conv_rows_length(r), W = r->grid.w;
    const int pitch = tn_conv_rows_pitch(length, r->image.dtype);
    const size_t mark = c->ws_used, bytes = (size_t)W * (size_t)pitch * tn_dtype_size(r->image.dtype);
    tn_tensor cols;
    if (tn_conv_rows_are_pixels(r)) {
        const tn_tensor A = tn_cols(r->image, r->from, r->channels);
        return part(c, &A, 0, user, err);
    }
    const int most = (int)TN_MIN((size_t)lines, TN_MAX((size_t)1, CHUNK / bytes));
    TN_TRY(tn_ws_take(c, &cols, r->image.dtype, most * W, pitch, err));
    for (int first = 0; first < lines; first += most) {
        const int some = TN_MIN(most, lines - first);
        tn_tensor A = tn_cols(tn_rows(cols, 0, some * W), 0, length);
        TN_TRY(cut_patches(c, r, first, some, &A, err));
        TN_TRY(part(c, &A, first * W, user, err));
    }
    c->ws_used = mark;
    return 0;
}

/* From rows of their own (NULL: zeros) to the pixels of C. */
static int spread(tn_ctx *c, const tn_conv_args *a, const tn_tensor *part, tn_error *err)
{
    const tn_size2 grid = a->rows.grid;
    const int N = a->C.cols, vw = a->C.off % 4 || a->C.ld % 4 ? 1 : tn_vec_width(c, N), lines = a->rows.batch * grid.h;
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=%d", vw));
    const tn_arg args[] = {TN_BUF(part ? part->mem : a->C.mem),
                           TN_BUF(a->C.mem),
                           TN_UINT(a->C.off),
                           TN_INT(a->C.ld),
                           TN_INT(lines),
                           TN_INT(grid.h),
                           TN_INT(grid.w),
                           TN_INT(N),
                           TN_INT(a->to.h),
                           TN_INT(a->to.w),
                           TN_INT(a->step),
                           TN_INT(a->y),
                           TN_INT(a->x),
                           TN_INT(!part)};
    const tn_spatial_kernel k = {CONV, "spread", o.s, a->C.dtype};
    return tn_spatial_run(c, &k, (size_t)grid.w * (size_t)(N / vw), (size_t)lines, args, TN_COUNT(args), err);
}

int tn_conv_clear(tn_ctx *c, const tn_conv_args *a, tn_error *err)
{
    return spread(c, a, NULL, err);
}

typedef struct {
    tn_tensor W, C;
    tn_buffer *bias;
} multiply_to;

static int multiply_part(tn_ctx *c, const tn_tensor *A, int first, const void *user, tn_error *err)
{
    const multiply_to *m = user;
    const tn_gemm_args g = {.tb = true, .alpha = 1, .A = *A, .B = m->W, .C = tn_rows(m->C, first, A->rows), .e = {.bias = m->bias}};
    return tn_gemm_run(c, &g, err);
}

int tn_conv_by_product(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_conv_args *a = args;
    const size_t mark = c->ws_used;
    multiply_to m = {a->W, a->C, a->bias};
    if (a->step > 1) TN_TRY(tn_ws_take(c, &m.C, a->C.dtype, tn_conv_rows_count(&a->rows), a->C.cols, err));
    TN_TRY(each_part(c, &a->rows, multiply_part, &m, err));
    if (a->step > 1) TN_TRY(spread(c, a, &m.C, err));
    c->ws_used = mark;
    return 0;
}

static int grad_part(tn_ctx *c, const tn_tensor *A, int first, const void *user, tn_error *err)
{
    const tn_conv_grad_args *a = user;
    const tn_gemm_args g = {
        .ta = true, .alpha = 1, .beta = a->add || first ? 1 : 0, .A = tn_rows(a->dy, first, A->rows), .B = *A, .C = a->sum};
    return tn_gemm_run(c, &g, err);
}

int tn_conv_grad_by_product(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_conv_grad_args *a = args;
    return each_part(c, &a->rows, grad_part, a, err);
}
