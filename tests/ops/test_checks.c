/* A row is used once a check passed that ran it: there must be one for whatever the row can run. */
#include "selftest.h"
#include "../testdev.h"
#include "../testlib.h"

static tn_dev *open_device(void)
{
    static tn_dev *d;
    tn_error e = {0};
    if (!d && test_device(&d, "cpu", &e)) ck_abort_msg("%s", e.message);
    return d;
}

/* Products of a layer as they are trained in bfloat16. */
static const struct {
    const char *what;
    tn_gemm_args g; /* without its tensors */
    bool bias, scale, pre, slope, residual;
    int head; /* turned heads of this width */
    int parts, rank;
    tn_dtype c;
} layer_products[] = {
    {"patches", {.tb = true, .M = 2324, .N = 384, .K = 768}, .bias = true, .c = TN_BF16},
    {"qkv", {.tb = true, .M = 1162, .N = 1152, .K = 384}, .bias = true, .parts = 3, .rank = 16, .head = 64, .c = TN_BF16},
    {"out",
     {.tb = true, .M = 9, .N = 384, .K = 384},
     .bias = true,
     .scale = true,
     .residual = true,
     .parts = 1,
     .rank = 8,
     .c = TN_BF16},
    {"up",
     {.tb = true, .M = 2324, .N = 1536, .K = 384, .e.has_act = true},
     .bias = true,
     .pre = true,
     .parts = 1,
     .rank = 16,
     .c = TN_BF16},
    {"to up's input", {.M = 2324, .N = 1536, .K = 384}, .slope = true, .parts = 1, .rank = 16, .c = TN_BF16},
    {"to qkv's input", {.M = 2324, .N = 384, .K = 1152, .e.mask.p = 0.1f}, .parts = 1, .rank = 48, .c = TN_BF16},
    {"an adapter's first half", {.tb = true, .M = 2324, .N = 48, .K = 384, .mask_a.p = 0.1f}, .c = TN_BF16},
    {"its gradient", {.ta = true, .M = 16, .N = 384, .K = 18592, .beta = 1, .mask_b.p = 0.1f}, .c = TN_F32},
    {"its gradient, few frames", {.ta = true, .M = 1536, .N = 16, .K = 581, .beta = 1}, .c = TN_F32},
    {"three at once", {.M = 2324, .N = 16, .K = 384, .batch = 3}, .c = TN_BF16},
    {"gradients of three at once", {.ta = true, .M = 384, .N = 16, .K = 18592, .beta = 1, .batch = 3}, .c = TN_F32},
    {"a bias's gradient", {.ta = true, .M = 1, .N = 384, .K = 18592, .beta = 1}, .c = TN_F32},
};

static tn_gemm_args layer_product(int i)
{
    static tn_buffer *const any; /* no check reads it */
    tn_gemm_args g = layer_products[i].g;
    tn_epilogue *e = &g.e;
    const int parts = layer_products[i].parts, r = layer_products[i].rank, M = g.M, N = g.N, K = g.K, batch = TN_MAX(g.batch, 1);
    const tn_tensor wide = tn_view(any, layer_products[i].c, M, N);
    g.alpha = 1;
    g.A = g.ta ? tn_cols(tn_view(any, TN_BF16, K, M * batch), 0, M) : tn_cols(tn_view(any, TN_BF16, M, K * batch), 0, K);
    g.B = g.tb   ? tn_view(any, TN_BF16, N, K)
          : g.ta ? tn_cols(tn_view(any, TN_BF16, K, N * batch), 0, N)
                 : tn_view(any, TN_BF16, K, N);
    if (batch > 1)
        g.a_step = (size_t)(g.ta ? M : K), g.b_step = (size_t)(g.ta ? 1 : K) * (size_t)N, g.c_step = (size_t)M * (size_t)N;
    g.C = wide;
    if (layer_products[i].bias) e->bias = (tn_buffer *)&any;
    if (layer_products[i].scale) e->scale = (tn_buffer *)&any;
    if (layer_products[i].pre) e->pre = wide;
    if (layer_products[i].slope) e->slope = wide;
    if (layer_products[i].residual) e->residual = wide;
    if (layer_products[i].head) e->turn = (tn_turn){tn_view(any, TN_F32, 576, layer_products[i].head), N / 192, 5, M / 581};
    if (!parts) return g;
    e->parts = parts, e->tb2 = g.tb, e->alpha2 = 1;
    e->A2 = tn_view(any, TN_BF16, M, parts * r);
    e->B2 = g.tb ? tn_view(any, TN_BF16, N, r) : tn_view(any, TN_BF16, r, N);
    return g;
}

/* How often a check of the row for `like` would run it. */
static int checks_of(const tn_gemm_args *like, int row)
{
    char kind[TN_KEY];
    tn_error err = {0};
    tn_gemm_kind(kind, sizeof kind, like);
    tn_forced forced = {.op = &tn_gemm_op, .row = row, .kind = kind};
    for (const tn_case *k = tn_cases_gemm; k->name; k++)
        for (int size = 0; size < 2; size++) {
            tn_ctx ctx;
            tn_ctx_bare(&ctx, open_device());
            ctx.forced = &forced;
            ctx.dry = true;
            tn_trial t = {.c = &ctx, .like = like, .rng = tn_rng_named(1, k->name), .size = size, .err = &err};
            ck_assert_msg(!k->run(&t), "%s: %s", k->name, err.message);
            tn_trial_rewind(&t, 0);
            tn_ctx_free(&ctx);
        }
    return forced.runs;
}

static const unsigned vendors[] = {TN_CAP_NV_PTX | TN_CAP_NV_MMA80 | TN_CAP_NV_WGMMA, TN_CAP_DPAS8, TN_CAP_DPAS16 | TN_CAP_BLOCK_2D,
                                   TN_CAP_MFMA90A, TN_CAP_WMMA11};

/* As if the device had the matrix units of a vendor, as far as their rows say what they can run: nothing is launched. */
START_TEST(a_check_takes_what_the_row_is_asked_for)
{
    tn_dev *d = open_device();
    const tn_gemm_args like = layer_product(_i % (int)TN_COUNT(layer_products));
    int rows = 0;
    tn_ctx ctx;
    tn_ctx_bare(&ctx, d);
    d->info.type = TN_DEVICE_GPU, d->caps = vendors[_i / (int)TN_COUNT(layer_products)];
    for (int row = 0; row < tn_gemm_op.n - 1; row++) {
        if (!tn_variant_can(&ctx, &tn_gemm_op.rows[row], &like)) continue;
        ck_assert_msg(checks_of(&like, row) > 0, "%s by %s: no case covers it",
                      layer_products[_i % (int)TN_COUNT(layer_products)].what, tn_gemm_op.rows[row].name);
        rows++;
    }
    const bool thin = like.ta || like.batch > 1 || like.mask_a.p > 0; /* rows of their own, which only NVIDIA's units have */
    ck_assert(rows > 0 || (thin && !(d->caps & TN_CAP_NV_PTX)));
}
END_TEST

int main(void)
{
    return run_tests("checks", 300,
                     TESTS(TIMES(a_check_takes_what_the_row_is_asked_for, TN_COUNT(layer_products) * TN_COUNT(vendors))));
}
