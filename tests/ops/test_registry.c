/* Which rows of an operation run: those that a check covers, those that are shipped for a device, those that are asked for by name;
 * and which tensors no operation takes. On the device TRACKNET_TEST_DEVICE names (default cpu). */
#include "tuning.h"
#include "tuning_db.h"
#include "../testdev.h"
#include "../testlib.h"

#include <string.h>

static tn_dev *open_device(void)
{
    static tn_dev *d;
    tn_error e = {0};
    const char *name = getenv("TRACKNET_TEST_DEVICE");
    if (!d) ck_assert_msg(!test_device(&d, name ? name : "cpu", &e), "%s", e.message);
    return d;
}

/* A row that computes nonsense, one that fails, and one that is right: what runs, and what is remembered. */
typedef struct {
    int which, size;
} toy_args;

static int toy_calls[3];

static int toy_fail(tn_ctx *ctx, const void *args, tn_error *err)
{
    (void)ctx, (void)args;
    toy_calls[0]++;
    return tn_fail(err, TN_ERR_DEVICE, "does not build here");
}

static int toy_run(tn_ctx *ctx, const void *args, tn_error *err)
{
    (void)ctx, (void)args, (void)err;
    toy_calls[2]++;
    return 0;
}

static void toy_key(char *out, size_t n, const void *args)
{
    snprintf(out, n, "%d", ((const toy_args *)args)->size);
}

static const tn_variant toy_rows[] = {{.name = "broken", .run = toy_fail},
                                      {.name = "of a vendor", .needs = TN_CAP_NV_WGMMA, .run = toy_run},
                                      {.name = "portable", .run = toy_run}};
static const tn_variant_op toy = {
    .name = "toy", .rows = toy_rows, .n = 3, .key = toy_key, .kind = toy_key, .args_size = sizeof(toy_args)};
static const tn_variant_op *const toys[] = {&toy, NULL};

/* No case covers the toy's first row, so that nothing may run it, even where it is asked for by name. */
START_TEST(unchecked_rows_do_not_run)
{
    tn_ctx ctx;
    tn_error err = {0};
    const toy_args args = {0, 3};
    setenv("TRACKNET_CACHE", "off", 1);
    tn_ctx_init(&ctx, open_device());
    const tn_registry with_toys = {toys, ctx.registry->check};
    ctx.registry = &with_toys;
    ck_assert_msg(!tn_variant_run(&ctx, &toy, &args, &err), "%s", err.message);
    ck_assert_int_eq(toy_calls[0], 0);
    ck_assert_int_eq(toy_calls[2], 1);
    open_device()->variants = "toy=broken";
    ck_assert(!tn_variant_run(&ctx, &toy, &args, &err));
    ck_assert_int_eq(toy_calls[0], 0);
    open_device()->variants = "toy=unheard";
    ck_assert_int_eq(tn_variant_run(&ctx, &toy, &args, &err), TN_ERR_ARGUMENT);
    open_device()->variants = NULL;
    ctx.registry = NULL; /* nothing can be checked */
    ck_assert(!tn_variant_run(&ctx, &toy, &args, &err));
    ck_assert_int_eq(toy_calls[0], 0);
}
END_TEST

/* What was measured elsewhere is taken once its row has passed here; another vendor's row, and a shape of which nothing is known,
 * are measured. */
START_TEST(shipped_choices_are_checked_and_not_measured)
{
    tn_ctx ctx;
    tn_error err = {0};
    tn_choice k;
    bool known;
    json_t *db;
    tn_wanted w = {.n = 0};
    const toy_args args[] = {{0, 3}, {0, 4}, {0, 5}};
    tn_ctx_init(&ctx, open_device());
    ck_assert(!tn_db(&db, ctx.dev, &err));
    json_object_set_new(db, "shipped",
                        json_pack("{s:{s:{s:s}, s:{s:s}}}", "toy", "3", "variant", "broken", "4", "variant", "of a vendor"));
    for (size_t i = 0; i < TN_COUNT(args); i++) ck_assert_msg(!tn_wanted_add(&w, &ctx, &toy, &args[i], &err), "%s", err.message);
    ck_assert_int_eq(w.n, 3);
    ck_assert_int_eq(w.v[0].row, 0);
    ck_assert_int_eq(w.v[1].row, -1);
    ck_assert_int_eq(w.v[2].row, -1);
    ck_assert(!tn_tuned(&known, &k, ctx.dev, &toy, &args[0], &err) && !known);
    ck_assert(!tn_db_put(db, (const char *const[4]){"checks", "toy", "3", "broken"}, json_pack("{s:b}", "good", 1), &err));
    ck_assert(!tn_tuned(&known, &k, ctx.dev, &toy, &args[0], &err) && known && k.row == 0);
    tn_wanted_free(&w);
    json_object_del(db, "shipped");
    json_object_del(json_object_get(db, "checks"), "toy");
    tn_ctx_free(&ctx);
}
END_TEST

/* A row that is asked for by name, or as the first, is checked and not measured; where it cannot run, the others are. */
START_TEST(what_is_asked_for_is_not_measured)
{
    static const struct {
        const char *list;
        int row;
    } asked[] = {{"toy=broken", 0}, {"of a vendor", -1}, {"gemm=native", -1}, {"first", 0}, {"gemm=first", -1}};
    tn_ctx ctx;
    tn_error err = {0};
    const toy_args args = {0, 3};
    tn_ctx_init(&ctx, open_device());
    for (size_t i = 0; i < TN_COUNT(asked); i++) {
        tn_wanted w = {.n = 0};
        ctx.dev->variants = (char *)asked[i].list;
        ck_assert_msg(!tn_wanted_add(&w, &ctx, &toy, &args, &err), "%s", err.message);
        ck_assert_int_eq(w.n, 1);
        ck_assert_int_eq(w.v[0].row, asked[i].row);
        tn_wanted_free(&w);
    }
    ctx.dev->variants = NULL;
    tn_ctx_free(&ctx);
}
END_TEST

START_TEST(variants_are_asked_for_by_name)
{
    tn_error err = {0};
    ck_assert_int_eq(tn_variant_forced("portable", &toy), 2);
    ck_assert_int_eq(tn_variant_forced("gemm=native,toy=broken", &toy), 0);
    ck_assert_int_eq(tn_variant_forced("portable, toy=broken", &toy), 0);
    ck_assert_int_eq(tn_variant_forced("gemm=native", &toy), -1);
    ck_assert_int_eq(tn_variant_forced(NULL, &toy), -1);
    ck_assert(!tn_variant_list_check("portable,attention=cpu,gemm=clblast", tn_variant_ops, &err));
    ck_assert(!tn_variant_list_check("first,gemm=clblast", tn_variant_ops, &err));
    ck_assert_int_eq(tn_variant_list_check("gemm=first", tn_variant_ops, &err), TN_ERR_ARGUMENT);
    ck_assert_int_eq(tn_variant_list_check("gemm=fastest", tn_variant_ops, &err), TN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "gemm=fastest"));
}
END_TEST

/* Tensors that a kernel would misread are refused, not computed with. */
START_TEST(tensors_are_checked)
{
    tn_ctx ctx;
    tn_error err = {0};
    tn_options o;
    tn_ctx_init(&ctx, open_device());
    ctx.dry = true;
    tn_tensor x = tn_view(NULL, TN_BF16, 4, 32), y = x, part = tn_cols(tn_view(NULL, TN_BF16, 4, 64), 0, 32), f = x;
    f.dtype = TN_F32;
    ck_assert(!tn_act_forward(&ctx, TN_GELU, &x, &y, &err));
    ck_assert_int_eq(tn_act_forward(&ctx, TN_GELU, &part, &y, &err), TN_ERR_ARGUMENT);
    ck_assert_int_eq(tn_act_forward(&ctx, TN_GELU, &x, &f, &err), TN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "bfloat16 and float32"));
    ck_assert_int_eq(tn_layernorm_forward(&ctx, &x, &x, &f, 1e-5f, &y, &f, &err), TN_ERR_ARGUMENT);
    tn_tensor huge = tn_view(NULL, TN_BF16, 1 << 20, (1 << 12) + 1);
    ck_assert_int_eq(tn_dropout(&ctx, &huge, &huge, (tn_mask){0.5f, 1}, false, false, &err), TN_ERR_ARGUMENT);
    ck_assert_int_eq(tn_options_set(&o, &err, "%300d", 1), TN_ERR_ARGUMENT);
    const tn_levels two = {2, {3, 1}, {2, 2}}; /* 8 cells */
    tn_tensor value = tn_view(NULL, TN_F32, 8, 32), samples = tn_view(NULL, TN_F32, 8, 3 * 4 * 2 * 2), to = value;
    tn_deform deform = {&value, &samples, &two, 4, 2};
    ck_assert_msg(!tn_deform_forward(&ctx, &deform, &to, &err), "%s", err.message);
    deform.points = 3;
    ck_assert_int_eq(tn_deform_forward(&ctx, &deform, &to, &err), TN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "samples [8, 48]"));
    deform.points = 200;
    ck_assert_int_eq(tn_deform_dvalue(&ctx, &deform, &to, &value, &err), TN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "more than 256"));
    tn_tensor embed = tn_view(NULL, TN_F32, 3, 32); /* a level too many */
    ck_assert_int_eq(tn_level_positions(&ctx, &two, &value, &embed, &to, &err), TN_ERR_ARGUMENT);
}
END_TEST

int main(void)
{
    return run_tests("registry", 300,
                     TESTS(ONCE(unchecked_rows_do_not_run), ONCE(shipped_choices_are_checked_and_not_measured),
                           ONCE(what_is_asked_for_is_not_measured), ONCE(variants_are_asked_for_by_name),
                           ONCE(tensors_are_checked)));
}
