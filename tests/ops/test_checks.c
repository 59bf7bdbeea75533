/* A row is used once a check passed that ran it: there must be one for whatever the row can run. */
#include "layer_products.h"
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
