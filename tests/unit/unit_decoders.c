/* Decoders: what of a configuration they refuse, and what they begin with. */
#include "initial.h"
#include "jsonio.h"
#include "model.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

/* A deformable encoder over the smallest ViT, whose map is resized to four scales. */
static int deformable_over_tiny(tn_model **m, const tn_deformable *d, tn_error *err)
{
    json_t *config;
    tn_backbone body;
    ck_assert_msg(!tn_json_read(&config, SOURCE_DIR "/configs/backbone/tiny/config.json", err), "%s", err->message);
    ck_assert_msg(!tn_backbone_configure(&body, config, "config.json", err), "%s", err->message);
    json_decref(config);
    const tn_decoder dec = {.kind = tn_decoder_find("deformable_fpn"), .deformable = *d};
    const tn_model_spec spec = {.backbone = &body, .dec = &dec, .image_h = 64, .image_w = 96, .heat_h = 16, .heat_w = 24};
    return tn_model_new(m, &spec, NULL, err);
}

static const struct {
    tn_deformable d;
    const char *says[3];
} refused[] = {
    {{.d_model = 20, .heads = 3, .points = 2}, {"d_model is 20", "no multiple of nhead", "24"}},
    {{.d_model = 18, .heads = 3, .points = 2}, {"d_model is 18", "no multiple of 4", "24"}},
    {{.d_model = 1024, .heads = 2, .points = 2}, {"nhead is 2", "512 wide", "at least 4"}},
    {{.d_model = 16, .heads = 2, .points = 2, .levels = 3}, {"num_feature_levels is 3", "hands out 4", "leave the key out"}},
    {{.d_model = 16, .heads = 2, .points = 65}, {"n_points is 65", "4 maps", "at most 64"}},
    {{.d_model = 16, .heads = 2, .points = 2, .in_channels = {8, 16}, .n_in = 2}, {"in_channels is [8, 16]", "maps have", "leave"}},
};

START_TEST(a_deformable_encoder_that_does_not_fit_is_refused)
{
    tn_error e = {0};
    tn_model *m;
    tn_deformable d = refused[_i].d;
    d.lateral = 8, d.layers = 1;
    ck_assert_int_eq(deformable_over_tiny(&m, &d, &e), TN_ERR_CONFIG);
    ck_assert_ptr_null(m);
    ck_assert_msg(strstr(e.message, "model.deformable_encoder.") == e.message, "%s", e.message);
    for (int i = 0; i < 3; i++)
        ck_assert_msg(strstr(e.message, refused[_i].says[i]) != NULL, "'%s' lacks '%s'", e.message, refused[_i].says[i]);
}
END_TEST

/* As Deformable DETR: no query differs from another, and heads look right, down, left and up, a pixel farther with each point. */
START_TEST(deformable_samples_start_in_directions)
{
    static const float right_down[2][2] = {{1, 0}, {0, 1}};
    tn_error e = {0};
    tn_model *m;
    ck_assert_msg(
        !deformable_over_tiny(&m, &(tn_deformable){.d_model = 16, .heads = 4, .points = 3, .layers = 1, .lateral = 8}, &e), "%s",
        e.message);
    const int bias = tn_model_slot(m, "decoder.encoder.layers.0.self_attn.sampling_offsets.bias"), each = 4 * 3 * 2;
    float v[4 * 4 * 3 * 2];
    ck_assert_int_eq(m->slots[bias].cols, 4 * each);
    ck_assert_int_eq(tn_initial(v, &m->slots[bias], 1, &e), 0);
    for (int i = 0; i < 4 * each; i++) {
        const int head = i / each, point = i / 2 % 3;
        const float want = right_down[head % 2][i % 2] * (head < 2 ? 1.0f : -1.0f) * (float)(point + 1);
        ck_assert_double_eq_tol(v[i], want, 1e-6);
    }
    const int weight = tn_model_slot(m, "decoder.encoder.layers.0.self_attn.attention_weights.weight");
    float zero[4 * 4 * 3 * 16];
    ck_assert_int_eq(tn_initial(zero, &m->slots[weight], 1, &e), 0);
    for (int i = 0; i < 4 * 4 * 3 * 16; i++) ck_assert(zero[i] == 0);
    tn_model_free(m);
}
END_TEST

void unit_decoders(Suite *s)
{
    add_tests(s, "decoders", 60,
              TESTS(TIMES(a_deformable_encoder_that_does_not_fit_is_refused, TN_COUNT(refused)),
                    ONCE(deformable_samples_start_in_directions)));
}
