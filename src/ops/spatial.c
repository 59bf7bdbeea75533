#include "gemm.h"

/* A kernel and what it is built with beside its storage type. */
typedef struct {
    const char *file, *entry, *options;
    tn_dtype act;
} spatial_kernel;

static int spatial_run(tn_ctx *c, const spatial_kernel *k, size_t width, size_t rows, const tn_arg *args, int n, tn_error *err)
{
    const tn_range range = {2, {width, rows}, {TN_MIN((size_t)64, width), 1}};
    tn_options o;
    TN_TRY(tn_countable(k->entry, TN_MAX(width, rows), err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d %s", (int)k->act, k->options));
    return tn_op_run(c, k->file, k->entry, o.s, args, n, &range, err);
}

#define TOKENS "portable/tokens.cl"
#define RESIZE "portable/resize.cl"
#define CONV   "portable/conv.cl"

int tn_patchify(tn_ctx *c, const tn_tensor *pixels, const tn_patches *p, tn_tensor *cols, tn_error *err)
{
    const bool bytes = pixels->dtype == TN_U8;
    tn_dtype act;
    TN_TRY(tn_storage(&act, "cutting patches", TN_LIST(cols), bytes ? NULL : TN_LIST(pixels), err));
    tn_arg args[] = {TN_BUF(pixels->mem), TN_BUF(cols->mem),  TN_INT(p->height),   TN_INT(p->width),
                     TN_INT(p->patch),    TN_INT(cols->rows), TN_INT(p->normalize)};
    return spatial_run(c, &(spatial_kernel){TOKENS, bytes ? "patchify_bytes" : "patchify", "", act}, (size_t)p->patch * 3,
                       (size_t)cols->rows, args, (int)TN_COUNT(args) - !bytes, err);
}

/* A kernel that writes the rows of `to`, several columns an item. */
static int token_rows(tn_ctx *c, const spatial_kernel *k, const tn_tensor *to, const tn_arg *args, int n, tn_error *err)
{
    const int vw = tn_run_width(c, k->act, to->cols);
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=%d %s", vw, k->options));
    return spatial_run(c, &(spatial_kernel){k->file, k->entry, o.s, k->act}, (size_t)(to->cols / vw), (size_t)to->rows, args, n,
                       err);
}

int tn_tokens_forward(tn_ctx *c, const tn_tokens *t, int batch, tn_tensor *x, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "joining tokens", TN_LIST(t->patches, x), TN_LIST(t->cls), err));
    tn_arg args[] = {TN_BUF(t->patches->mem),
                     TN_BUF(t->cls->mem),
                     TN_BUF(t->n_reg ? t->registers->mem : t->cls->mem),
                     TN_BUF(t->pos ? t->pos->mem : t->cls->mem),
                     TN_BUF(x->mem),
                     TN_INT(x->rows / batch),
                     TN_INT(t->n_reg),
                     TN_INT(x->cols),
                     TN_INT(x->rows)};
    return token_rows(c, &(spatial_kernel){TOKENS, "tokens_forward", t->pos ? "-DPOS=1" : "-DPOS=0", act}, x, args, TN_COUNT(args),
                      err);
}

int tn_token_grad(tn_ctx *c, const tn_tensor *dx, int batch, int first, int count, tn_tensor *out, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a token's gradient", TN_LIST(dx), TN_LIST(out), err));
    tn_arg args[] = {TN_BUF(dx->mem), TN_BUF(out->mem), TN_INT(batch),   TN_INT(dx->rows / batch),
                     TN_INT(first),   TN_INT(count),    TN_INT(dx->cols)};
    return spatial_run(c, &(spatial_kernel){TOKENS, "token_grad", "", act}, (size_t)dx->cols, (size_t)count, args, TN_COUNT(args),
                       err);
}

int tn_grid_forward(tn_ctx *c, const tn_tensor *x, int batch, int skip, tn_tensor *grid, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a grid", TN_LIST(x, grid), NULL, err));
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(grid->mem), TN_INT(x->rows / batch), TN_INT(skip), TN_INT(x->cols), TN_INT(grid->rows)};
    return token_rows(c, &(spatial_kernel){TOKENS, "grid_forward", "", act}, grid, args, TN_COUNT(args), err);
}

int tn_grid_backward(tn_ctx *c, const tn_tensor *dgrid, int batch, int skip, tn_tensor *dx, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a grid's backward", TN_LIST(dgrid, dx), NULL, err));
    tn_arg args[] = {TN_BUF(dgrid->mem), TN_BUF(dx->mem),  TN_INT(dx->rows / batch),
                     TN_INT(skip),       TN_INT(dx->cols), TN_INT(dx->rows)};
    return token_rows(c, &(spatial_kernel){TOKENS, "grid_backward", "", act}, dx, args, TN_COUNT(args), err);
}

int tn_bilinear_forward(tn_ctx *c, const tn_tensor *x, int batch, const tn_resize *r, tn_tensor *y, tn_error *err)
{
    tn_dtype act, to;
    TN_TRY(tn_storage(&act, "resizing", TN_LIST(x), NULL, err));
    TN_TRY(tn_storage(&to, "resizing", TN_LIST(y), NULL, err));
    tn_options o;
    const int vw = tn_vec_width(c, x->cols);
    TN_TRY(tn_options_set(&o, err, "-DOUT=%d -DVW=%d", (int)to, vw));
    int rows = batch * r->out.h;
    tn_arg args[] = {TN_BUF(x->mem),   TN_BUF(y->mem),  TN_INT(r->in.h), TN_INT(r->in.w), TN_INT(r->out.h),
                     TN_INT(r->out.w), TN_INT(x->cols), TN_FLT(r->sy),   TN_FLT(r->sx),   TN_INT(rows)};
    return spatial_run(c, &(spatial_kernel){RESIZE, "bilinear_forward", o.s, act}, (size_t)r->out.w * (size_t)(x->cols / vw),
                       (size_t)rows, args, TN_COUNT(args), err);
}

int tn_bilinear_backward(tn_ctx *c, const tn_tensor *dy, int batch, const tn_resize *r, tn_tensor *dx, tn_error *err)
{
    tn_dtype act, from;
    TN_TRY(tn_storage(&act, "resizing's backward", TN_LIST(dx), NULL, err));
    TN_TRY(tn_storage(&from, "resizing's backward", TN_LIST(dy), NULL, err));
    tn_options o;
    const int vw = tn_vec_width(c, dx->cols);
    TN_TRY(tn_options_set(&o, err, "-DOUT=%d -DVW=%d", (int)from, vw));
    int rows = batch * r->in.h;
    tn_arg args[] = {TN_BUF(dy->mem),  TN_BUF(dx->mem),  TN_INT(r->in.h), TN_INT(r->in.w), TN_INT(r->out.h),
                     TN_INT(r->out.w), TN_INT(dx->cols), TN_FLT(r->sy),   TN_FLT(r->sx),   TN_INT(rows)};
    return spatial_run(c, &(spatial_kernel){RESIZE, "bilinear_backward", o.s, act}, (size_t)r->in.w * (size_t)(dx->cols / vw),
                       (size_t)rows, args, TN_COUNT(args), err);
}

static int dw_conv(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, int batch, tn_size2 s, bool flip, tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a depthwise convolution", TN_LIST(x, y), TN_LIST(w), err));
    size_t mark = c->ws_used;
    const int C = x->cols, vw = tn_vec_width(c, C);
    tn_tensor t;
    TN_TRY(tn_ws_take(c, &t, TN_F32, 9, C, err));
    tn_arg a1[] = {TN_BUF(w->mem), TN_BUF(t.mem), TN_INT(C)};
    TN_TRY(tn_op_run(c, CONV, "dw_repack", "-DVW=1", a1, TN_COUNT(a1), &(tn_range){1, {(size_t)C}, {0}}, err));
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=%d -DFLIP=%d", vw, flip));
    const int rows = batch * s.h;
    tn_arg a2[] = {TN_BUF(x->mem), TN_BUF(t.mem), TN_BUF(y->mem), TN_INT(s.h), TN_INT(s.w), TN_INT(C), TN_INT(rows)};
    TN_TRY(spatial_run(c, &(spatial_kernel){CONV, "dw_conv", o.s, act}, (size_t)s.w * (size_t)(C / vw), (size_t)rows, a2,
                       TN_COUNT(a2), err));
    c->ws_used = mark;
    return 0;
}

int tn_dwconv_forward(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, int batch, tn_size2 s, tn_tensor *y, tn_error *err)
{
    return dw_conv(c, x, w, batch, s, false, y, err);
}

static int dw_grad(tn_ctx *c, const tn_tensor *x, const tn_tensor *dy, int batch, tn_size2 s, tn_tensor *dw, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a depthwise convolution's gradient", TN_LIST(x, dy), TN_LIST(dw), err));
    size_t mark = c->ws_used;
    const int C = x->cols, vw = tn_vec_width(c, C), rows = batch * s.h;
    const int want = c->dev->row_wg > 1 ? 512 : 16;
    const int chunk = TN_CEIL_DIV(rows, want), chunks = TN_CEIL_DIV(rows, chunk);
    tn_tensor p;
    TN_TRY(tn_ws_take(c, &p, TN_F32, chunks * 9, C, err));
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=%d", vw));
    tn_arg a1[] = {TN_BUF(x->mem), TN_BUF(dy->mem), TN_BUF(p.mem), TN_INT(s.h),
                   TN_INT(s.w),    TN_INT(C),       TN_INT(rows),  TN_INT(chunk)};
    TN_TRY(spatial_run(c, &(spatial_kernel){CONV, "dw_grad", o.s, act}, (size_t)(C / vw), (size_t)chunks, a1, TN_COUNT(a1), err));
    tn_arg a2[] = {TN_BUF(p.mem), TN_BUF(dw->mem), TN_INT(C), TN_INT(chunks)};
    TN_TRY(spatial_run(c, &(spatial_kernel){CONV, "dw_grad_sum", "-DVW=1", act}, (size_t)C, 9, a2, TN_COUNT(a2), err));
    c->ws_used = mark;
    return 0;
}

int tn_dwconv_backward(tn_ctx *c, const tn_conv_grads *g, int batch, tn_size2 s, tn_error *err)
{
    if (g->dw->mem || c->dry) TN_TRY(dw_grad(c, g->x, g->dy, batch, s, g->dw, err));
    return dw_conv(c, g->dy, g->w, batch, s, true, g->dx, err);
}

static int im2col(tn_ctx *c, const tn_tensor *x, int image, tn_size2 s, tn_tensor *cols, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a convolution", TN_LIST(x, cols), NULL, err));
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(cols->mem), TN_INT(image * s.h * s.w), TN_INT(s.h), TN_INT(s.w), TN_INT(x->cols)};
    return spatial_run(c, &(spatial_kernel){CONV, "im2col", "-DVW=1", act}, (size_t)x->cols * 9, (size_t)s.h * (size_t)s.w, args,
                       TN_COUNT(args), err);
}

int tn_conv3_forward(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, int batch, tn_size2 s, tn_tensor *y, tn_error *err)
{
    size_t mark = c->ws_used;
    const int hw = s.h * s.w;
    tn_tensor cols;
    TN_TRY(tn_ws_take(c, &cols, x->dtype, hw, x->cols * 9, err));
    for (int b = 0; b < batch; b++) {
        TN_TRY(im2col(c, x, b, s, &cols, err));
        const tn_gemm_args product = {.tb = true, .alpha = 1, .A = cols, .B = *w, .C = tn_rows(*y, b * hw, hw)};
        TN_TRY(tn_gemm_run(c, &product, err));
    }
    c->ws_used = mark;
    return 0;
}

int tn_conv3_backward(tn_ctx *c, const tn_conv_grads *g, int batch, tn_size2 s, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a convolution's backward", TN_LIST(g->x, g->dy, g->dx), NULL, err));
    size_t mark = c->ws_used;
    const int hw = s.h * s.w, C = g->x->cols;
    tn_tensor cols;
    TN_TRY(tn_ws_take(c, &cols, g->x->dtype, hw, C * 9, err));
    for (int b = 0; b < batch; b++) {
        tn_tensor dy = tn_rows(*g->dy, b * hw, hw);
        if (g->dw->mem || c->dry) {
            TN_TRY(im2col(c, g->x, b, s, &cols, err));
            TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.ta = true, .alpha = 1, .A = dy, .B = cols, .beta = 1, .C = *g->dw}, err));
        }
        TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.alpha = 1, .A = dy, .B = *g->w, .C = cols}, err));
        tn_arg args[] = {TN_BUF(cols.mem), TN_BUF(g->dx->mem), TN_INT(b * hw), TN_INT(s.h), TN_INT(s.w), TN_INT(C)};
        TN_TRY(spatial_run(c, &(spatial_kernel){CONV, "col2im", "-DVW=1", act}, (size_t)C, (size_t)hw, args, TN_COUNT(args), err));
    }
    c->ws_used = mark;
    return 0;
}
