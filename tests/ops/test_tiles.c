/* The rows for AMX tiles against src/ref on a processor without them: emulate_tiles.c carries the instructions out. Where the
 * OpenCL device of the CPU makes no code for AVX-512, or the processor does not round to bfloat16, there is nothing to test (77).
 */
#include "gemm_rows.h"
#include "layer_products.h"
#include "selftest.h"
#include "verdict.h"
#include "../testdev.h"
#include "../testlib.h"

#include <string.h>

enum { SKIPPED = 77, SIZES = 3 };

static const tn_variant_op *const ops[] = {&tn_gemm_op, &tn_attention_op, &tn_attention_back_op, &tn_conv_op, &tn_conv_grad_op};

static tn_dev *open_device(void)
{
    static tn_dev *d;
    tn_error err = {0};
    if (!d) ck_assert_msg(!test_device(&d, "cpu", &err), "%s", err.message);
    return d;
}

/* Every case of the operation by a row, in its storage. */
static int run_all(const tn_variant_op *op, const char *row, tn_dtype act, int size)
{
    int runs = 0;
    for (int t = 0; tn_case_tables[t]; t++)
        for (const tn_case *k = tn_case_tables[t]; k->name; k++) {
            const tn_case_spec s = {.act = act, .size = size, .op = op, .row = tn_variant_find(op, row)};
            tn_case_result r;
            tn_error err = {0};
            if (!tn_case_of(k, op)) continue;
            ck_assert_msg(!tn_case_run(k, open_device(), &s, &r, &err), "%s: %s", k->name, err.message);
            ck_assert_msg(r.worst <= 1, "%s of %s, size %d: off by %.3g, one element by %.3g", k->name, op->name, size, r.error,
                          r.element);
            runs += r.runs;
        }
    return runs;
}

START_TEST(tiles_agree_with_the_reference)
{
    ck_assert_int_gt(run_all(ops[_i / SIZES], "amx", TN_BF16, _i % SIZES), 0);
}
END_TEST

START_TEST(parts_of_floats_agree)
{
    ck_assert_int_gt(run_all(&tn_gemm_op, "amx-parts", TN_F32, _i), 0);
}
END_TEST

/* Checks as a run asks for them. */
START_TEST(products_of_a_layer_agree)
{
    const tn_gemm_args like = layer_product(_i);
    const int row = tn_variant_find(&tn_gemm_op, "amx");
    char kind[TN_KEY];
    tn_verdict v;
    tn_error err = {0};
    if (!tn_gemm_amx_can(NULL, &like)) return;
    tn_gemm_kind(kind, sizeof kind, &like);
    ck_assert_msg(!tn_check_row(&v, open_device(), &tn_gemm_op, row, kind, &like, &err), "%s: %s", layer_products[_i].what,
                  err.message);
    ck_assert_msg(v.good, "%s: %s", layer_products[_i].what, v.why);
}
END_TEST

START_TEST(slices_agree_too)
{
    open_device()->slice_groups = 3;
    ck_assert_int_gt(run_all(ops[_i], "amx", TN_BF16, 1), 0);
}
END_TEST

int main(void)
{
    tn_device_info **v;
    tn_error err = {0};
    int n, index;
    bool tiles = false;
    if (tn_device_select(&index, "cpu", &err) || tn_device_list(&v, &n, &err)) return SKIPPED;
    tiles = strstr(v[index]->capabilities, "amx-bf16") != NULL;
    tn_device_list_free(v);
    if (!tiles) return SKIPPED;
    setenv("CK_FORK", "no", 1); /* the driver's threads, which are there now, do not come along */
    return run_tests("tiles", 300,
                     TESTS(TIMES(tiles_agree_with_the_reference, TN_COUNT(ops) * SIZES), TIMES(parts_of_floats_agree, SIZES),
                           TIMES(products_of_a_layer_agree, TN_COUNT(layer_products)), TIMES(slices_agree_too, TN_COUNT(ops))));
}
