/* Gradients of a whole model with its dropout on, against the loss's own slope along them: every kind of trained slot of
 * LoRA, DoRA, biases and modules_to_save, for one fixed mask. */
#include "small_engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    tn_config *c;
    tn_engine *e;
    tn_exec *x;
} model;

static void fill(float *v, size_t n, const char *name, double scale)
{
    tn_rng r = tn_rng_named(9, name);
    for (size_t i = 0; i < n; i++) v[i] = (float)(scale * tn_rng_normal(&r));
}

static void upload(model *m, int id, const char *name, double scale, bool ones)
{
    tn_error e = {0};
    const size_t n = (size_t)m->x->g.t[id].rows * (size_t)m->x->g.t[id].cols;
    float *v = malloc(n * sizeof *v);
    fill(v, n, name, scale);
    for (size_t i = 0; ones && i < n; i++) v[i] = 1;
    must(tn_session_upload(m->e->session, m->x, id, v, &e), &e);
    free(v);
}

/* Adapters and magnitudes away from their start, so that every term counts. */
static void stir(model *m)
{
    tn_error e = {0};
    for (int i = 0; i < m->e->model->n_slots; i++) {
        const tn_slot *s = &m->e->model->slots[i];
        const size_t n = (size_t)s->rows * (size_t)s->cols;
        if (s->group != TN_GROUP_LORA) continue;
        float *v = malloc(n * sizeof *v), *d = malloc(n * sizeof *d);
        must(tn_store_get(m->e->session->store, i, v, &e), &e);
        fill(d, n, s->name, 0.05);
        for (size_t k = 0; k < n; k++) v[k] += d[k];
        must(tn_store_set(m->e->session->store, i, v, &e), &e);
        free(v);
        free(d);
    }
}

static model open_model(const char *const *keys, int n)
{
    model m = {.c = small_config("vit_lora_heatmap", keys, n)};
    tn_error e = {0};
    const tn_run_options o = {.version = TN_RUN_OPTIONS_VERSION, .device = "cpu"};
    must(tn_engine_open(&m.e, tn_config_settings(m.c), &o, true, false, &e), &e);
    tn_pass p = tn_engine_train_pass(m.e, 2, tn_engine_groups(m.e));
    p.frames = false; /* pixels and target are noise here */
    must(tn_session_get(&m.x, m.e->session, &p, &e), &e);
    m.e->session->loss = tn_loss_named("mse", 0, 0, 0);
    upload(&m, m.x->g.pixels, "pixels", 1, false);
    upload(&m, m.x->g.target, "target", 1, false);
    upload(&m, m.x->g.mask, "mask", 1, true);
    stir(&m);
    return m;
}

static double loss_of(model *m)
{
    tn_error e = {0};
    double l;
    must(tn_store_zero_grad(m->e->session->store, &e), &e);
    const tn_step_constants now = {.seed = 77, .inv_mask = 0.01f}; /* one mask for all */
    must(tn_ctx_step(&m->e->session->ctx, &now, &e), &e);
    must(tn_session_run(m->e->session, m->x, &e), &e);
    must(tn_session_loss(m->e->session, m->x, &l, &e), &e);
    return l;
}

/* Moves every slot whose name holds `kind` by step * its gradient (as it was at the start). */
static void move(model *m, const char *kind, float **at, float **grad, double step)
{
    tn_error e = {0};
    for (int i = 0; i < m->e->model->n_slots; i++) {
        const tn_slot *s = &m->e->model->slots[i];
        const size_t n = (size_t)s->rows * (size_t)s->cols;
        if (!at[i] || !strstr(s->name, kind)) continue;
        float *v = malloc(n * sizeof *v);
        for (size_t k = 0; k < n; k++) v[k] = (float)(at[i][k] + step * grad[i][k]);
        must(tn_store_set(m->e->session->store, i, v, &e), &e);
        free(v);
    }
}

/* DoRA's norms get no gradient: the slope to compare with is the one at a fixed m / n, so the magnitudes follow n. */
static void keep_ratio(model *m, float **at, float **norm)
{
    tn_error e = {0};
    must(tn_adapt_magnitudes(m->e->session->store, &e), &e);
    for (int i = 0; i < m->e->model->n_slots; i++) {
        const tn_slot *s = &m->e->model->slots[i];
        if (!strstr(s->name, "magnitude")) continue;
        float *v = malloc((size_t)s->cols * sizeof *v);
        must(tn_store_get(m->e->session->store, i, v, &e), &e);
        if (!norm[i]) { /* the first time: the norms at the start */
            norm[i] = malloc((size_t)s->cols * sizeof *v);
            memcpy(norm[i], v, (size_t)s->cols * sizeof *v);
        }
        for (int k = 0; k < s->cols; k++) v[k] *= at[i][k] / norm[i][k];
        must(tn_store_set(m->e->session->store, i, v, &e), &e);
        free(v);
    }
}

static void check_slope(model *m, const char *kind, float **at, float **grad, float **norm)
{
    const bool lora = strstr(kind, "lora_") != NULL;
    double square = 0;
    for (int i = 0; i < m->e->model->n_slots; i++)
        for (int k = 0;
             at[i] && strstr(m->e->model->slots[i].name, kind) && k < m->e->model->slots[i].rows * m->e->model->slots[i].cols; k++)
            square += (double)grad[i][k] * grad[i][k];
    ck_assert_msg(square > 0, "no gradient for %s", kind);
    const double h = 2e-3 * loss_of(m) / square; /* the loss changes by some thousandths */
    if (lora) keep_ratio(m, at, norm);
    move(m, kind, at, grad, h);
    if (lora) keep_ratio(m, at, norm);
    const double up = loss_of(m);
    move(m, kind, at, grad, -h);
    if (lora) keep_ratio(m, at, norm);
    const double down = loss_of(m);
    move(m, kind, at, grad, 0);
    if (lora) keep_ratio(m, at, norm);
    const double slope = (up - down) / (2 * h);
    ck_assert_msg(fabs(slope - square) <= 0.01 * square, "%s: slope %.6g along a gradient of square %.6g", kind, slope, square);
}

static void check_all(model *m, const char *const *kinds)
{
    tn_error e = {0};
    const int n = m->e->model->n_slots;
    float **at = calloc((size_t)n, sizeof *at), **grad = calloc((size_t)n, sizeof *grad), **norm = calloc((size_t)n, sizeof *norm);
    loss_of(m);
    for (int i = 0; i < n; i++) {
        const tn_slot *s = &m->e->model->slots[i];
        if (s->group != TN_GROUP_LORA) continue;
        at[i] = malloc((size_t)s->rows * (size_t)s->cols * sizeof **at);
        grad[i] = malloc((size_t)s->rows * (size_t)s->cols * sizeof **grad);
        must(tn_store_get(m->e->session->store, i, at[i], &e), &e);
        must(tn_store_get_grad(m->e->session->store, i, grad[i], &e), &e);
    }
    for (; *kinds; kinds++) check_slope(m, *kinds, at, grad, norm);
    for (int i = 0; i < n; i++) free(at[i]), free(grad[i]), free(norm[i]);
    free(at);
    free(grad);
    free(norm);
    tn_engine_close(m->e);
    tn_config_free(m->c);
}

#define COMMON                                                                                                                     \
    "model.pretrained_model_name=" SOURCE_DIR "/tests/golden/cases/dinov3", "data.preprocess.resize=[96,64]",                      \
        "model.heatmap.size=[24,16]", "model.decoder.channels=[64,16]", "model.decoder.upsample=[2]", "model.lora.r=4",            \
        "model.lora.lora_dropout=0.3"

static const struct {
    const char *keys[4];
    const char *kinds[5];
} cases[] = {
    {{"model.lora.bias=all"}, {"lora_A", "lora_B", ".bias"}},
    {{"model.lora.use_dora=true", "model.lora.bias=lora_only"}, {"lora_A", "lora_B", "magnitude", ".bias"}},
    {{"model.lora.use_dora=true", "model.quantization.enabled=true"}, {"lora_A", "lora_B", "magnitude"}},
    {{"model.lora.use_dora=true", "training.memory_optimization.gradient_checkpointing=true",
      "model.lora.target_modules=[q_proj,up_proj]"},
     {"lora_A", "lora_B", "magnitude"}},
    {{"model.lora.modules_to_save=[norm,mlp.up_proj]", "model.lora.target_modules=[q_proj,v_proj]"},
     {"lora_A", "lora_B", "norm.", "up_proj"}},
};

START_TEST(gradients_are_the_losss_slopes)
{
    const char *keys[16] = {COMMON};
    int n = 0;
    while (keys[n]) n++;
    for (int k = 0; k < 4 && cases[_i].keys[k]; k++) keys[n++] = cases[_i].keys[k];
    model m = open_model(keys, n);
    check_all(&m, cases[_i].kinds);
}
END_TEST

/* With everything computed again: nothing is made twice that nobody reads, and no whole product for its adapters' sake. */
START_TEST(only_what_is_read_is_made_again)
{
    const char *keys[16] = {COMMON};
    int n = 0, again = 0;
    while (keys[n]) n++;
    keys[n++] = "training.memory_optimization.gradient_checkpointing=true";
    model m = open_model(keys, n);
    const tn_graph *g = &m.x->g;
    for (int i = g->n_forward; i < g->n_n; i++) {
        if (tn_operations[g->n[i].op].again == TN_AGAIN_NEVER) continue;
        again++;
        ck_assert_msg(tn_graph_readers(g, g->n[i].out[0], NULL) > 0, "%s is made again for nobody", g->t[g->n[i].out[0]].name);
    }
    ck_assert_int_gt(again, 0);
    tn_engine_close(m.e);
    tn_config_free(m.c);
}
END_TEST

int main(void)
{
    return run_tests("slopes", 240,
                     TESTS(TIMES(gradients_are_the_losss_slopes, TN_COUNT(cases)), ONCE(only_what_is_read_is_made_again)));
}
