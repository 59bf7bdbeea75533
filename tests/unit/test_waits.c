/* What a pass launches for gradients that wait for others, as it would be on a device that computes them at once: a dry walk, its
 * launches counted. */
#include "jsonio.h"
#include "session.h"
#include "../testlib.h"

#include <string.h>

static int both, sums, held; /* launches of both products of a gradient, of their sums, and of others while one waits */

int __real_tn_op_run(tn_ctx *c, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
                     const tn_range *range, tn_error *err);
int __wrap_tn_op_run(tn_ctx *c, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
                     const tn_range *range, tn_error *err);

int __wrap_tn_op_run(tn_ctx *c, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
                     const tn_range *range, tn_error *err)
{
    both += !strcmp(entry, "thin_both");
    sums += !strcmp(entry, "thin_both_sum");
    held += c->ws_held > 0;
    ck_assert_uint_ge(c->ws_used, c->ws_held);
    return __real_tn_op_run(c, file, entry, options, args, n_args, range, err);
}

static void must(int rc, const tn_error *e)
{
    ck_assert_msg(!rc, "%s", e->message);
}

/* The smallest ViT with adapters on all linear layers. */
static tn_model *adapted(void)
{
    tn_error e = {0};
    tn_backbone body;
    tn_model *m;
    json_t *config;
    const tn_decoder dec = {.kind = tn_decoder_find("upsampling"),
                            .upsampling = {.channels = {128, 8}, .n_channels = 2, .upsample = {2}, .n_upsample = 1, .blocks = 1}};
    const tn_lora lora = {.enabled = true, .r = 8, .alpha = 16, .dropout = 0.1f, .bias = "none"};
    must(tn_json_read(&config, SOURCE_DIR "/configs/backbone/tiny/config.json", &e), &e);
    must(tn_backbone_configure(&body, config, "config.json", &e), &e);
    json_decref(config);
    const tn_model_spec spec = {
        .backbone = &body, .dec = &dec, .lora = &lora, .image_h = 64, .image_w = 96, .heat_h = 16, .heat_w = 24};
    must(tn_model_new(&m, &spec, NULL, &e), &e);
    return m;
}

/* Of 4 layers: up's sums wait for those of q, k and v, but in the first layer for those of o, which no norm's gradient makes there,
 * so that those of q, k and v end with the layer. */
START_TEST(sums_of_a_layer_are_one_launch)
{
    const tn_dev_options o = {.cache = "off"};
    tn_error e = {0};
    tn_dev *d;
    tn_store *store;
    tn_exec *x;
    int index;
    must(tn_device_select(&index, "cpu", &e), &e);
    must(tn_dev_open(&d, index, &o, &e), &e);
    d->caps |= TN_CAP_NV_MMA80 | TN_CAP_NV_WGMMA;
    tn_model *m = adapted();
    const tn_pass pass = {.batch = 2,
                          .act = TN_BF16,
                          .groups = TN_GROUP_HEAD | TN_GROUP_LORA,
                          .training = true,
                          .loss = true,
                          .heat = true,
                          .recompute = _i ? TN_RECOMPUTE_ALL : TN_RECOMPUTE_NONE};
    must(tn_store_new(&store, d, m, NULL, TN_BF16, true, true, &e), &e);
    both = sums = held = 0;
    must(tn_exec_new(&x, d, m, store, &pass, NULL, &e), &e);
    ck_assert_int_eq(both, 9);
    ck_assert_int_eq(sums, 5);
    ck_assert_int_gt(held, 4 * 3);
    tn_exec_free(NULL, x);
    tn_store_free(store);
    tn_model_free(m);
    tn_dev_close(d);
}
END_TEST

int main(void)
{
    return run_tests("waits", 60, TESTS(TIMES(sums_of_a_layer_are_one_launch, 2)));
}
