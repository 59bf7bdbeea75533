/* What adapters take from their base at the start (PiSSA, LoftQ, DoRA), on the first CPU device. */
#include "load.h"
#include "match.h"
#include "svd.h"
#include "../testdev.h"
#include "../testlib.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tn_dev *device(void)
{
    static tn_dev *d;
    tn_error e = {0};
    if (!d) {
        ck_assert_msg(!test_device(&d, "cpu", &e), "%s", e.message);
        d->variants = strdup("portable");
    }
    return d;
}

typedef struct {
    tn_model *m;
    tn_store *st;
} built;

/* A backbone alone, with adapters. */
static tn_model *model_of(const tn_lora *lora, int layers)
{
    tn_model *m;
    tn_backbone v;
    tn_error e = {0};
    json_t *c = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i}", "model_type", "dinov3_vit", "hidden_size", 64, "intermediate_size", 128,
                          "num_hidden_layers", layers, "num_attention_heads", 2, "patch_size", 16);
    ck_assert_int_eq(tn_backbone_configure(&v, c, "test", &e), 0);
    json_decref(c);
    ck_assert_msg(!tn_model_new(&m, &(tn_model_spec){&v, NULL, lora, 32, 32, 0, 0, false, 1, 1}, NULL, &e), "%s", e.message);
    return m;
}

static built build_skipping(const tn_lora *lora, bool quantised, char *skipped)
{
    built b = {.m = model_of(lora, 1)};
    tn_error e = {0};
    const tn_quant_spec q = {.enabled = quantised, .type = TN_Q_NF4, .skip = {.v = &skipped, .n = skipped != NULL}};
    ck_assert_msg(!tn_store_new(&b.st, device(), b.m, &q, TN_F32, false, false, &e), "%s", e.message);
    ck_assert_int_eq(tn_store_init(b.st, TN_GROUP_BACKBONE, 5, &e), 0);
    ck_assert_int_eq(tn_store_init(b.st, TN_GROUP_LORA, 5, &e), 0);
    ck_assert_int_eq(tn_adapt_magnitudes(b.st, &e), 0);
    return b;
}

static built build(const tn_lora *lora, bool quantised)
{
    return build_skipping(lora, quantised, NULL);
}

static void done(built b)
{
    tn_store_free(b.st);
    tn_model_free(b.m);
}

enum { R = 64, C = 64 };
#define W "layer.0.attention.q_proj"

static void get(const built *b, const char *name, float *v)
{
    tn_error e = {0};
    const int i = tn_model_slot(b->m, name);
    ck_assert_int_ge(i, 0);
    ck_assert_int_eq(tn_store_get(b->st, i, v, &e), 0);
}

/* |W0 - (stored + s B A)|, stored alone where there is no adapter. */
static double distance(const built *b, const float *w0)
{
    static float w[R * C], A[16 * C], B[R * 16];
    get(b, W ".weight", w);
    const int a = tn_model_slot(b->m, W ".lora_A.weight");
    if (a >= 0) {
        get(b, W ".lora_A.weight", A);
        get(b, W ".lora_B.weight", B);
        tn_matmul_add(w, b->m->slots[a].lora_scale, B, A, R, b->m->slots[a].rows, C);
    }
    double s = 0;
    for (int i = 0; i < R * C; i++) s += pow((double)w[i] - w0[i], 2);
    return sqrt(s);
}

/* One product takes query, key and value: each is still its own to set and to read. */
START_TEST(dense_matrices_of_one_operation_lie_behind_each_other)
{
    static const char *const names[] = {W ".weight", "layer.0.attention.k_proj.weight", "layer.0.attention.v_proj.weight",
                                        "layer.0.attention.o_proj.weight"};
    static float want[4][R * C], got[R * C];
    tn_error e = {0};
    built b = build(&(tn_lora){0}, false);
    for (int i = 3; i >= 0; i--) {
        for (int k = 0; k < R * C; k++) want[i][k] = (float)(i * R * C + k);
        ck_assert_int_eq(tn_store_set(b.st, tn_model_slot(b.m, names[i]), want[i], &e), 0);
    }
    const tn_tensor *q = &b.st->s[tn_model_slot(b.m, names[0])].t;
    for (int i = 0; i < 4; i++) {
        const tn_tensor *t = &b.st->s[tn_model_slot(b.m, names[i])].t;
        get(&b, names[i], got);
        ck_assert(!memcmp(got, want[i], sizeof got));
        ck_assert_int_eq(t->mem == q->mem, i < 3);
        ck_assert_uint_eq(t->off, i < 3 ? (size_t)i * R * C : 0);
    }
    done(b);
}
END_TEST

static tn_lora lora_of(tn_lora_init init, int iterations)
{
    return (tn_lora){.enabled = true, .r = 8, .alpha = 20, .bias = "none", .init = init, .iterations = iterations};
}

START_TEST(pissa_keeps_the_sum)
{
    static float w0[R * C];
    built plain = build(&(tn_lora){0}, false);
    get(&plain, W ".weight", w0);
    const tn_lora l = lora_of(TN_LORA_PISSA, _i);
    built b = build(&l, false);
    ck_assert_double_le(distance(&b, w0), 1e-5);
    static float w[R * C];
    get(&b, W ".weight", w);
    double moved = 0;
    for (int i = 0; i < R * C; i++) moved += fabs((double)w[i] - w0[i]);
    ck_assert_double_ge(moved, 1); /* the principal part did leave the base */
    done(plain);
    done(b);
}
END_TEST

START_TEST(loftq_undoes_part_of_the_quantisation)
{
    static float w0[R * C];
    built plain = build(&(tn_lora){0}, false), quantised = build(&(tn_lora){0}, true);
    get(&plain, W ".weight", w0);
    const tn_lora one = lora_of(TN_LORA_LOFTQ, 1), five = lora_of(TN_LORA_LOFTQ, 5);
    built b1 = build(&one, true), b5 = build(&five, true);
    const double none = distance(&quantised, w0), once = distance(&b1, w0), often = distance(&b5, w0);
    ck_assert_double_gt(none, 1e-3);
    ck_assert_double_lt(once, 0.9 * none);
    ck_assert_double_lt(often, once);
    done(plain);
    done(quantised);
    done(b1);
    done(b5);
}
END_TEST

/* Nothing to make up for there, so it begins at random; at zero on both sides it could never train. */
START_TEST(loftq_leaves_a_skipped_layer_to_the_usual_start)
{
    static float A[16 * C], B[R * 16];
    const tn_lora l = lora_of(TN_LORA_LOFTQ, 2);
    char name[] = "q_proj";
    built b = build_skipping(&l, true, name);
    get(&b, W ".lora_A.weight", A);
    get(&b, W ".lora_B.weight", B);
    double a = 0, z = 0;
    for (int i = 0; i < l.r * C; i++) a += fabs((double)A[i]), z += fabs((double)B[i]);
    ck_assert_double_gt(a, 1);
    ck_assert_double_eq(z, 0);
    get(&b, "layer.0.attention.v_proj.lora_B.weight", B);
    ck_assert_double_gt(fabs((double)B[0]), 0); /* a quantised one beside it begins from LoftQ */
    done(b);
}
END_TEST

START_TEST(dora_begins_with_the_norms_of_its_rows)
{
    static float w[R * C], m[R];
    tn_lora l = lora_of(TN_LORA_KAIMING, 0);
    l.dora = true;
    built b = build(&l, true);
    get(&b, W ".weight", w);
    get(&b, W ".lora_magnitude_vector", m);
    for (int i = 0; i < R; i++) {
        double s = 0;
        for (int c = 0; c < C; c++) s += (double)w[i * C + c] * w[i * C + c];
        ck_assert_double_eq_tol(m[i], sqrt(s), 1e-5 * sqrt(s));
    }
    done(b);
}
END_TEST

START_TEST(gaussian_has_the_spread_peft_gives_it)
{
    static float A[8 * C];
    const tn_lora l = lora_of(TN_LORA_GAUSSIAN, 0);
    built b = build(&l, false);
    get(&b, W ".lora_A.weight", A);
    double s = 0;
    for (int i = 0; i < 8 * C; i++) s += (double)A[i] * A[i];
    ck_assert_double_eq_tol(sqrt(s / (8 * C)), 1.0 / 8, 0.015);
    done(b);
}
END_TEST

/* A product of rank 6 is found exactly; the randomised way agrees with the whole decomposition. */
START_TEST(low_rank_factors_are_the_best_ones)
{
    enum { M = 37, N = 53, K = 6 };
    static float u[M * K], v[K * N], w[M * N], B[M * K], A[K * N], back[M * N];
    tn_error e = {0};
    tn_rng r = tn_rng_named(1, "svd");
    for (int i = 0; i < M * K; i++) u[i] = (float)tn_rng_normal(&r);
    for (int i = 0; i < K * N; i++) v[i] = (float)tn_rng_normal(&r);
    memset(w, 0, sizeof w);
    memset(back, 0, sizeof back);
    tn_matmul_add(w, 1, u, v, M, K, N);
    ck_assert_int_eq(tn_low_rank(&(tn_low_rank_of){w, M, N, K, _i, 3}, B, A, &e), 0);
    tn_matmul_add(back, 1, B, A, M, K, N);
    for (int i = 0; i < M * N; i++) ck_assert_double_eq_tol(back[i], w[i], 2e-5);
}
END_TEST

/* Cut to a rank, a product that is never made is what the decomposition of the product itself leaves of it. */
static const struct {
    int rows, cols, k, r;
} cuts[] = {{37, 53, 6, 4}, {37, 53, 6, 6}, {37, 53, 6, 9}, {9, 5, 12, 3}, {5, 9, 12, 5}, {7, 7, 7, 1}};

START_TEST(products_are_cut_as_their_decomposition)
{
    enum { MOST = 53 * 37 };
    static float b[MOST], a[MOST], w[MOST], B[MOST], A[MOST], best[MOST], got[MOST];
    const int m = cuts[_i].rows, n = cuts[_i].cols, k = cuts[_i].k, r = cuts[_i].r;
    tn_error e = {0};
    tn_rng g = tn_rng_named((uint64_t)_i, "cut");
    for (int i = 0; i < m * k; i++) b[i] = (float)tn_rng_normal(&g);
    for (int i = 0; i < k * n; i++) a[i] = (float)tn_rng_normal(&g);
    memset(w, 0, sizeof w), memset(best, 0, sizeof best), memset(got, 0, sizeof got);
    tn_matmul_add(w, 1, b, a, m, k, n);
    const int least = TN_MIN(r, TN_MIN(m, n));
    ck_assert_int_eq(tn_low_rank(&(tn_low_rank_of){w, m, n, least, 0, 0}, B, A, &e), 0);
    tn_matmul_add(best, 1, B, A, m, least, n);
    memset(B, 0x7f, sizeof B), memset(A, 0x7f, sizeof A);
    ck_assert_int_eq(tn_cut_product(&(tn_product_of){b, a, m, n, k}, r, B, A, &e), 0);
    tn_matmul_add(got, 1, B, A, m, r, n);
    for (int i = 0; i < m * n; i++) ck_assert_double_eq_tol(got[i], best[i], 5e-5);
}
END_TEST

static bool inside(const tn_optim_range *r, const tn_stored *s)
{
    return s->off >= r->off && s->off + (size_t)s->t.rows * (size_t)s->t.cols <= r->off + r->n;
}

/* LoRA+: of what trains with the adapters, lora_B and vectors have a rate of their own. */
START_TEST(two_rates_divide_the_adapters)
{
    tn_lora l = lora_of(TN_LORA_KAIMING, 0);
    char whole[] = "layer.0.mlp.down_proj";
    l.dora = true;
    l.modules_to_save = (tn_strs){.v = (char *[]){whole}, .n = 1};
    snprintf(l.bias, sizeof l.bias, "all");
    built b = build(&l, false);
    tn_optim_range r[TN_STORE_RANGES], one[TN_STORE_RANGES];
    int seen[2] = {0};
    ck_assert_int_eq(tn_store_ranges(b.st, 0, 16, r), 0); /* there is no head */
    ck_assert_int_eq(tn_store_ranges(b.st, 1, 1, one), 1);
    ck_assert_int_eq(tn_store_ranges(b.st, 1, 16, r), 2);
    ck_assert(r[0].rate == 1 && r[1].rate == 16 && one[0].rate == 1);
    ck_assert(r[0].off == one[0].off && r[1].off == r[0].off + r[0].n && r[0].n + r[1].n == one[0].n);
    for (int i = 0; i < b.m->n_slots; i++) {
        const tn_slot *s = &b.m->slots[i];
        if (!s->trainable) continue;
        const bool fast = tn_ends(s->name, ".lora_B.weight") || s->ndim == 1;
        ck_assert_msg(inside(&r[fast], &b.st->s[i]), "%s is not in its range", s->name);
        seen[fast]++;
    }
    ck_assert(seen[0] == 6 && seen[1] > 15); /* five lora_A and a matrix; five lora_B, as many magnitudes, biases */
    done(b);
}
END_TEST

/* What PEFT 0.21's check_target_module_exists finds for layers_to_transform. */
static const char *const module_paths[] = {
    "model.layer.2.attention.q_proj",          "layer.2.attention.q_proj", "encoder.layer.11.mlp.fc1", "layers.0.mlp.fc1",
    "model.encoder.stages.1.layers.3.pwconv1", "blocks.4.attn.qkv",        "a.b.experts.7.w",          "model.head"};
static const struct {
    tn_strs patterns;
    int layer[TN_COUNT(module_paths)];
} layer_rules[] = {
    {{0}, {2, -1, 11, -1, 1, -1, 7, -1}},
    {{.v = (char *[]){"layer"}, .n = 1}, {2, 2, 11, -1, -1, -1, -1, -1}},
    {{.v = (char *[]){"layers"}, .n = 1}, {-1, -1, -1, 0, 3, -1, -1, -1}},
    {{.v = (char *[]){"blocks", "layer"}, .n = 2}, {2, 2, 11, -1, -1, 4, -1, -1}},
    {{.v = (char *[]){"lay.*"}, .n = 1}, {2, 2, 11, 0, 3, -1, -1, -1}},
    {{.v = (char *[]){"stages"}, .n = 1}, {-1, -1, -1, -1, 1, -1, -1, -1}},
    {{.v = (char *[]){"layer|blocks"}, .n = 1}, {-1, -1, -1, -1, -1, 4, -1, -1}},
};

START_TEST(layers_are_counted_as_peft_counts_them)
{
    tn_error e = {0};
    for (size_t i = 0; i < TN_COUNT(module_paths); i++) {
        int layer;
        ck_assert_int_eq(tn_match_layer(&layer, &layer_rules[_i].patterns, module_paths[i], "layers_pattern", &e), 0);
        ck_assert_msg(layer == layer_rules[_i].layer[i], "%s is in layer %d", module_paths[i], layer);
    }
}
END_TEST

/* Adapters stand in the layers that layers_to_transform names, and beside those in modules named by their whole paths. */
static const struct {
    tn_lora lora;
    const char *adapted;
} chosen[] = {
    {{.targets = {.v = (char *[]){"q_proj"}, .n = 1}}, "0.attention.q_proj 1.attention.q_proj 2.attention.q_proj "},
    {{.targets = {.v = (char *[]){"q_proj"}, .n = 1}, .layers = {1}, .n_layers = 1}, "1.attention.q_proj "},
    {{.targets = {.v = (char *[]){"q_proj", "up_proj"}, .n = 2}, .layers = {2, 0}, .n_layers = 2},
     "0.attention.q_proj 0.mlp.up_proj 2.attention.q_proj 2.mlp.up_proj "},
    {{.targets = {.v = (char *[]){"q_proj", "layer.1.mlp.up_proj"}, .n = 2}, .layers = {2}, .n_layers = 1},
     "1.mlp.up_proj 2.attention.q_proj "},
    {{.targets = {.v = (char *[]){"v_proj"}, .n = 1},
      .layers = {0},
      .n_layers = 1,
      .layers_pattern = {.v = (char *[]){"layer"}, .n = 1}},
     "0.attention.v_proj "},
    {{.targets = {.v = (char *[]){"q_proj"}, .n = 1},
      .exclude = {.v = (char *[]){"layer.2.attention.q_proj"}, .n = 1},
      .layers = {0, 2},
      .n_layers = 2},
     "0.attention.q_proj "},
};

START_TEST(adapters_stand_in_the_layers_that_were_named)
{
    tn_lora l = chosen[_i].lora;
    tn_text got = {0};
    l.enabled = true, l.r = 4, l.alpha = 8, l.init = TN_LORA_KAIMING;
    snprintf(l.bias, sizeof l.bias, "none");
    tn_model *m = model_of(&l, 3);
    for (int i = 0; i < m->n_slots; i++) {
        const char *name = m->slots[i].name;
        if (!tn_ends(name, ".lora_A.weight")) continue;
        ck_assert_msg(tn_starts(name, "layer."), "%s", name);
        tn_text_addf(&got, "%.*s ", (int)(strlen(name) - strlen("layer.") - strlen(".lora_A.weight")), name + strlen("layer."));
    }
    ck_assert_msg(got.s && !strcmp(got.s, chosen[_i].adapted), "'%s', not '%s'", got.s ? got.s : "", chosen[_i].adapted);
    tn_text_free(&got);
    tn_model_free(m);
}
END_TEST

int main(void)
{
    return run_tests("adapt", 120,
                     TESTS(ONCE(dense_matrices_of_one_operation_lie_behind_each_other), TIMES(pissa_keeps_the_sum, 3),
                           ONCE(loftq_undoes_part_of_the_quantisation), ONCE(loftq_leaves_a_skipped_layer_to_the_usual_start),
                           ONCE(dora_begins_with_the_norms_of_its_rows), ONCE(gaussian_has_the_spread_peft_gives_it),
                           ONCE(two_rates_divide_the_adapters), TIMES(products_are_cut_as_their_decomposition, TN_COUNT(cuts)),
                           TIMES(layers_are_counted_as_peft_counts_them, TN_COUNT(layer_rules)),
                           TIMES(adapters_stand_in_the_layers_that_were_named, TN_COUNT(chosen)),
                           TIMES(low_rank_factors_are_the_best_ones, 3)));
}
