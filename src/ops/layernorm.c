#include "args.h"
#include "tuning.h"

#include <stdio.h>

/* A kernel file with the entries ln_forward and ln_backward, and its shape: `local` items share a group, which takes `rows`
 * rows. */
typedef struct {
    const char *file;
    int local, rows;
    bool scales; /* its backward has `scaled` too */
    tn_options o;
} layernorm_kernels;

static int layernorm_launch(tn_ctx *c, const tn_layernorm_args *a, const layernorm_kernels *k, bool back, tn_error *err)
{
    const size_t local = (size_t)k->local;
    const tn_range range = {1, {(size_t)TN_CEIL_DIV(a->x.rows, k->rows) * local}, {local}};
    const tn_arg fwd[] = {TN_BUF(a->x.mem),     TN_BUF(a->gamma.mem), TN_BUF(a->beta.mem), TN_BUF(a->y.mem),
                          TN_BUF(a->stats.mem), TN_INT(a->x.cols),    TN_FLT(a->eps),      TN_INT(a->x.rows)};
    const tn_arg bwd[] = {TN_BUF(a->x.mem),     TN_BUF(a->gamma.mem), TN_BUF(a->stats.mem),  TN_BUF(a->dy.mem),
                          TN_BUF(a->dx.mem),    TN_INT(a->x.cols),    TN_INT(a->accumulate), TN_INT(a->x.rows),
                          TN_BUF(a->scale.mem), TN_BUF(a->scaled.mem)};
    const int left_out = k->scales ? 0 : 2;
    return back ? tn_op_run(c, k->file, "ln_backward", k->o.s, bwd, TN_COUNT(bwd) - left_out, &range, err)
                : tn_op_run(c, k->file, "ln_forward", k->o.s, fwd, TN_COUNT(fwd), &range, err);
}

/* ---- the rows ---- */

static int layernorm_run_portable(tn_ctx *c, const tn_layernorm_args *a, bool back, tn_error *err)
{
    layernorm_kernels k = {"portable/layernorm.cl", c->dev->row_wg, 1, false, {{0}}};
    TN_TRY(tn_options_set(&k.o, err, "-DACT=%d -DWG=%d -DVW=%d", (int)a->act, c->dev->row_wg, tn_vec_width(c, a->x.cols)));
    return layernorm_launch(c, a, &k, back, err);
}

static int layernorm_forward_portable(tn_ctx *c, const void *args, tn_error *err)
{
    return layernorm_run_portable(c, args, false, err);
}

/* `scaled` as a pass of its own. */
static int layernorm_scale(tn_ctx *c, const tn_layernorm_args *a, tn_error *err)
{
    tn_tensor scaled = a->scaled;
    return scaled.rows ? tn_scale_cols(c, &a->dx, &a->scale, &scaled, err) : 0;
}

static int layernorm_backward_portable(tn_ctx *c, const void *args, tn_error *err)
{
    TN_TRY(layernorm_run_portable(c, args, true, err));
    return layernorm_scale(c, args, err);
}

static const int rows_an_item[] = {16, 4, 32, 0};
static const tn_tunable cpu_tunables[] = {{"ROWS", rows_an_item}, {0}};

static bool layernorm_whole_vectors(const tn_ctx *c, const void *args)
{
    (void)c;
    return ((const tn_layernorm_args *)args)->x.cols % 16 == 0;
}

static int layernorm_run_cpu(tn_ctx *c, const tn_layernorm_args *a, bool back, tn_error *err)
{
    layernorm_kernels k = {"cpu/layernorm.cl", 1, c->tune[0], back && a->scaled.rows > 0, {{0}}};
    TN_TRY(tn_options_set(&k.o, err, "-DACT=%d -DROWS=%d%s", (int)a->act, c->tune[0], k.scales ? " -DSCALED" : ""));
    return layernorm_launch(c, a, &k, back, err);
}

static int layernorm_forward_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    return layernorm_run_cpu(c, args, false, err);
}

static int layernorm_backward_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    return layernorm_run_cpu(c, args, true, err);
}

/* A row in registers: 16 bytes a run, few runs an item. */
enum { RUNS_AN_ITEM = 4, MOST_LANES = 256 };

static const int group_sizes[] = {128, 256, 64, 0};
static const tn_tunable gpu_tunables[] = {{"WG", group_sizes}, {0}};

static int layernorm_run_width(const tn_layernorm_args *a)
{
    return a->act == TN_F32 ? 4 : 8;
}

static int layernorm_lanes(const tn_layernorm_args *a)
{
    int lanes = 4;
    while (lanes * RUNS_AN_ITEM * layernorm_run_width(a) < a->x.cols) lanes *= 2;
    return lanes;
}

static bool layernorm_in_registers(const tn_ctx *c, const void *args)
{
    const tn_layernorm_args *a = args;
    return a->x.cols % layernorm_run_width(a) == 0 && a->x.cols <= MOST_LANES * RUNS_AN_ITEM * layernorm_run_width(a) &&
           c->dev->info.max_work_group >= MOST_LANES;
}

static int layernorm_run_gpu(tn_ctx *c, const tn_layernorm_args *a, bool back, tn_error *err)
{
    const int lanes = layernorm_lanes(a), wg = TN_MAX(lanes, c->tune[0]);
    layernorm_kernels k = {"gpu/layernorm.cl", wg, wg / lanes, a->scaled.rows > 0, {{0}}};
    TN_TRY(tn_options_set(&k.o, err, "-DACT=%d -DVW=%d -DCOLS=%d -DLANES=%d -DWG=%d%s", (int)a->act, layernorm_run_width(a),
                          a->x.cols, lanes, wg, k.scales ? " -DSCALED" : ""));
    return layernorm_launch(c, a, &k, back, err);
}

static int layernorm_forward_gpu(tn_ctx *c, const void *args, tn_error *err)
{
    return layernorm_run_gpu(c, args, false, err);
}

static int layernorm_backward_gpu(tn_ctx *c, const void *args, tn_error *err)
{
    return layernorm_run_gpu(c, args, true, err);
}

/* ---- the operations ---- */

static void layernorm_kind(char *out, size_t n, const void *args)
{
    const tn_layernorm_args *a = args;
    snprintf(out, n, "%s%s", tn_dtype_name(a->act), a->scaled.rows ? " scaled" : "");
}

static void layernorm_key(char *out, size_t n, const void *args)
{
    const tn_layernorm_args *a = args;
    char kind[TN_KEY];
    layernorm_kind(kind, sizeof kind, a);
    snprintf(out, n, "%s %dx%d", kind, a->x.rows, a->x.cols);
}

static double layernorm_work(const void *args)
{
    const tn_layernorm_args *a = args;
    return 8.0 * a->x.rows * a->x.cols;
}

static void layernorm_shrink(void *args, double most)
{
    tn_layernorm_args *a = args;
    a->x.rows = tn_bucket(a->x.rows);
    while (a->x.rows > 1 && layernorm_work(a) > most) a->x.rows /= 2;
    if (a->scaled.rows) a->scaled.rows = a->x.rows;
}

static int layernorm_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_layernorm_args *a = copy;
    const tn_layernorm_args *from = args;
    const int rows = from->x.rows, cols = from->x.cols;
    *a = *from;
    const bool scaled = from->scaled.rows > 0;
    tn_tensor *const t[] = {&a->x, &a->y, &a->dy, &a->dx, &a->scaled, &a->gamma, &a->beta, &a->scale, &a->stats};
    for (size_t i = 0; i < TN_COUNT(t); i++) t[i]->mem = NULL;
    for (size_t i = 0; i < TN_COUNT(t); i++) {
        const bool stats = t[i] == &a->stats, vector = i > 4 && !stats;
        if (!scaled && (t[i] == &a->scaled || t[i] == &a->scale)) continue;
        TN_TRY(tn_tensor_new(t[i], c->dev, i < 5 ? from->act : TN_F32, vector ? 1 : rows, stats ? 2 : cols, "tuning", err));
        TN_TRY(tn_tensor_random(c->dev, t[i], err));
    }
    return 0;
}

static void layernorm_release(void *copy, tn_ctx *c)
{
    tn_layernorm_args *a = copy;
    tn_tensor *const t[] = {&a->x, &a->y, &a->dy, &a->dx, &a->scaled, &a->gamma, &a->beta, &a->scale, &a->stats};
    for (size_t i = TN_COUNT(t); i-- > 0;) tn_tensor_free(c->dev, t[i]);
}

static const tn_variant forward_rows[] = {
    {.name = "cpu",
     .needs = TN_CAP_VECTORS,
     .can = layernorm_whole_vectors,
     .run = layernorm_forward_cpu,
     .tunables = cpu_tunables},
    {.name = "gpu", .can = layernorm_in_registers, .run = layernorm_forward_gpu, .tunables = gpu_tunables, .not_on_cpus = true},
    {.name = "portable", .run = layernorm_forward_portable, .not_on_cpus = true},
};
static const tn_variant backward_rows[] = {
    {.name = "cpu",
     .needs = TN_CAP_VECTORS,
     .can = layernorm_whole_vectors,
     .run = layernorm_backward_cpu,
     .tunables = cpu_tunables},
    {.name = "gpu", .can = layernorm_in_registers, .run = layernorm_backward_gpu, .tunables = gpu_tunables, .not_on_cpus = true},
    {.name = "portable", .run = layernorm_backward_portable, .not_on_cpus = true},
};

/* NOLINTBEGIN(bugprone-macro-parentheses): an initialiser takes no parentheses */
#define LAYERNORM(op, table)                                                                                                       \
    {                                                                                                                              \
        .name = op, .rows = table, .n = TN_COUNT(table), .key = layernorm_key, .kind = layernorm_kind, .make = layernorm_make,     \
        .release = layernorm_release, .args_size = sizeof(tn_layernorm_args), .work = layernorm_work, .shrink = layernorm_shrink   \
    }
/* NOLINTEND(bugprone-macro-parentheses) */
const tn_variant_op tn_layernorm_op = LAYERNORM("layernorm", forward_rows);
const tn_variant_op tn_layernorm_back_op = LAYERNORM("layernorm-back", backward_rows);

int tn_layernorm_forward(tn_ctx *c, const tn_tensor *x, const tn_tensor *gamma, const tn_tensor *beta, float eps, tn_tensor *y,
                         tn_tensor *stats, tn_error *err)
{
    tn_layernorm_args a = {.x = *x, .gamma = *gamma, .beta = *beta, .y = *y, .stats = *stats, .eps = eps};
    TN_TRY(tn_storage(&a.act, "layernorm", TN_LIST(x, y), TN_LIST(gamma, beta, stats), err));
    return tn_variant_run(c, &tn_layernorm_op, &a, err);
}

int tn_layernorm_backward(tn_ctx *c, const tn_layernorm_back *b, tn_tensor *dx, bool accumulate, tn_error *err)
{
    tn_layernorm_args a = {.x = *b->x, .gamma = *b->gamma, .stats = *b->stats, .dy = *b->dy, .dx = *dx, .accumulate = accumulate};
    if (b->scaled) a.scaled = *b->scaled, a.scale = *b->scale;
    TN_TRY(tn_storage(&a.act, "layernorm's backward", TN_LIST(b->x, b->dy, dx, &a.scaled), TN_LIST(b->gamma, b->stats, &a.scale),
                      err));
    return tn_variant_run(c, &tn_layernorm_back_op, &a, err);
}
