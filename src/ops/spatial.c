#include "ops.h"

static int run2(tn_ctx *c, const char *file, const char *entry, tn_dtype act, const char *opts, size_t g0, size_t g1,
                const tn_arg *args, int n, tn_error *err)
{
    size_t global[] = {g0, g1}, local[] = {TN_MIN((size_t)64, g0), 1};
    tn_options o;
    TN_TRY(tn_countable(entry, TN_MAX(g0, g1), err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d %s", (int)act, opts));
    return tn_op_run(c, file, entry, o.s, args, n, 2, global, local, err);
}

#define TOKENS "portable/tokens.cl"
#define RESIZE "portable/resize.cl"
#define CONV   "portable/conv.cl"

int tn_patchify(tn_ctx *c, const tn_tensor *pixels, int batch, int height, int width, int patch, tn_tensor *cols, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "cutting patches", TN_LIST(cols), TN_LIST(pixels), err));
    (void)batch;
    tn_arg args[] = {TN_BUF(pixels->mem), TN_BUF(cols->mem), TN_INT(height), TN_INT(width), TN_INT(patch), TN_INT(cols->rows)};
    return run2(c, TOKENS, "patchify", act, "", (size_t)patch * 3, (size_t)cols->rows, args, TN_COUNT(args), err);
}

int tn_tokens_forward(tn_ctx *c, const tn_tensor *patches, const tn_tensor *cls, const tn_tensor *registers, const tn_tensor *pos,
                      int batch, int n_reg, tn_tensor *x, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "joining tokens", TN_LIST(patches, x), TN_LIST(cls), err));
    tn_arg args[] = {TN_BUF(patches->mem),
                     TN_BUF(cls->mem),
                     TN_BUF(n_reg ? registers->mem : cls->mem),
                     TN_BUF(pos ? pos->mem : cls->mem),
                     TN_BUF(x->mem),
                     TN_INT(x->rows / batch),
                     TN_INT(n_reg),
                     TN_INT(x->cols),
                     TN_INT(x->rows)};
    return run2(c, TOKENS, "tokens_forward", act, pos ? "-DPOS=1" : "-DPOS=0", (size_t)x->cols, (size_t)x->rows, args,
                TN_COUNT(args), err);
}

int tn_token_grad(tn_ctx *c, const tn_tensor *dx, int batch, int first, int count, tn_tensor *out, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a token's gradient", TN_LIST(dx), TN_LIST(out), err));
    tn_arg args[] = {TN_BUF(dx->mem), TN_BUF(out->mem), TN_INT(batch),   TN_INT(dx->rows / batch),
                     TN_INT(first),   TN_INT(count),    TN_INT(dx->cols)};
    return run2(c, TOKENS, "token_grad", act, "", (size_t)dx->cols, (size_t)count, args, TN_COUNT(args), err);
}

int tn_grid_forward(tn_ctx *c, const tn_tensor *x, int batch, int skip, tn_tensor *grid, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a grid", TN_LIST(x, grid), NULL, err));
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(grid->mem), TN_INT(x->rows / batch), TN_INT(skip), TN_INT(x->cols), TN_INT(grid->rows)};
    return run2(c, TOKENS, "grid_forward", act, "", (size_t)x->cols, (size_t)grid->rows, args, TN_COUNT(args), err);
}

int tn_grid_backward(tn_ctx *c, const tn_tensor *dgrid, int batch, int skip, tn_tensor *dx, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a grid's backward", TN_LIST(dgrid, dx), NULL, err));
    tn_arg args[] = {TN_BUF(dgrid->mem), TN_BUF(dx->mem),  TN_INT(dx->rows / batch),
                     TN_INT(skip),       TN_INT(dx->cols), TN_INT(dx->rows)};
    return run2(c, TOKENS, "grid_backward", act, "", (size_t)dx->cols, (size_t)dx->rows, args, TN_COUNT(args), err);
}

int tn_bilinear_forward(tn_ctx *c, const tn_tensor *x, int batch, tn_size2 in, tn_size2 out, float sy, float sx, tn_tensor *y,
                        tn_error *err)
{
    tn_dtype act, to;
    TN_TRY(tn_storage(&act, "resizing", TN_LIST(x), NULL, err));
    TN_TRY(tn_storage(&to, "resizing", TN_LIST(y), NULL, err));
    tn_options o;
    const int vw = tn_vec_width(c, x->cols);
    TN_TRY(tn_options_set(&o, err, "-DOUT=%d -DVW=%d", (int)to, vw));
    int rows = batch * out.h;
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(y->mem),  TN_INT(in.h), TN_INT(in.w), TN_INT(out.h),
                     TN_INT(out.w),  TN_INT(x->cols), TN_FLT(sy),   TN_FLT(sx),   TN_INT(rows)};
    return run2(c, RESIZE, "bilinear_forward", act, o.s, (size_t)out.w * (size_t)(x->cols / vw), (size_t)rows, args, TN_COUNT(args),
                err);
}

int tn_bilinear_backward(tn_ctx *c, const tn_tensor *dy, int batch, tn_size2 in, tn_size2 out, float sy, float sx, tn_tensor *dx,
                         tn_error *err)
{
    tn_dtype act, from;
    TN_TRY(tn_storage(&act, "resizing's backward", TN_LIST(dx), NULL, err));
    TN_TRY(tn_storage(&from, "resizing's backward", TN_LIST(dy), NULL, err));
    tn_options o;
    const int vw = tn_vec_width(c, dx->cols);
    TN_TRY(tn_options_set(&o, err, "-DOUT=%d -DVW=%d", (int)from, vw));
    int rows = batch * in.h;
    tn_arg args[] = {TN_BUF(dy->mem), TN_BUF(dx->mem),  TN_INT(in.h), TN_INT(in.w), TN_INT(out.h),
                     TN_INT(out.w),   TN_INT(dx->cols), TN_FLT(sy),   TN_FLT(sx),   TN_INT(rows)};
    return run2(c, RESIZE, "bilinear_backward", act, o.s, (size_t)in.w * (size_t)(dx->cols / vw), (size_t)rows, args,
                TN_COUNT(args), err);
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
    size_t n = (size_t)C;
    TN_TRY(tn_op_run(c, CONV, "dw_repack", "-DVW=1", a1, TN_COUNT(a1), 1, &n, NULL, err));
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=%d -DFLIP=%d", vw, flip));
    const int rows = batch * s.h;
    tn_arg a2[] = {TN_BUF(x->mem), TN_BUF(t.mem), TN_BUF(y->mem), TN_INT(s.h), TN_INT(s.w), TN_INT(C), TN_INT(rows)};
    TN_TRY(run2(c, CONV, "dw_conv", act, o.s, (size_t)s.w * (size_t)(C / vw), (size_t)rows, a2, TN_COUNT(a2), err));
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
    TN_TRY(run2(c, CONV, "dw_grad", act, o.s, (size_t)(C / vw), (size_t)chunks, a1, TN_COUNT(a1), err));
    tn_arg a2[] = {TN_BUF(p.mem), TN_BUF(dw->mem), TN_INT(C), TN_INT(chunks)};
    TN_TRY(run2(c, CONV, "dw_grad_sum", act, "-DVW=1", (size_t)C, 9, a2, TN_COUNT(a2), err));
    c->ws_used = mark;
    return 0;
}

int tn_dwconv_backward(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, const tn_tensor *dy, int batch, tn_size2 s, tn_tensor *dx,
                       tn_tensor *dw, tn_error *err)
{
    if (dw->mem || c->dry) TN_TRY(dw_grad(c, x, dy, batch, s, dw, err));
    return dw_conv(c, dy, w, batch, s, true, dx, err);
}

static int im2col(tn_ctx *c, const tn_tensor *x, int image, tn_size2 s, tn_tensor *cols, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a convolution", TN_LIST(x, cols), NULL, err));
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(cols->mem), TN_INT(image * s.h * s.w), TN_INT(s.h), TN_INT(s.w), TN_INT(x->cols)};
    return run2(c, CONV, "im2col", act, "-DVW=1", (size_t)x->cols * 9, (size_t)s.h * (size_t)s.w, args, TN_COUNT(args), err);
}

int tn_conv3_forward(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, int batch, tn_size2 s, tn_tensor *y, tn_error *err)
{
    size_t mark = c->ws_used;
    const int hw = s.h * s.w;
    tn_tensor cols;
    TN_TRY(tn_ws_take(c, &cols, x->dtype, hw, x->cols * 9, err));
    for (int b = 0; b < batch; b++) {
        TN_TRY(im2col(c, x, b, s, &cols, err));
        TN_TRY(tn_gemm(c, false, true, 1.0f, cols, *w, 0.0f, tn_rows(*y, b * hw, hw), NULL, err));
    }
    c->ws_used = mark;
    return 0;
}

int tn_conv3_backward(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, const tn_tensor *dy, int batch, tn_size2 s, tn_tensor *dx,
                      tn_tensor *dw, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a convolution's backward", TN_LIST(x, dy, dx), NULL, err));
    size_t mark = c->ws_used;
    const int hw = s.h * s.w, C = x->cols;
    tn_tensor cols;
    TN_TRY(tn_ws_take(c, &cols, x->dtype, hw, C * 9, err));
    for (int b = 0; b < batch; b++) {
        tn_tensor g = tn_rows(*dy, b * hw, hw);
        if (dw->mem || c->dry) {
            TN_TRY(im2col(c, x, b, s, &cols, err));
            TN_TRY(tn_gemm(c, true, false, 1.0f, g, cols, 1.0f, *dw, NULL, err));
        }
        TN_TRY(tn_gemm(c, false, false, 1.0f, g, *w, 0.0f, cols, NULL, err));
        tn_arg args[] = {TN_BUF(cols.mem), TN_BUF(dx->mem), TN_INT(b * hw), TN_INT(s.h), TN_INT(s.w), TN_INT(C)};
        TN_TRY(run2(c, CONV, "col2im", act, "-DVW=1", (size_t)C, (size_t)hw, args, TN_COUNT(args), err));
    }
    c->ws_used = mark;
    return 0;
}
