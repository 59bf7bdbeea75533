#include "ops.h"
#include "ahead.h"
#include "needs.h"

#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tn_ctx_bare(tn_ctx *c, tn_dev *d)
{
    *c = (tn_ctx){.dev = d};
}

static void drop_subs(tn_ctx *c)
{
    for (int i = c->n_subs - 1; i >= 0; i--) tn_buffer_free(c->subs[i].mem);
    c->n_subs = 0;
}

static void free_workspace(tn_ctx *c)
{
    drop_subs(c);
    if (c->ws) tn_buffer_free(c->ws);
    c->ws = NULL;
    c->ws_size = 0;
}

int tn_ctx_reserve(tn_ctx *c, size_t bytes, tn_error *err)
{
    if (bytes <= c->ws_size) return 0;
    free_workspace(c);
    TN_TRY(tn_buffer_new(&c->ws, c->dev, bytes, "the workspace", err));
    c->ws_size = bytes;
    return 0;
}

void tn_ctx_free(tn_ctx *c)
{
    free_workspace(c);
    if (c->constants) tn_buffer_free(c->constants);
    if (c->state) tn_buffer_free(c->state);
    if (c->counts) tn_buffer_free(c->counts);
    if (c->busy) tn_buffer_free(c->busy);
    c->constants = c->state = c->counts = c->busy = NULL;
    json_decref(c->used);
    c->used = NULL;
}

int tn_ctx_step_ready(tn_ctx *c, tn_error *err)
{
    const tn_step_constants s = {.inv_mask = 1};
    const tn_optim_state o = {.factor = 1, .finite = 1, .loss_scale = 1};
    if (c->dry || c->state) return 0;
    TN_TRY(tn_buffer_new(&c->constants, c->dev, sizeof s, "the step's constants", err));
    TN_TRY(tn_buffer_write(c->constants, 0, &s, sizeof s, err));
    TN_TRY(tn_buffer_new(&c->state, c->dev, sizeof o, "the optimiser's state", err));
    return tn_buffer_write(c->state, 0, &o, sizeof o, err);
}

int tn_ctx_step(tn_ctx *c, const tn_step_constants *s, tn_error *err)
{
    TN_TRY(tn_ctx_step_ready(c, err));
    return c->dry ? 0 : tn_buffer_write(c->constants, 0, s, sizeof *s, err);
}

int tn_ctx_state_set(tn_ctx *c, const tn_optim_state *s, tn_error *err)
{
    TN_TRY(tn_ctx_step_ready(c, err));
    return c->dry ? 0 : tn_buffer_write(c->state, 0, s, sizeof *s, err);
}

int tn_ctx_state_get(tn_ctx *c, tn_optim_state *s, tn_error *err)
{
    TN_TRY(tn_ctx_step_ready(c, err));
    *s = (tn_optim_state){.finite = 1, .loss_scale = 1};
    return c->dry ? 0 : tn_buffer_read(c->state, 0, s, sizeof *s, err);
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

/* A kernel that takes no strides would read what lies between the rows. */
static int check_dense(const char *op, const tn_tensor *t, tn_error *err)
{
    if (!t->rows || (!t->off && (t->ld == t->cols || t->rows == 1))) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "%s: takes whole tensors, not a part of one ([%d, %d] with %d to a row from %zu)", op,
                   t->rows, t->cols, t->ld, t->off);
}

int tn_storage(tn_dtype *out, const char *op, const tn_tensor *const *acts, const tn_tensor *const *floats, tn_error *err)
{
    const tn_tensor *first = NULL;
    *out = TN_F32;
    for (; *acts; acts++) {
        TN_TRY(check_dense(op, *acts, err));
        if (!(*acts)->rows) continue;
        if (!first) first = *acts;
        *out = first->dtype;
        if ((*acts)->dtype != first->dtype)
            return tn_fail(err, TN_ERR_ARGUMENT, "%s: its tensors are stored alike, not as %s and %s", op,
                           tn_dtype_name(first->dtype), tn_dtype_name((*acts)->dtype));
    }
    for (; floats && *floats; floats++) {
        TN_TRY(check_dense(op, *floats, err));
        if ((*floats)->rows && (*floats)->dtype != TN_F32)
            return tn_fail(err, TN_ERR_ARGUMENT, "%s: takes a float32 tensor where it got %s", op, tn_dtype_name((*floats)->dtype));
    }
    return 0;
}

int tn_countable(const char *op, size_t n, tn_error *err)
{
    return n <= INT_MAX ? 0 : tn_fail(err, TN_ERR_ARGUMENT, "%s: %zu elements are more than a kernel counts (%d)", op, n, INT_MAX);
}

int tn_options_set(tn_options *o, tn_error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(o->s, sizeof o->s, fmt, ap);
    va_end(ap);
    return n >= 0 && (size_t)n < sizeof o->s ? 0 : tn_fail(err, TN_ERR_ARGUMENT, "kernel options '%s...' are too long", o->s);
}

int tn_op_run(tn_ctx *c, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
              const tn_range *range, tn_error *err)
{
    tn_kernel *k;
    tn_range r = *range;
    if (!r.local[0] && c->dev->info.type == TN_DEVICE_CPU)
        r.local[0] = r.local[1] = r.local[2] = 1; /* PoCL compiles for each size */
    if (c->dry && c->needs) TN_TRY(tn_needs_add(c->needs, file, entry, options, err));
    if (c->dry) return c->ahead ? tn_ahead_add(c->ahead, file, entry, options, args, n_args, &r, err) : 0;
    TN_TRY(tn_ahead_now(c->dev, file, entry, options, args, n_args, &r, err));
    TN_TRY(tn_kernel_get(&k, c->dev, file, entry, options, err));
    return c->tape ? tn_tape_launch(c->tape, k, args, n_args, &r, err) : tn_launch(c->dev, k, args, n_args, &r, err);
}

size_t tn_group_items(const tn_ctx *c, size_t n)
{
    enum { FEW = 8, MOST = 64 };
    if (n >= MOST || (n > FEW && c->dev->info.type == TN_DEVICE_CPU)) return MOST;
    return n > 1 && c->dev->info.type == TN_DEVICE_CPU ? FEW : n;
}

int tn_vec_width(const tn_ctx *c, int cols)
{
    if (c->dev->info.type == TN_DEVICE_CPU && cols % 16 == 0) return 16;
    return cols % 4 == 0 ? 4 : 1;
}

int tn_run_width(const tn_ctx *c, tn_dtype t, int cols)
{
    return c->dev->info.type != TN_DEVICE_CPU && t != TN_F32 && cols % 8 == 0 ? 8 : tn_vec_width(c, cols);
}
