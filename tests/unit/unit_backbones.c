/* Backbones of several maps: what they hand out, what is no part of a model that ends early, what random weights begin with, and
 * how their tensors are called. */
#include "initial.h"
#include "jsonio.h"
#include "model.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

/* A model of a config.json, over images of 106 x 70. */
static tn_model *of(const char *text, const int *states, int n)
{
    tn_error e = {0};
    json_t *config;
    tn_backbone body;
    tn_model *m;
    ck_assert_msg(!tn_json_parse(&config, text, strlen(text), "config.json", &e), "%s", e.message);
    ck_assert_msg(!tn_backbone_configure(&body, config, "config.json", &e), "%s", e.message);
    ck_assert_msg(!tn_backbone_return(&body, states, n, &e), "%s", e.message);
    json_decref(config);
    const tn_model_spec spec = {.backbone = &body, .image_h = 70, .image_w = 106, .train_backbone = true};
    ck_assert_msg(!tn_model_new(&m, &spec, NULL, &e), "%s", e.message);
    return m;
}

static const char convnext[] = "{\"model_type\": \"convnext\", \"hidden_sizes\": [8, 12, 16], \"depths\": [1, 2, 1], "
                               "\"layer_scale_init_value\": 0.25}";
static const char convnextv2[] = "{\"model_type\": \"convnextv2\", \"hidden_sizes\": [8, 12], \"depths\": [1, 1]}";

static tn_feature_list features_of(const tn_model *m)
{
    tn_feature_list f;
    m->backbone.family->architecture->features(m, &f);
    return f;
}

START_TEST(stages_are_handed_out_rounded_down)
{
    static const int sizes[][4] = {{17, 26, 8, 4}, {8, 13, 12, 8}, {4, 6, 16, 16}}; /* h, w, channels, stride */
    tn_model *m = of(convnext, NULL, 0);
    const tn_feature_list f = features_of(m);
    ck_assert_int_eq(f.n, 3);
    for (int i = 0; i < f.n; i++) {
        const int have[] = {f.f[i].h, f.f[i].w, f.f[i].channels, f.f[i].stride};
        for (int k = 0; k < 4; k++) ck_assert_int_eq(have[k], sizes[i][k]);
    }
    const int norm = tn_model_slot(m, "layernorm.weight");
    ck_assert_int_ge(norm, 0);
    ck_assert(!m->slots[norm].trainable);
    tn_model_free(m);
}
END_TEST

START_TEST(what_lies_behind_the_last_state_is_no_part)
{
    tn_model *m = of(convnext, (const int[]){0, 2}, 2);
    const tn_feature_list f = features_of(m);
    ck_assert_int_eq(f.n, 2);
    ck_assert_int_eq(f.f[0].channels, 8);
    ck_assert_int_eq(f.f[1].channels, 12);
    ck_assert_int_eq(m->backbone.layers, 3);
    ck_assert_int_ge(tn_model_slot(m, "encoder.stages.1.layers.1.pwconv2.weight"), 0);
    ck_assert_int_eq(tn_model_slot(m, "encoder.stages.2.layers.0.pwconv1.weight"), -1);
    ck_assert_int_eq(tn_model_slot(m, "layernorm.weight"), -1);
    tn_model_free(m);
}
END_TEST

static float first_value(const tn_model *m, const char *name)
{
    tn_error e = {0};
    const int i = tn_model_slot(m, name);
    ck_assert_msg(i >= 0, "no %s", name);
    float *v = malloc((size_t)m->slots[i].rows * (size_t)m->slots[i].cols * sizeof *v);
    ck_assert_msg(!tn_initial(v, &m->slots[i], 3, &e), "%s", e.message);
    const float first = v[0];
    free(v);
    return first;
}

START_TEST(random_scales_begin_as_config_json_says)
{
    tn_model *m = of(convnext, NULL, 0);
    ck_assert_float_eq(first_value(m, "encoder.stages.1.layers.1.layer_scale_parameter"), 0.25f);
    ck_assert_float_ne(first_value(m, "encoder.stages.1.layers.1.dwconv.weight"), 0);
    tn_model_free(m);
    m = of(convnextv2, NULL, 0);
    ck_assert_float_eq(first_value(m, "encoder.stages.1.layers.0.grn.weight"), 0);
    ck_assert_float_eq(first_value(m, "encoder.stages.1.layers.0.layernorm.weight"), 1);
    tn_model_free(m);
}
END_TEST

START_TEST(modules_are_spelt_as_either_version_does)
{
    static const char *const names[][4] = {
        /* family, common, transformers 4's checkpoint, transformers 5 in memory */
        {"dinov3_convnext", "stages.2.layers.7.pointwise_conv1", "stages.2.layers.7.pointwise_conv1",
         "model.stages.2.layers.7.pointwise_conv1"},
        {"dinov3_convnext", "stages.1.downsample_layers.1.weight", "stages.1.downsample_layers.1.weight",
         "model.stages.1.downsample_layers.1.weight"},
        {"convnext", "stages.2.layers.7.pwconv1", "encoder.stages.2.layers.7.pwconv1", "encoder.stages.2.layers.7.pwconv1"},
        {"convnextv2", "stages.0.layers.1.grn.bias", "encoder.stages.0.layers.1.grn.bias", "encoder.stages.0.layers.1.grn.bias"},
        {"dinov3_vit", "layer.3.attention.q_proj", "layer.3.attention.q_proj", "model.layer.3.attention.q_proj"},
    };
    for (size_t i = 0; i < TN_COUNT(names); i++)
        for (int v5 = 0; v5 < 2; v5++) {
            char out[320];
            tn_spell_name(out, sizeof out, tn_family_find(names[i][0]), names[i][1], v5);
            ck_assert_str_eq(out, names[i][2 + v5]);
        }
}
END_TEST

void unit_backbones(Suite *s)
{
    add_tests(s, "backbones", 30,
              TESTS(ONCE(stages_are_handed_out_rounded_down), ONCE(what_lies_behind_the_last_state_is_no_part),
                    ONCE(random_scales_begin_as_config_json_says), ONCE(modules_are_spelt_as_either_version_does)));
}
