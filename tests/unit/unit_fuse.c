/* What a real model's graph becomes when it is rewritten for devices. */
#include "jsonio.h"
#include "model.h"
#include "unit.h"

#include <string.h>

static void must(int rc, const tn_error *e)
{
    ck_assert_msg(!rc, "%s", e->message);
}

/* A pass that trains adapters of all the smallest ViT's layers and a decoder. */
static void emitted(tn_graph *g, tn_model **m, const tn_upsampling *upsampling, tn_recompute recompute)
{
    tn_error e = {0};
    tn_backbone body;
    json_t *config;
    const tn_decoder dec = {.kind = tn_decoder_find("upsampling"), .upsampling = *upsampling};
    const tn_lora lora = {.enabled = true, .r = 8, .alpha = 16, .dropout = 0.1f, .bias = "none"};
    must(tn_json_read(&config, SOURCE_DIR "/configs/backbone/tiny/config.json", &e), &e);
    must(tn_backbone_configure(&body, config, "config.json", &e), &e);
    json_decref(config);
    const tn_model_spec spec = {
        .backbone = &body, .dec = &dec, .lora = &lora, .image_h = 64, .image_w = 96, .heat_h = 16, .heat_w = 24};
    must(tn_model_new(m, &spec, NULL, &e), &e);
    const tn_pass pass = {.batch = 2,
                          .act = TN_BF16,
                          .groups = TN_GROUP_HEAD | TN_GROUP_LORA,
                          .training = true,
                          .loss = true,
                          .heat = true,
                          .recompute = recompute};
    must(tn_model_graph(g, *m, &pass, &e), &e);
}

/* Such a one, rewritten for two devices of which the second begins with the layer called `second`; NULL: one. */
static void adapted(tn_graph *g, tn_model **m, tn_recompute recompute, const char *second, int *stage_of)
{
    tn_error e = {0};
    emitted(g, m, &(tn_upsampling){.channels = {128, 8}, .n_channels = 2, .upsample = {2}, .n_upsample = 1, .blocks = 1},
            recompute);
    for (int i = 0, on = 0; second && i < g->n_layers; i++) stage_of[i] = on = on || !strcmp(g->layers[i].name, second);
    if (second) g->stage_of = stage_of;
    must(tn_graph_fuse(g, &e), &e);
    must(tn_graph_draw_bits(g, &e), &e);
    must(tn_graph_merge(g, true, &e), &e);
    must(tn_graph_fuse_merged(g, &e), &e);
}

/* Of 4 layers: t of q, k and v and that of up in the norms; dt of o and of down in the norms' gradients, but for o's in the first
 * layer, below which nobody wants the gradient, so that it is scaled in place, and for that of a layer whose gradient another
 * device makes. The rest stay nodes: t of o and down, dt of q, k and v and of up. */
START_TEST(adapters_products_go_into_the_norms)
{
    static const struct {
        tn_recompute recompute;
        const char *second;
        int dt;
    } ways[] = {{TN_RECOMPUTE_NONE, NULL, 7}, {TN_RECOMPUTE_ALL, NULL, 7}, {TN_RECOMPUTE_NONE, "layer.2", 6}};
    int stage_of[64], t = 0, dt = 0, apart = 0;
    tn_model *m;
    tn_graph g;
    adapted(&g, &m, ways[_i].recompute, ways[_i].second, stage_of);
    for (int i = 0; i < g.n_n; i++) {
        const tn_gnode *n = &g.n[i];
        apart += n->op == TN_OP_LINEAR_T || n->op == TN_OP_LINEAR_DT;
        t += n->op == TN_OP_LAYERNORM && n->out[2] >= 0;
        if (n->op != TN_OP_LAYERNORM_DX || n->out[2] < 0) continue;
        dt++;
        ck_assert_int_eq(m->slots[n->part[0].b].rows, n->part[0].cols);
        ck_assert_int_eq(g.t[n->out[2]].cols, 8);
        ck_assert_int_lt(n->part[0].w, 0);
    }
    ck_assert_int_eq(t, 8);
    ck_assert_int_eq(dt, ways[_i].dt);
    ck_assert_int_eq(apart, 8 + 16 - ways[_i].dt);
    tn_graph_free(&g);
    tn_model_free(m);
}
END_TEST

/* Every dt that no norm makes comes with its dB; the gradients of B that are left are those of the others. */
START_TEST(a_gradient_is_read_once)
{
    int stage_of[64], both = 0, dt = 0, norms = 0, alone = 0;
    tn_error e = {0};
    tn_model *m;
    tn_graph g;
    adapted(&g, &m, 2 * _i, NULL, stage_of);
    must(tn_graph_fuse_both(&g, &e), &e);
    for (int i = 0; i < g.n_n; i++) {
        const tn_gnode *n = &g.n[i];
        dt += n->op == TN_OP_LINEAR_DT;
        norms += n->op == TN_OP_LAYERNORM_DX && n->out[2] >= 0;
        alone += n->op == TN_OP_LINEAR_GRAD && n->in[0] < 0;
        if (n->op != TN_OP_LINEAR_DT || n->in[1] < 0) continue;
        both++;
        ck_assert_int_eq(g.t[n->in[1]].cols, g.t[n->out[0]].cols);
    }
    ck_assert_int_eq(both, 9);
    ck_assert_int_eq(both, dt);
    ck_assert_int_eq(norms, 7);
    ck_assert_int_eq(alone, norms);
    tn_graph_free(&g);
    tn_model_free(m);
}
END_TEST

/* Of both stages: nobody reads the enlarged map but the depthwise convolutions, in each pass and where all is run again, and they
 * leave the norms' statistics. */
START_TEST(no_stage_stores_its_enlarged_map)
{
    const tn_recompute recompute = _i ? TN_RECOMPUTE_ALL : TN_RECOMPUTE_NONE;
    int plain = 0, forward = 0, backward = 0, given = 0;
    tn_error e = {0};
    tn_model *m;
    tn_graph g;
    emitted(&g, &m,
            &(tn_upsampling){
                .channels = {128, 16, 8}, .n_channels = 3, .upsample = {2, 2}, .n_upsample = 2, .blocks = 1, .depthwise = true},
            recompute);
    must(tn_graph_fuse(&g, &e), &e);
    must(tn_graph_fuse_doubling(&g, &e), &e);
    for (int i = 0; i < g.n_n; i++) {
        const tn_gnode *n = &g.n[i];
        plain += (n->op == TN_OP_CONV || n->op == TN_OP_CONV_GRAD) && !n->a.conv.doubled;
        forward += n->op == TN_OP_CONV && n->a.conv.doubled && n->out[1] >= 0;
        backward += n->op == TN_OP_CONV_GRAD && n->a.conv_grad.doubled && n->out[0] >= 0;
        given += (n->op == TN_OP_NORM2D && n->in[1] >= 0) || (n->op == TN_OP_NORM2D_FEW && n->in[2] >= 0);
    }
    ck_assert_int_eq(plain, 0);
    ck_assert_int_eq(backward, 2);
    ck_assert_int_ge(forward, 2);
    ck_assert_int_eq(given, forward);
    tn_graph_free(&g);
    tn_model_free(m);
}
END_TEST

/* One node a layer, and everybody who has a mask reads its part of it; where activations are made again, the gradients alone. */
START_TEST(masks_are_drawn_once)
{
    int drawn = 0, readers = 0, alone = 0;
    tn_model *m;
    tn_graph g;
    adapted(&g, &m, _i ? 2 : 0, NULL, NULL);
    for (int i = 0; i < g.n_n; i++) {
        const tn_gnode *n = &g.n[i];
        const bool grad = n->op == TN_OP_LINEAR_T_GRAD, dx = n->op == TN_OP_LINEAR_DX && n->in[1] >= 0;
        drawn += n->op == TN_OP_DROPOUT_BITS;
        if (!grad && !dx && n->op != TN_OP_LINEAR_T) continue;
        const int bits = n->in[grad ? 2 : dx ? 3 : 1];
        alone += bits < 0 && (grad || dx || !_i);
        readers += bits >= 0;
        if (bits >= 0) ck_assert_int_eq(g.n[tn_graph_writer(&g, bits)].layer, n->layer);
    }
    ck_assert_int_eq(drawn, 4);
    ck_assert_int_eq(alone, 0);
    ck_assert_int_gt(readers, 4 * 4);
    tn_graph_free(&g);
    tn_model_free(m);
}
END_TEST

/* Of 3 blocks the last is the head's. What the others' norms kept is neither made nor read, their layers recomputed or not. */
START_TEST(norms_work_slopes_out_again)
{
    const tn_upsampling up = {
        .channels = {128, 16, 16, 8}, .n_channels = 4, .upsample = {2, 2, 2}, .n_upsample = 3, .blocks = 1, .depthwise = true};
    tn_error e = {0};
    tn_model *m;
    tn_graph g;
    int kept = 0, again = 0, slopes = 0;
    emitted(&g, &m, &up, 2 * _i);
    must(tn_graph_fuse(&g, &e), &e);
    for (int i = 0; i < g.n_n; i++) kept += g.n[i].op == TN_OP_NORM2D && g.n[i].out[2] >= 0;
    ck_assert_int_eq(kept, 2);
    must(tn_graph_fuse_norm_back(&g, &e), &e);
    for (int i = 0; i < g.n_n; i++) {
        const tn_gnode *n = &g.n[i];
        slopes += (n->op == TN_OP_NORM2D && n->out[2] >= 0) || (n->op == TN_OP_LINEAR_BY_DX && n->in[2] >= 0);
        again += n->op == TN_OP_NORM2D_BACK && n->a.norm2d_back.act && n->a.norm2d_back.fn == TN_GELU;
    }
    ck_assert_int_eq(slopes, 0);
    ck_assert_int_eq(again, 2);
    tn_graph_free(&g);
    tn_model_free(m);
}
END_TEST

/* The gradient towards a projection's input is added to the depthwise convolution's, which is made later, but where that would keep
 * a map that is wider than the result; and but for the head's product of depth one. */
START_TEST(a_product_waits_for_what_it_is_added_to)
{
    static const struct {
        int channels[4], added, apart;
    } ways[] = {{{128, 32, 16, 8}, 2, 1}, {{128, 16, 32, 8}, 1, 2}};
    tn_upsampling up = {.n_channels = 4, .upsample = {1, 2, 2}, .n_upsample = 3, .blocks = 1, .depthwise = true};
    tn_error e = {0};
    tn_model *m;
    tn_graph g;
    int added = 0, apart = 0;
    memcpy(up.channels, ways[_i].channels, sizeof ways[_i].channels);
    emitted(&g, &m, &up, TN_RECOMPUTE_NONE);
    must(tn_graph_fuse(&g, &e), &e);
    must(tn_graph_fuse_doubling(&g, &e), &e);
    must(tn_graph_merge(&g, true, &e), &e);
    for (int i = 0; i < g.n_n; i++) {
        const tn_gnode *n = &g.n[i];
        apart += n->op == TN_OP_ADD;
        if (n->op != TN_OP_LINEAR_DX || n->onto < 0) continue;
        added++;
        ck_assert_int_eq(g.n[tn_graph_writer(&g, n->onto)].op, TN_OP_CONV_GRAD);
        ck_assert_int_eq(g.t[n->onto].storage, g.t[n->out[0]].storage);
        ck_assert_int_gt(g.t[n->in[0]].cols, 1);
    }
    ck_assert_int_eq(added, ways[_i].added);
    ck_assert_int_eq(apart, ways[_i].apart);
    tn_graph_free(&g);
    tn_model_free(m);
}
END_TEST

void unit_fuse(Suite *s)
{
    add_tests(s, "fuse", 30,
              TESTS(TIMES(adapters_products_go_into_the_norms, 3), TIMES(masks_are_drawn_once, 2),
                    TIMES(a_gradient_is_read_once, 2), TIMES(no_stage_stores_its_enlarged_map, 2),
                    TIMES(norms_work_slopes_out_again, 2), TIMES(a_product_waits_for_what_it_is_added_to, 2)));
}
