/* Configurations: shipped, overridden, wrong. */
#include "files.h"
#include "settings.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

static int load(tn_config **c, const char *const *keys, int n, tn_error *e)
{
    tn_config_source s = {
        .version = TN_CONFIG_SOURCE_VERSION, .config_dir = SOURCE_DIR "/configs", .overrides = keys, .n_overrides = n};
    return tn_config_load(c, &s, e);
}

START_TEST(every_shipped_configuration_loads_and_dumps_to_itself)
{
    static const char *const models[] = {"vit_heatmap",      "vit_lora_heatmap",     "vit_qlora_heatmap",     "vit_demo",
                                         "vit_qlora_random", "convnext_fpn_heatmap", "convnext_hrnet_heatmap"};
    static const char *const trainings[] = {"default", "qlora", "demo", "overfit"};
    for (size_t i = 0; i < TN_COUNT(models) * TN_COUNT(trainings); i++) {
        tn_config *c, *d;
        tn_error e = {0};
        char *one, *two, *p = temp_path("merged.yaml");
        tn_config_source s = {.version = TN_CONFIG_SOURCE_VERSION,
                              .config_dir = SOURCE_DIR "/configs",
                              .model = models[i % TN_COUNT(models)],
                              .training = trainings[i / TN_COUNT(models)]};
        ck_assert_msg(!tn_config_load(&c, &s, &e), "%s", e.message);
        ck_assert_int_eq(tn_config_dump(c, &one, &e), 0);
        ck_assert_int_eq(tn_write_file(p, one, strlen(one), &e), 0);
        tn_config_source again = {.version = TN_CONFIG_SOURCE_VERSION, .merged = p};
        ck_assert_msg(!tn_config_load(&d, &again, &e), "%s", e.message);
        ck_assert_int_eq(tn_config_dump(d, &two, &e), 0);
        ck_assert_str_eq(one, two);
        free(one), free(two), free(p);
        tn_config_free(c), tn_config_free(d);
    }
}
END_TEST

START_TEST(overrides_and_types_are_honoured)
{
    const char *keys[] = {"training.optimizer.lr=1e-4", "model.lora.r=8", "data.split.train_games=[a,b]",
                          "model.lora.target_modules=null", "training.lora.lora_alpha=9"};
    tn_config *c;
    tn_error e = {0};
    ck_assert_msg(!load(&c, keys, 5, &e), "%s", e.message);
    const tn_settings *s = tn_config_settings(c);
    ck_assert_double_eq_tol(s->training.lr, 1e-4, 1e-15);
    ck_assert_int_eq(s->model.lora.r, 8);
    ck_assert_int_eq(s->data.train_games.n, 2);
    ck_assert_str_eq(s->data.train_games.v[1], "b");
    ck_assert_double_eq(s->model.lora.alpha, 9); /* the older place of the key */
    tn_config_free(c);
}
END_TEST

static const struct {
    const char *key, *says;
} wrong_keys[] = {
    {"training.optimizer.lrr=1", "did you mean 'training.optimizer.lr'"},
    {"training.batch_size=many", "training.batch_size must be a whole number"},
    {"training.batch_size=0", "from 1"},
    {"training.batch_size=1.5", "whole number"},
    {"data.preprocess.flip_prob=2", "from 0 to 1"},
    {"data.preprocess.normalize=1", "true or false"},
    {"model.decoder.norm=ln", "gn|bn"},
    {"model.heatmap.size=[1]", "[width, height]"},
    {"model.model_name=something", "vit_heatmap|convnext_fpn_heatmap"},
    {"model.quantization.quant_type=q5", "nf4|fp4"},
    {"model.quantization.block_size=48", "power of two"},
    {"model.fpn.in_channels=[96,0]", "from 1 to 65536"},
    {"model.fpn.fuse=max", "sum|concat"},
    {"model.hrnet.widths=64", "a list"},
    {"model.hrnet.widths=null", "model.hrnet.widths must be given"},
    {"nonsense", "KEY=VALUE"},
    {"training={", "not valid YAML"},
};

START_TEST(wrong_keys_get_one_sentence)
{
    tn_config *c = NULL;
    tn_error e = {0};
    ck_assert_int_ne(load(&c, &wrong_keys[_i].key, 1, &e), 0);
    ck_assert_msg(strstr(e.message, wrong_keys[_i].says), "%s", e.message);
}
END_TEST

/* What several keys say together can be said key by key, and what they do not allow leaves them as they were. */
START_TEST(windows_are_set_key_by_key)
{
    tn_config *c;
    tn_error e = {0};
    bool on;
    ck_assert_msg(!load(&c, NULL, 0, &e), "%s", e.message);
    ck_assert_int_eq(tn_config_set_str(c, "model.frames", "concat", &e), TN_ERR_CONFIG);
    ck_assert_str_eq(e.message, "model.frames is concat, but there are no windows of frames: set data.sequence.enabled=true and "
                                "data.sequence.length");
    ck_assert_int_eq(tn_config_set_str(c, "model.heatmaps", "all", &e), TN_ERR_CONFIG);
    ck_assert_msg(!tn_config_set_bool(c, "data.sequence.enabled", true, &e), "%s", e.message);
    ck_assert_msg(!tn_config_set_int(c, "data.sequence.length", 5, &e), "%s", e.message);
    ck_assert_msg(!tn_config_set_str(c, "model.frames", "concat", &e), "%s", e.message);
    ck_assert_msg(!tn_config_set_str(c, "model.heatmaps", "all", &e), "%s", e.message);
    ck_assert_int_eq(tn_config_set_int(c, "data.sequence.length", 1, &e), TN_ERR_CONFIG);
    ck_assert(!tn_config_get_bool(c, "data.sequence.enabled", &on, &e) && on);
    ck_assert_int_eq(tn_config_settings(c)->data.sequence_length, 5);
    tn_config_free(c);
}
END_TEST

START_TEST(a_wrong_key_in_a_file_is_placed)
{
    tn_config *c;
    tn_error e = {0};
    char *p = temp_path("bad.yaml");
    const char *text = "optimizer:\n  name: adamw\n  lrate: 3\n";
    tn_write_file(p, text, strlen(text), NULL);
    tn_config_source s = {.version = TN_CONFIG_SOURCE_VERSION, .config_dir = SOURCE_DIR "/configs", .training = p};
    ck_assert_int_ne(tn_config_load(&c, &s, &e), 0);
    char *want = tn_strf("%s:3:3: unknown key 'training.optimizer.lrate'", p);
    ck_assert_msg(strstr(e.message, want), "%s", e.message);
    free(want);
    free(p);
}
END_TEST

void unit_config(Suite *s)
{
    add_tests(s, "config", 120,
              TESTS(ONCE(every_shipped_configuration_loads_and_dumps_to_itself), ONCE(overrides_and_types_are_honoured),
                    TIMES(wrong_keys_get_one_sentence, TN_COUNT(wrong_keys)), ONCE(a_wrong_key_in_a_file_is_placed),
                    ONCE(windows_are_set_key_by_key)));
}
