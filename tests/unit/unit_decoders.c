/* Decoders: what of a configuration they refuse, and what they begin with. */
#include "initial.h"
#include "jsonio.h"
#include "model.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

static void read_tiny(tn_backbone *body, tn_error *err)
{
    json_t *config;
    ck_assert_msg(!tn_json_read(&config, SOURCE_DIR "/configs/backbone/tiny/config.json", err), "%s", err->message);
    ck_assert_msg(!tn_backbone_configure(body, config, "config.json", err), "%s", err->message);
    json_decref(config);
}

/* A decoder over the smallest ViT, of whose map a decoder of several scales takes four. */
static int decoder_over_tiny(tn_model **m, const tn_decoder *dec, tn_error *err)
{
    tn_backbone body;
    read_tiny(&body, err);
    const tn_model_spec spec = {.backbone = &body, .dec = dec, .image_h = 64, .image_w = 96, .heat_h = 16, .heat_w = 24};
    return tn_model_new(m, &spec, NULL, err);
}

static int deformable_over_tiny(tn_model **m, const tn_deformable *d, tn_error *err)
{
    const tn_decoder dec = {.kind = tn_decoder_find("deformable_fpn"), .deformable = *d};
    return decoder_over_tiny(m, &dec, err);
}

static const struct {
    tn_deformable d;
    const char *says[3];
} refused[] = {
    {{.d_model = 20, .heads = 3, .points = 2}, {"d_model is 20", "no multiple of nhead", "24"}},
    {{.d_model = 18, .heads = 3, .points = 2}, {"d_model is 18", "no multiple of 4", "24"}},
    {{.d_model = 1024, .heads = 2, .points = 2}, {"nhead is 2", "512 wide", "at least 4"}},
    {{.d_model = 16, .heads = 2, .points = 2, .levels = 3},
     {"num_feature_levels is 3", "hands out 4", "set it to 4, or leave the key out"}},
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

START_TEST(an_epsilon_that_is_none_is_refused)
{
    static const char *const eps[] = {"-1e-6", "\"a\"", "[1]"};
    static const char *const types[] = {"dinov3_vit", "dinov3_convnext"};
    tn_error e = {0};
    tn_backbone body;
    char text[200];
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        snprintf(text, sizeof text,
                 "{\"model_type\": \"%s\", \"hidden_size\": 8, \"num_hidden_layers\": 1, \"num_attention_heads\": 1, "
                 "\"layer_norm_eps\": %s}",
                 types[i], eps[_i]);
        json_t *config = json_loads(text, 0, NULL);
        ck_assert_int_eq(tn_backbone_configure(&body, config, "config.json", &e), TN_ERR_FORMAT);
        ck_assert_msg(strstr(e.message, "layer_norm_eps must be a number of at least 0") != NULL, "%s", e.message);
        json_decref(config);
    }
}
END_TEST

static const struct {
    int states[9], n;
    bool good;
} returned[] = {
    {{0, 2, 4}, 3, true}, {{2}, 1, true},     {{5}, 1, false}, {{-1, 1}, 2, false},
    {{2, 1}, 2, false},   {{2, 2}, 2, false}, {{0}, 1, false}, {{0, 1, 2, 3, 4, 5, 6, 7, 8}, 9, false},
};

START_TEST(only_hidden_states_that_are_there_are_handed_out)
{
    tn_error e = {0};
    tn_backbone body;
    read_tiny(&body, &e);
    const int n = returned[_i].n, rc = tn_backbone_return(&body, returned[_i].states, n, &e);
    ck_assert_int_eq(rc, returned[_i].good ? 0 : TN_ERR_CONFIG);
    if (rc) ck_assert_msg(strstr(e.message, "hidden states 0 to 4; give at most 8") != NULL, "%s", e.message);
    else ck_assert_int_eq(body.returned[body.n_returned - 1], returned[_i].states[n - 1]);
}
END_TEST

/* Decoders whose last convolution nothing but the head comes after. */
static const struct {
    tn_decoder dec;
    const char *convolution; /* the first of them */
    int maps;
} last_left[] = {
    {{.fpn = {.lateral = 8}}, "decoder.fpn.layer_blocks.0.0.weight", 4},
    {{.fpn = {.lateral = 8, .concat = true}}, "decoder.fpn.layer_blocks.0.0.weight", 4},
    {{.hrnet = {.widths = {4, 4, 4, 4}, .n_widths = 4, .units = 1, .out = 8}}, "decoder.head.weight", 1},
    {{.deformable = {.d_model = 16, .heads = 2, .points = 2, .layers = 1, .lateral = 8}}, "decoder.fpn.layer_blocks.0.0.weight", 4},
    {{.upsampling = {.channels = {128, 8}, .n_channels = 2, .upsample = {2}, .n_upsample = 1, .blocks = 1, .depthwise = true}},
     "decoder.stages.0.blocks.0.pw.weight",
     1},
};
static const char *const last_kinds[] = {"fpn", "fpn", "hrnet", "deformable_fpn", "upsampling"};

/* How often a graph has an operation that reads the slot. */
static int readers(const tn_graph *g, tn_opcode op, int slot)
{
    int n = 0;
    for (int i = 0; i < g->n_n; i++) n += g->n[i].op == op && g->n[i].w[0] == slot;
    return n;
}

/* As many channels as there are heatmaps, and never all of the convolution's; every row of them is trained. */
START_TEST(the_last_convolution_makes_heatmaps_alone)
{
    const int heats = _i % 2 ? 3 : 1, kind = _i / 2;
    tn_error e = {0};
    tn_model *m;
    tn_graph g;
    tn_backbone body;
    tn_decoder dec = last_left[kind].dec;
    dec.kind = tn_decoder_find(last_kinds[kind]);
    read_tiny(&body, &e);
    const tn_model_spec spec = {
        .backbone = &body, .dec = &dec, .image_h = 64, .image_w = 96, .heat_h = 16, .heat_w = 24, .heats = heats};
    ck_assert_msg(!tn_model_new(&m, &spec, NULL, &e), "%s", e.message);
    const tn_pass pass = {.batch = 2, .act = TN_F32, .groups = TN_GROUP_HEAD, .training = true, .loss = true, .heat = true};
    ck_assert_msg(!tn_model_graph(&g, m, &pass, &e), "%s", e.message);
    ck_assert_int_eq(g.t[g.heat].cols, heats);
    const int slot = tn_model_slot(m, last_left[kind].convolution);
    ck_assert_int_ge(slot, 0);
    ck_assert_int_eq(readers(&g, TN_OP_CONV, slot), 0);
    ck_assert_int_eq(readers(&g, TN_OP_AFFINE_ROWS, slot), 1);
    ck_assert_int_eq(readers(&g, TN_OP_AFFINE_ROWS_BACK, slot), 1);
    int few = 0;
    for (int i = 0; i < g.n_n; i++) {
        if (g.n[i].op != TN_OP_CONV_FEW && g.n[i].op != TN_OP_NORM2D_FEW) continue;
        few++;
        ck_assert_int_eq(g.t[g.n[i].out[0]].cols, heats);
        ck_assert_int_eq(g.t[g.n[i].in[1]].rows, heats);
    }
    ck_assert_int_eq(few, last_left[kind].maps);
    tn_graph_free(&g);
    tn_model_free(m);
}
END_TEST

/* Over 6 x 4 positions: factors whose product would overflow, and the least that make too large a map; then the most that do not.
 */
START_TEST(upsampling_far_beyond_the_image_is_refused)
{
    static const struct {
        int stages, factor;
        bool good;
    } tried[] = {{15, 16, false}, {6, 2, false}, {5, 2, true}};
    tn_error e = {0};
    tn_model *m;
    tn_decoder dec = {.kind = tn_decoder_find("upsampling")};
    tn_upsampling *d = &dec.upsampling;
    d->channels[0] = 128, d->n_channels = tried[_i].stages + 1, d->n_upsample = tried[_i].stages, d->blocks = 1;
    for (int i = 0; i < tried[_i].stages; i++) d->channels[i + 1] = 4, d->upsample[i] = tried[_i].factor;
    ck_assert_int_eq(decoder_over_tiny(&m, &dec, &e), tried[_i].good ? 0 : TN_ERR_CONFIG);
    if (!tried[_i].good) ck_assert_msg(strstr(e.message, "model.decoder.upsample makes a map of ") == e.message, "%s", e.message);
    tn_model_free(m);
}
END_TEST

void unit_decoders(Suite *s)
{
    add_tests(s, "decoders", 60,
              TESTS(TIMES(a_deformable_encoder_that_does_not_fit_is_refused, TN_COUNT(refused)),
                    TIMES(an_epsilon_that_is_none_is_refused, 3),
                    TIMES(only_hidden_states_that_are_there_are_handed_out, TN_COUNT(returned)),
                    TIMES(upsampling_far_beyond_the_image_is_refused, 3),
                    TIMES(the_last_convolution_makes_heatmaps_alone, 2 * (int)TN_COUNT(last_left)),
                    ONCE(deformable_samples_start_in_directions)));
}
