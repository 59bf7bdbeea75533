#include "traffic.h"

enum { COPIED = 1024, CPU_VECTORS = 256, GPU_VECTORS = 16, GPU_ITEMS = 256 };

static bool on_cpu(const tn_ctx *c)
{
    return c->dev->info.type == TN_DEVICE_CPU;
}

int tn_copy_by_kernel(tn_ctx *c, tn_buffer *from, tn_buffer *to, size_t bytes, tn_error *err)
{
    const size_t n = bytes / 16, per = on_cpu(c) ? COPIED : 1;
    const tn_arg args[] = {TN_BUF(from), TN_BUF(to), TN_UINT(n), TN_UINT(per)};
    const tn_range r = {1, {TN_CEIL_DIV(n, per)}, {on_cpu(c) ? 1 : GPU_ITEMS}};
    return tn_op_run(c, "portable/copy.cl", "copy", "", args, TN_COUNT(args), &r, err);
}

/* How items share vectors: on a CPU each has a piece of its own, on a GPU neighbours read neighbours. */
typedef struct {
    size_t n, per, lead, step, items;
    const char *options;
} sharing;

static sharing shared(const tn_ctx *c, size_t bytes)
{
    sharing s = {.per = on_cpu(c) ? CPU_VECTORS : GPU_VECTORS, .options = on_cpu(c) ? "-DVEC=float16" : "-DVEC=float4"};
    s.n = bytes / (on_cpu(c) ? 64 : 16);
    s.items = TN_CEIL_DIV(s.n, s.per);
    s.lead = on_cpu(c) ? s.per : 1;
    s.step = on_cpu(c) ? 1 : s.items;
    return s;
}

size_t tn_read_sums(const tn_ctx *c, size_t bytes)
{
    return shared(c, bytes).items * (on_cpu(c) ? 16 : 4);
}

static int traffic(tn_ctx *c, const char *entry, tn_buffer *what, tn_arg second, size_t bytes, tn_error *err)
{
    const sharing s = shared(c, bytes);
    const tn_arg args[] = {TN_BUF(what), second, TN_UINT(s.n), TN_UINT(s.per), TN_UINT(s.lead), TN_UINT(s.step), TN_UINT(s.items)};
    const tn_range r = {1, {s.items}, {on_cpu(c) ? 1 : GPU_ITEMS}};
    return tn_op_run(c, "portable/bandwidth.cl", entry, s.options, args, TN_COUNT(args), &r, err);
}

int tn_read_by_kernel(tn_ctx *c, tn_buffer *from, tn_buffer *sums, size_t bytes, tn_error *err)
{
    return traffic(c, "read_all", from, TN_BUF(sums), bytes, err);
}

int tn_write_by_kernel(tn_ctx *c, tn_buffer *to, float value, size_t bytes, tn_error *err)
{
    return traffic(c, "write_all", to, TN_FLT(value), bytes, err);
}
