#include "cpu.h"
#include "spatial.h"

int tn_spatial_run(tn_ctx *c, const tn_spatial_kernel *k, size_t width, size_t rows, const tn_arg *args, int n, tn_error *err)
{
    const tn_range range = {2, {width, rows}, {tn_group_items(c, width), 1}};
    tn_options o;
    TN_TRY(tn_countable(k->entry, TN_MAX(width, rows), err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d %s", (int)k->act, k->options));
    return tn_op_run(c, k->file, k->entry, o.s, args, n, &range, err);
}

tn_runs tn_runs_of(int height, int batch, int per_run, int groups, int least)
{
    const int most = TN_MAX(1, height / least), want = TN_CEIL_DIV(groups, TN_MAX(1, batch * per_run));
    const int span = TN_CEIL_DIV(height, TN_MIN(want, most));
    return (tn_runs){span, TN_CEIL_DIV(height, span)};
}

#define TOKENS "portable/tokens.cl"

/* On GPUs, and where the lines of a patch are whole runs of 8 pixels. */
static int patchify_runs(tn_ctx *c, const tn_tensor *frames, const tn_patches *p, tn_tensor *cols, tn_error *err)
{
    enum { RUN = 8 };
    tn_options o;
    const size_t items = (size_t)cols->rows * (size_t)(p->frames * p->patch * p->patch / RUN);
    TN_TRY(tn_options_set(&o, err, "-DVW=%d -DRUNS=%d", RUN, p->patch / RUN));
    tn_arg args[] = {TN_BUF(frames->mem), TN_BUF(cols->mem), TN_INT(p->height),   TN_INT(p->width),
                     TN_INT(cols->rows),  TN_INT(p->frames), TN_INT(p->normalize)};
    return tn_spatial_run(c, &(tn_spatial_kernel){TOKENS, "patchify_runs", o.s, cols->dtype}, items, 1, args, TN_COUNT(args), err);
}

/* On CPUs, and where they are whole vectors. */
static int patchify_vectors(tn_ctx *c, const tn_tensor *frames, const tn_patches *p, tn_tensor *cols, tn_error *err)
{
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=16 -DPATCH=%d", p->patch));
    tn_arg args[] = {TN_BUF(frames->mem), TN_BUF(cols->mem), TN_INT(p->height),   TN_INT(p->width),
                     TN_INT(cols->rows),  TN_INT(p->frames), TN_INT(p->normalize)};
    return tn_spatial_run(c, &(tn_spatial_kernel){TOKENS, "patchify_vectors", o.s, cols->dtype}, 1, (size_t)cols->rows, args,
                          TN_COUNT(args), err);
}

/* Elsewhere. What an item must find out first takes a CPU longer than a line: there it has all of a patch. */
static int patchify_lines(tn_ctx *c, const tn_tensor *frames, const tn_patches *p, tn_tensor *cols, tn_error *err)
{
    tn_options o;
    const int lines = p->frames * 3 * p->patch, each = c->dev->info.type == TN_DEVICE_CPU ? lines : 1;
    TN_TRY(tn_options_set(&o, err, "-DVW=1 -DPATCH=%d", p->patch));
    tn_arg args[] = {TN_BUF(frames->mem), TN_BUF(cols->mem), TN_INT(p->height),    TN_INT(p->width),
                     TN_INT(cols->rows),  TN_INT(p->frames), TN_INT(p->normalize), TN_INT(each)};
    return tn_spatial_run(c, &(tn_spatial_kernel){TOKENS, "patchify_bytes", o.s, cols->dtype}, (size_t)(lines / each),
                          (size_t)cols->rows, args, TN_COUNT(args), err);
}

/* A kernel on rows like x's: all of them are in one program. */
static int tokens_run(tn_ctx *c, const char *entry, const tn_tensor *x, size_t width, size_t rows, const tn_arg *args, int n,
                      tn_error *err)
{
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=%d", tn_run_width(c, x->dtype, x->cols)));
    return tn_spatial_run(c, &(tn_spatial_kernel){TOKENS, entry, o.s, x->dtype}, width, rows, args, n, err);
}

int tn_patchify(tn_ctx *c, const tn_tensor *pixels, const tn_patches *p, tn_tensor *cols, tn_error *err)
{
    const bool bytes = pixels->dtype == TN_U8, aligned = p->patch % 8 == 0 && p->width % p->patch == 0;
    tn_dtype act;
    TN_TRY(tn_storage(&act, "cutting patches", TN_LIST(cols), bytes ? NULL : TN_LIST(pixels), err));
    if (bytes && aligned && c->dev->info.type != TN_DEVICE_CPU) return patchify_runs(c, pixels, p, cols, err);
    if (bytes && tn_cpu_kernels(c->dev) && p->patch % 16 == 0) return patchify_vectors(c, pixels, p, cols, err);
    if (bytes) return patchify_lines(c, pixels, p, cols, err);
    tn_arg args[] = {TN_BUF(pixels->mem), TN_BUF(cols->mem),  TN_INT(p->height), TN_INT(p->width),
                     TN_INT(p->patch),    TN_INT(cols->rows), TN_INT(p->frames)};
    return tokens_run(c, "patchify", cols, (size_t)(p->patch * 3 * p->frames), (size_t)cols->rows, args, TN_COUNT(args), err);
}

/* A kernel whose items make a vector of a row of `to` each. */
static int token_rows(tn_ctx *c, const char *entry, const tn_tensor *to, const tn_arg *args, int n, tn_error *err)
{
    const int vw = tn_run_width(c, to->dtype, to->cols);
    return tokens_run(c, entry, to, (size_t)(to->cols / vw), (size_t)to->rows, args, n, err);
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
    return token_rows(c, t->pos ? "tokens_forward_placed" : "tokens_forward", x, args, TN_COUNT(args), err);
}

int tn_add_positions(tn_ctx *c, const tn_tensor *x, const tn_tensor *pos, tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "adding positions", TN_LIST(x, y), TN_LIST(pos), err));
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(pos->mem), TN_BUF(y->mem), TN_INT(pos->rows), TN_INT(x->cols), TN_INT(x->rows)};
    return token_rows(c, "add_positions", x, args, TN_COUNT(args), err);
}

int tn_token_grad(tn_ctx *c, const tn_tensor *dx, int batch, int first, int count, tn_tensor *out, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a token's gradient", TN_LIST(dx), TN_LIST(out), err));
    tn_arg args[] = {TN_BUF(dx->mem), TN_BUF(out->mem), TN_INT(batch),   TN_INT(dx->rows / batch),
                     TN_INT(first),   TN_INT(count),    TN_INT(dx->cols)};
    return tokens_run(c, "token_grad", dx, (size_t)dx->cols, (size_t)count, args, TN_COUNT(args), err);
}

int tn_grid_forward(tn_ctx *c, const tn_tensor *x, int batch, int skip, tn_tensor *grid, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a grid", TN_LIST(x, grid), NULL, err));
    tn_arg args[] = {TN_BUF(x->mem),  TN_BUF(grid->mem), TN_INT(x->rows / batch), TN_INT(skip), TN_INT(grid->rows / batch),
                     TN_INT(x->cols), TN_INT(grid->rows)};
    return token_rows(c, "grid_forward", grid, args, TN_COUNT(args), err);
}

int tn_grid_backward(tn_ctx *c, const tn_tensor *dgrid, int batch, int skip, tn_tensor *dx, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a grid's backward", TN_LIST(dgrid, dx), NULL, err));
    tn_arg args[] = {TN_BUF(dgrid->mem),          TN_BUF(dx->mem),  TN_INT(dx->rows / batch), TN_INT(skip),
                     TN_INT(dgrid->rows / batch), TN_INT(dx->cols), TN_INT(dx->rows)};
    return token_rows(c, "grid_backward", dx, args, TN_COUNT(args), err);
}

int tn_grid_put(tn_ctx *c, const tn_tensor *grid, int batch, int skip, bool add, tn_tensor *x, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a grid's rows", TN_LIST(grid, x), NULL, err));
    tn_arg args[] = {TN_BUF(grid->mem),          TN_BUF(x->mem),  TN_INT(x->rows / batch), TN_INT(skip),
                     TN_INT(grid->rows / batch), TN_INT(x->cols), TN_INT(grid->rows),      TN_INT(add)};
    return token_rows(c, "grid_put", grid, args, TN_COUNT(args), err);
}
