#include "gemm.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tn_gemm_option(tn_gemm_build *b, const char *fmt, ...)
{
    const size_t used = strlen(b->options);
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(b->options + used, sizeof b->options - used, fmt, ap);
    va_end(ap);
    b->too_long |= n < 0 || (size_t)n >= sizeof b->options - used;
}

void tn_gemm_arg(tn_gemm_build *b, tn_arg a)
{
    if (b->n < (int)TN_COUNT(b->args)) b->args[b->n++] = a;
    else b->too_long = true;
}

static void put_view(tn_gemm_build *b, const tn_tensor *t)
{
    tn_gemm_arg(b, TN_BUF(t->mem));
    tn_gemm_arg(b, TN_UINT(t->off));
    tn_gemm_arg(b, TN_INT(t->ld));
}

void tn_gemm_put_step(tn_gemm_build *b, const tn_ctx *c)
{
    tn_gemm_arg(b, TN_BUF(c->constants));
}

void tn_gemm_put_mask(tn_gemm_build *b, const char *name, tn_mask m, int width)
{
    if (m.p <= 0) return;
    tn_gemm_option(b, " -D%s", name);
    tn_gemm_arg(b, TN_UINT(m.salt));
    tn_gemm_arg(b, TN_UINT(tn_drop_threshold(m.p)));
    tn_gemm_arg(b, TN_FLT(1.0f / (1.0f - m.p)));
    if (width) tn_gemm_arg(b, TN_UINT(width));
}

int tn_gemm_mask_cols(tn_mask m, int cols)
{
    return m.p > 0 ? cols : 0;
}

void tn_gemm_put_aligned(tn_gemm_build *b, int widths)
{
    if (widths && widths % 16 == 0) tn_gemm_option(b, " -DALIGNED=1");
}

void tn_gemm_put_bits(tn_gemm_build *b, const tn_gemm_args *g)
{
    if (!g->drawn) return;
    tn_gemm_option(b, " -DBITS");
    tn_gemm_arg(b, TN_BUF((tn_buffer *)g->bits));
    tn_gemm_arg(b, TN_UINT(g->bits_at));
}

void tn_gemm_put_turn(tn_gemm_build *b, const tn_turn *t)
{
    if (!t->heads) return;
    tn_gemm_option(b, " -DTURN");
    tn_gemm_arg(b, TN_BUF(t->table.mem));
    tn_gemm_arg(b, TN_INT(t->table.rows + t->skip));
    tn_gemm_arg(b, TN_INT(t->skip));
    tn_gemm_arg(b, TN_INT(2 * t->heads * t->table.cols));
}

void tn_gemm_put_epilogue(tn_gemm_build *b, const tn_gemm_args *g)
{
    const tn_epilogue *e = &g->e;
    if (e->bias) tn_gemm_option(b, " -DBIAS"), tn_gemm_arg(b, TN_BUF(e->bias));
    if (e->pre.rows) tn_gemm_option(b, " -DPRE -DPT=%d", (int)e->pre.dtype), put_view(b, &e->pre);
    if (e->pre.rows && e->pre_slope) tn_gemm_option(b, " -DPRE_SLOPE");
    if (e->has_act) tn_gemm_option(b, " -DACTIVATE -DFN=%d", (int)e->act);
    if (e->slope.rows) tn_gemm_option(b, " -DSLOPE -DLT=%d -DFN=%d", (int)e->slope.dtype, (int)e->act), put_view(b, &e->slope);
    if (e->slope.rows && e->slope_ready) tn_gemm_option(b, " -DREADY");
    if (e->scale) tn_gemm_option(b, " -DSCALE"), tn_gemm_arg(b, TN_BUF(e->scale));
    if (e->residual.rows) tn_gemm_option(b, " -DRESIDUAL -DRT=%d", (int)e->residual.dtype), put_view(b, &e->residual);
}

int tn_gemm_launch(tn_ctx *c, const tn_gemm_build *b, const char *file, const char *entry, const size_t *global,
                   const size_t *local, tn_error *err)
{
    if (b->too_long) return tn_fail(err, TN_ERR_ARGUMENT, "gemm: too many options at once (%s)", b->options);
    const tn_range range = {3, {global[0], global[1], global[2]}, {local[0], local[1], local[2]}};
    return tn_op_run(c, file, entry, b->options, b->args, b->n, &range, err);
}

bool tn_gemm_pieces(const tn_tensor *t, size_t step)
{
    return t->off % 8 == 0 && t->ld % 8 == 0 && step % 8 == 0;
}

int tn_gemm_part(const tn_epilogue *e, int N)
{
    return e->tb2 && e->parts > 1 ? N / e->parts : N;
}

int tn_gemm_rank(const tn_epilogue *e)
{
    return e->tb2 ? e->B2.cols : e->B2.rows;
}
