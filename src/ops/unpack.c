/* Unpacking quantised weights on a device. Every variant unpacks the same values; a CPU's own take sixteen at once. */
#include "unpack.h"
#include "args.h"
#include "tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNPACK_ITEMS = 64, STEPS = 2, RUN = 64 };

int tn_qargs(tn_arg *a, const tn_qtensor *q)
{
    const tn_arg args[] = {TN_BUF(q->packed),
                           TN_BUF(q->scales),
                           TN_BUF(q->nested ? q->nested : q->tables),
                           TN_BUF(q->zeros ? q->zeros : q->packed),
                           TN_BUF(q->tables),
                           TN_FLT(q->offset),
                           TN_UINT(q->s.block)};
    memcpy(a, args, sizeof args);
    return TN_COUNT(args);
}

int tn_qrun(int v)
{
    int run = RUN;
    while (v % run) run /= 2;
    return run;
}

void tn_qkind(char *out, size_t n, const tn_qshape *s)
{
    snprintf(out, n, "%s%s %d", tn_qformats[s->type].name, s->nested ? " nested" : "", s->block);
}

int tn_qtensor_random(tn_qtensor *q, tn_ctx *c, const tn_qshape *s, tn_error *err)
{
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    float *v = malloc((n + 1) * sizeof *v);
    if (!v) return tn_oom(err);
    tn_rng r = tn_rng_named(n, "weights");
    for (size_t i = 0; i < n; i++) v[i] = i < 4096 ? (float)tn_rng_normal(&r) : v[i - 4096 + (i >> 12) % 7];
    int rc = tn_qtensor_new(q, c->dev, s, NULL, err);
    if (!rc) rc = tn_qtensor_quantize(c, q, v, "tuning", err);
    free(v);
    return rc;
}

static bool is_operand(const tn_unpack_args *a)
{
    return a->to.turned || a->to.lanes;
}

/* A kernel with its own options and its items; across: of the second dimension; span: of its arguments, where it takes that (0: it
 * does not). */
typedef struct {
    const char *file, *entry, *options;
    size_t items, across, local;
    int span;
} unpack_kernel;

/* What follows the matrix in the arguments: where it goes, and how much there is. */
static int unpack_target(tn_arg *args, const tn_unpack_args *a, int span)
{
    int k = 0;
    args[k++] = TN_BUF(a->out.mem);
    args[k++] = is_operand(a) ? TN_INT(a->q.s.rows) : TN_UINT(a->out.off);
    args[k++] = is_operand(a) ? TN_INT(a->q.s.cols) : TN_UINT(tn_qcount(&a->q));
    if (span) args[k++] = TN_UINT(span);
    return k;
}

static int unpack_launch(tn_ctx *c, const tn_unpack_args *a, const unpack_kernel *u, tn_error *err)
{
    char format[160];
    tn_options o;
    tn_arg args[11 + 5 * (TN_UNPACK_PARTS - 1)];
    int k = tn_qargs(args, &a->q);
    k += unpack_target(args + k, a, u->span);
    for (int i = 0; i < a->n_more; i++) {
        tn_arg more[7];
        tn_qargs(more, &a->more[i]);
        for (int j = 0; j < 4; j++) args[k++] = more[j];
        args[k++] = more[5]; /* tables and block are the first one's */
    }
    tn_qoptions(format, sizeof format, &a->q.s, a->out.dtype);
    TN_TRY(tn_options_set(&o, err, "%s %s -DPARTS=%d", format, u->options, 1 + a->n_more));
    return tn_op_run(c, u->file, u->entry, o.s, args, k, &(tn_range){2, {u->items, u->across}, {u->local, 1}}, err);
}

/* The shift that divides by a block's size; 0 where there is none. */
static int shift_of(int block)
{
    int k = 0;
    while (1 << k < block) k++;
    return 1 << k == block ? k : 0;
}

/* ---- the rows ---- */

static int unpack_run_operand(tn_ctx *c, const tn_unpack_args *a, tn_error *err)
{
    enum { DEEP = 64, WIDE = 32, WORDS = 4 }; /* what a group turns; words an item makes of blocks */
    static const char file[] = "portable/quant_operand.cl";
    char own[64];
    const int all = a->q.s.rows * (1 + a->n_more), cols = a->q.s.cols;
    const size_t words = tn_qoperand_count(&a->q.s, 1 + a->n_more, a->to) / 2;
    const unpack_kernel blocks = {file, "unpack_blocks", own, words / WORDS, 1, UNPACK_ITEMS, 0};
    const unpack_kernel turned = {
        file, "unpack_turned", own, (size_t)TN_CEIL_DIV(all, DEEP) * UNPACK_ITEMS, (size_t)TN_CEIL_DIV(cols, WIDE), UNPACK_ITEMS,
        0};
    snprintf(own, sizeof own, "-DSHIFT=%d -DTURNED=%d -DLANES=%d", shift_of(a->q.s.block), a->to.turned, a->to.lanes);
    return unpack_launch(c, a, a->to.lanes ? &blocks : &turned, err);
}

static int unpack_run_portable(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_unpack_args *a = args;
    char own[64];
    const size_t n = tn_qcount(&a->q), parts = (size_t)(1 + a->n_more);
    const int block = a->q.s.block;
    if (is_operand(a)) return unpack_run_operand(c, a, err);
    if (n % 8 || block % 8 || a->out.off % 8) {
        const int per = block % 8 ? 1 : 8;
        snprintf(own, sizeof own, "-DPER=%d", per);
        const unpack_kernel odd = {"portable/quant.cl", "unpack", own, TN_CEIL_DIV(n, (size_t)per), parts, UNPACK_ITEMS, 0};
        return unpack_launch(c, a, &odd, err);
    }
    const size_t group = (size_t)(UNPACK_ITEMS * STEPS) * (a->out.dtype == TN_F32 ? 4 : 8);
    snprintf(own, sizeof own, "-DSHIFT=%d -DSTEPS=%d", shift_of(block), STEPS);
    const unpack_kernel runs = {
        "portable/quant.cl", "unpack_runs", own, TN_CEIL_DIV(n, group) * UNPACK_ITEMS, parts, UNPACK_ITEMS, 0};
    return unpack_launch(c, a, &runs, err);
}

static bool unpack_can_cpu(const tn_ctx *c, const void *args)
{
    const tn_unpack_args *a = args;
    (void)c;
    return !is_operand(a) && a->q.s.block % 16 == 0 && tn_qcount(&a->q) % (size_t)tn_qrun(a->q.s.block) == 0;
}

/* SPAN: the elements that an item unpacks at most. */
static const int spans[] = {4096, 1024, 16384, 0};
static const tn_tunable cpu_tunables[] = {{"SPAN", spans}, {0}};

static int unpack_run_cpu(tn_ctx *c, const tn_unpack_args *a, int lookup, tn_error *err)
{
    char own[96];
    const size_t n = tn_qcount(&a->q);
    const int run = tn_qrun(a->q.s.block);
    int span = c->tune[0];
    while (span > 4 * RUN && n / (size_t)span < 8 * (size_t)c->dev->info.compute_units) span /= 2; /* every core has several */
    snprintf(own, sizeof own, "-DRUN=%d -DSHIFT=%d -DLOOKUP=%d", run, shift_of(a->q.s.block), lookup);
    const unpack_kernel u = {"cpu/quant.cl", "unpack16", own, TN_CEIL_DIV(n, (size_t)span), (size_t)(1 + a->n_more), 1, span};
    return unpack_launch(c, a, &u, err);
}

static int unpack_run_vectors(tn_ctx *c, const void *args, tn_error *err)
{
    return unpack_run_cpu(c, args, 0, err);
}

static int unpack_run_avx512(tn_ctx *c, const void *args, tn_error *err)
{
    return unpack_run_cpu(c, args, 1, err);
}

/* ---- the operation ---- */

static const char *const times[TN_UNPACK_PARTS] = {"", " *2", " *3"};

static void unpack_kind(char *out, size_t n, const void *args)
{
    const tn_unpack_args *a = args;
    char format[TN_KEY], blocks[16];
    tn_qkind(format, sizeof format, &a->q.s);
    snprintf(blocks, sizeof blocks, a->to.lanes ? " blocks %d" : "", a->to.lanes);
    snprintf(out, n, "%s%s to %s%s%s", format, times[a->n_more], tn_dtype_name(a->out.dtype), a->to.turned ? " turned" : "",
             blocks);
}

static void unpack_key(char *out, size_t n, const void *args)
{
    const tn_unpack_args *a = args;
    char kind[TN_KEY];
    unpack_kind(kind, sizeof kind, args);
    snprintf(out, n, "%.60s %dx%d", kind, a->q.s.rows, a->q.s.cols);
}

static double unpack_work(const void *args)
{
    const tn_unpack_args *a = args;
    return (double)(1 + a->n_more) * (double)tn_qcount(&a->q) * (double)tn_dtype_size(a->out.dtype);
}

static int unpack_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_unpack_args *a = copy;
    const tn_unpack_args *from = args;
    const int n = 1 + from->n_more;
    TN_TRY(tn_qtensor_random(&a->q, c, &from->q.s, err));
    for (; a->n_more < from->n_more; a->n_more++) TN_TRY(tn_qtensor_random(&a->more[a->n_more], c, &from->q.s, err));
    const int rows = is_operand(from) ? 1 : n * from->q.s.rows;
    const int cols = is_operand(from) ? (int)tn_qoperand_count(&from->q.s, n, from->to) : from->q.s.cols;
    return tn_tensor_new(&a->out, c->dev, from->out.dtype, rows, cols, "tuning", err);
}

static void unpack_release(void *copy, tn_ctx *c)
{
    tn_unpack_args *a = copy;
    tn_tensor_free(c->dev, &a->out);
    tn_qtensor_free(&a->q, c->dev);
    for (int i = 0; i < a->n_more; i++) tn_qtensor_free(&a->more[i], c->dev);
}

static const tn_variant rows[] = {
    {.name = "cpu-avx512",
     .needs = TN_CAP_VECTORS | TN_CAP_AVX512,
     .can = unpack_can_cpu,
     .run = unpack_run_avx512,
     .tunables = cpu_tunables},
    {.name = "cpu", .needs = TN_CAP_VECTORS, .can = unpack_can_cpu, .run = unpack_run_vectors, .tunables = cpu_tunables},
    {.name = "portable", .run = unpack_run_portable, .not_on_cpus = true},
};

const tn_variant_op tn_unpack_op = {
    .name = "unpack",
    .rows = rows,
    .n = TN_COUNT(rows),
    .key = unpack_key,
    .kind = unpack_kind,
    .make = unpack_make,
    .release = unpack_release,
    .args_size = sizeof(tn_unpack_args),
    .work = unpack_work,
};

int tn_unpack(tn_ctx *c, const tn_qtensor *q, tn_tensor *out, tn_error *err)
{
    const tn_unpack_args a = {.q = *q, .out = *out};
    if (out->ld != out->cols || tn_tensor_count(out) != tn_qcount(q))
        return tn_fail(err, TN_ERR_ARGUMENT, "unpacking: [%d, %d] does not go into [%d, %d] with %d to a row", q->s.rows, q->s.cols,
                       out->rows, out->cols, out->ld);
    return tn_variant_run(c, &tn_unpack_op, &a, err);
}

/* Can one launch take them all? */
static bool of_one_shape(const tn_qtensor *const *q, int n)
{
    bool all = n <= TN_UNPACK_PARTS;
    for (int i = 1; i < n; i++) all = all && tn_qshape_equal(&q[0]->s, &q[i]->s);
    return all;
}

static int unpack_together(tn_ctx *c, const tn_qtensor *const *q, int n, tn_qoperand to, const tn_tensor *out, tn_error *err)
{
    tn_unpack_args a = {.q = *q[0], .out = *out, .to = to, .n_more = n - 1};
    for (int i = 1; i < n; i++) a.more[i - 1] = *q[i];
    return tn_variant_run(c, &tn_unpack_op, &a, err);
}

int tn_unpack_parts(tn_ctx *c, const tn_qtensor *const *q, int n, tn_tensor *out, tn_error *err)
{
    if (n > 1 && of_one_shape(q, n) && out->ld == out->cols && tn_tensor_count(out) == (size_t)n * tn_qcount(q[0]))
        return unpack_together(c, q, n, (tn_qoperand){.lanes = 0}, out, err);
    for (int i = 0, row = 0; i < n; row += q[i++]->s.rows) {
        tn_tensor part = tn_rows(*out, row, q[i]->s.rows);
        TN_TRY(tn_unpack(c, q[i], &part, err));
    }
    return 0;
}

/* ---- as a matrix unit wants it ---- */

bool tn_qoperand_can(const tn_qtensor *const *q, int n)
{
    const tn_qshape *s = &q[0]->s;
    return of_one_shape(q, n) && s->rows % 8 == 0 && s->cols % 8 == 0 && s->block % 8 == 0;
}

size_t tn_qoperand_count(const tn_qshape *s, int n, tn_qoperand to)
{
    enum { DEEP = 16 };
    const int all = n * s->rows, N = to.turned ? s->cols : all, K = to.turned ? all : s->cols;
    if (!to.lanes) return (size_t)N * (size_t)K;
    return (size_t)TN_CEIL_DIV(N, to.lanes) * (size_t)to.lanes * (size_t)TN_CEIL_DIV(K, DEEP) * DEEP;
}

int tn_unpack_operand(tn_ctx *c, const tn_qtensor *const *q, int n, tn_qoperand to, const tn_tensor *out, tn_error *err)
{
    const size_t count = tn_qoperand_count(&q[0]->s, n, to);
    TN_TRY(tn_countable("unpacking", count, err));
    if (!tn_qoperand_can(q, n) || out->off || out->ld != out->cols || tn_tensor_count(out) != count || out->dtype == TN_F32)
        return tn_fail(err, TN_ERR_ARGUMENT, "unpacking: %d of [%d, %d] do not go into an operand [%d, %d]", n, q[0]->s.rows,
                       q[0]->s.cols, out->rows, out->cols);
    return unpack_together(c, q, n, to, out, err);
}
