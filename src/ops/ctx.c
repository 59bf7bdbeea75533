#include "ops.h"

#include <stdio.h>
#include <string.h>

void tn_ctx_init(tn_ctx *c, tn_dev *d, tn_dtype act)
{
    *c = (tn_ctx){.dev = d, .act = act};
}

static void drop_subs(tn_ctx *c)
{
    for (int i = c->n_subs - 1; i >= 0; i--) clReleaseMemObject(c->subs[i].mem);
    c->n_subs = 0;
}

static void free_workspace(tn_ctx *c)
{
    drop_subs(c);
    if (c->ws) tn_buffer_free(c->dev, c->ws, c->ws_size);
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
    if (c->constants) tn_buffer_free(c->dev, c->constants, sizeof(tn_step_constants));
    if (c->state) tn_buffer_free(c->dev, c->state, sizeof(tn_optim_state));
    c->constants = c->state = NULL;
}

int tn_ctx_step_ready(tn_ctx *c, tn_error *err)
{
    const tn_step_constants s = {.inv_mask = 1};
    const tn_optim_state o = {.factor = 1, .finite = 1, .loss_scale = 1};
    if (c->dry || c->state) return 0;
    TN_TRY(tn_buffer_new(&c->constants, c->dev, sizeof s, "the step's constants", err));
    TN_TRY(tn_buffer_write(c->dev, c->constants, 0, &s, sizeof s, err));
    TN_TRY(tn_buffer_new(&c->state, c->dev, sizeof o, "the optimiser's state", err));
    return tn_buffer_write(c->dev, c->state, 0, &o, sizeof o, err);
}

int tn_ctx_step(tn_ctx *c, const tn_step_constants *s, tn_error *err)
{
    TN_TRY(tn_ctx_step_ready(c, err));
    return c->dry ? 0 : tn_buffer_write(c->dev, c->constants, 0, s, sizeof *s, err);
}

int tn_ctx_state_set(tn_ctx *c, const tn_optim_state *s, tn_error *err)
{
    TN_TRY(tn_ctx_step_ready(c, err));
    return c->dry ? 0 : tn_buffer_write(c->dev, c->state, 0, s, sizeof *s, err);
}

int tn_ctx_state_get(tn_ctx *c, tn_optim_state *s, tn_error *err)
{
    TN_TRY(tn_ctx_step_ready(c, err));
    *s = (tn_optim_state){.finite = 1, .loss_scale = 1};
    return c->dry ? 0 : tn_buffer_read(c->dev, c->state, 0, s, sizeof *s, err);
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
    for (int i = 0; i < c->n_subs; i++)
        if (c->subs[i].offset == at && c->subs[i].bytes == bytes) {
            t->mem = c->subs[i].mem;
            return 0;
        }
    if (c->n_subs == TN_WS_SUBS) return tn_fail(err, TN_ERR_MEMORY, "one operation asked for too many scratch tensors");
    TN_TRY(tn_buffer_sub(&t->mem, c->dev, c->ws, at, bytes, err));
    c->subs[c->n_subs].offset = at;
    c->subs[c->n_subs].bytes = bytes;
    c->subs[c->n_subs++].mem = t->mem;
    return 0;
}

int tn_op_run(tn_ctx *c, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args, int dims,
              const size_t *global, const size_t *local, tn_error *err)
{
    if (c->dry) return 0;
    char opts[256];
    snprintf(opts, sizeof opts, "-DACT=%d %s", (int)c->act, options);
    tn_kernel *k;
    TN_TRY(tn_kernel_get(&k, c->dev, file, entry, opts, err));
    return tn_launch(c->dev, k, args, n_args, dims, global, local, err);
}

int tn_vec_width(const tn_ctx *c, int cols)
{
    if (c->dev->info.type == TN_DEVICE_CPU && cols % 16 == 0) return 16;
    return cols % 4 == 0 ? 4 : 1;
}
