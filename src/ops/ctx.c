#include "ops.h"

#include <stdio.h>
#include <string.h>

void tn_ctx_init(tn_ctx *c, tn_dev *d, tn_dtype act)
{
    *c = (tn_ctx){.dev = d, .act = act};
}

static void drop_subs(tn_ctx *c)
{
    for (int i = c->n_subs - 1; i >= 0; i--) tn_buffer_free(c->subs[i].mem);
    c->n_subs = 0;
}

int tn_ctx_reserve(tn_ctx *c, size_t bytes, tn_error *err)
{
    if (bytes <= c->ws_size) return 0;
    tn_ctx_free(c);
    TN_TRY(tn_buffer_new(&c->ws, c->dev, bytes, "the workspace", err));
    c->ws_size = bytes;
    return 0;
}

void tn_ctx_free(tn_ctx *c)
{
    drop_subs(c);
    tn_buffer_free(c->ws);
    c->ws = NULL;
    c->ws_size = 0;
}

void tn_ws_reset(tn_ctx *c)
{
    c->ws_used = 0;
    if (c->n_subs > TN_WS_SUBS / 2) drop_subs(c); /* only between operations: one may hold several */
}

int tn_ws_take(tn_ctx *c, tn_tensor *t, tn_dtype dt, int rows, int cols, tn_error *err)
{
    *t = tn_view(NULL, dt, rows, cols);
    size_t bytes = TN_ROUND_UP(TN_MAX(tn_tensor_bytes(t), (size_t)4), c->dev->align), at = c->ws_used;
    c->ws_used += bytes;
    c->ws_peak = TN_MAX(c->ws_peak, c->ws_used);
    if (c->dry) return 0;
    if (c->ws_used > c->ws_size)
        return tn_fail(err, TN_ERR_MEMORY, "the planned workspace of %zu bytes is too small by %zu", c->ws_size,
                       c->ws_used - c->ws_size);
    if (c->tape) return tn_tape_region(&t->mem, c->tape, c->ws, at, bytes, err);
    for (int i = 0; i < c->n_subs; i++)
        if (c->subs[i].offset == at && c->subs[i].bytes == bytes) {
            t->mem = c->subs[i].mem;
            return 0;
        }
    if (c->n_subs == TN_WS_SUBS) return tn_fail(err, TN_ERR_MEMORY, "one operation asked for too many scratch tensors");
    TN_TRY(tn_buffer_sub(&t->mem, c->ws, at, bytes, err));
    c->subs[c->n_subs].offset = at;
    c->subs[c->n_subs].bytes = bytes;
    c->subs[c->n_subs++].mem = t->mem;
    return 0;
}

int tn_op_fill(tn_ctx *c, tn_buffer *b, size_t offset, size_t bytes, uint32_t pattern, tn_error *err)
{
    if (c->dry) return 0;
    return c->tape ? tn_tape_fill(c->tape, b, offset, bytes, pattern, err) : tn_buffer_fill(b, offset, bytes, pattern, err);
}

int tn_op_copy(tn_ctx *c, tn_buffer *src, tn_buffer *dst, size_t dst_off, size_t bytes, tn_error *err)
{
    if (c->dry) return 0;
    return c->tape ? tn_tape_copy(c->tape, src, 0, dst, dst_off, bytes, err) : tn_buffer_copy(src, 0, dst, dst_off, bytes, err);
}

int tn_op_run(tn_ctx *c, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args, int dims,
              const size_t *global, const size_t *local, tn_error *err)
{
    if (c->dry) return 0;
    char opts[256];
    snprintf(opts, sizeof opts, "-DACT=%d %s", (int)c->act, options);
    tn_kernel *k;
    TN_TRY(tn_kernel_get(&k, c->dev, file, entry, opts, err));
    tn_range r = {.dims = dims};
    for (int i = 0; i < dims; i++) r.global[i] = global[i], r.local[i] = local ? local[i] : 0;
    return c->tape ? tn_tape_launch(c->tape, k, args, n_args, &r, err) : tn_launch(c->dev, k, args, n_args, &r, err);
}

int tn_vec_width(const tn_ctx *c, int cols)
{
    if (c->dev->info.type == TN_DEVICE_CPU && cols % 16 == 0) return 16;
    return cols % 4 == 0 ? 4 : 1;
}
