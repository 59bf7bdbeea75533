/* Weights that pass through a window of the device: the same bits as weights that stay, whatever the window, in training, in
 * prediction and where both take turns; no copy more than the window asks for; what is set is what is read and computed with; a
 * copy that fails is named. Slots of the window are NaN from the last reading to the copy. */
#include "copy_slot.h"
#include "small_engine.h"
#include "stepper.h"
#include "stream.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

enum { IMAGE_W = 96, IMAGE_H = 64, HEAT = 24 * 16, BATCH = 3, STEPS = 4, LAYERS = 5, MOST = 2 };
static char work[64];

typedef struct {
    const char *name, *keys[MOST];
    bool lora;
} kind;

/* Rows of the first matrices are made of blocks, those of the last are not: both kinds of matrices are in a layer. */
static const kind kinds[] = {
    {"quantised and dense", {"training.seed=3"}, true},
    {"dense", {"model.quantization.enabled=false"}, true},
    {"dense in half storage", {"model.quantization.enabled=false", "training.precision=bf16"}, true},
    {"nested scales, half storage", {"training.precision=bf16"}, true},
    {"zero points", {"model.quantization.quant_type=int4_asym", "model.quantization.compress_statistics=false"}, true},
    {"norms of DoRA", {"model.lora.use_dora=true"}, true},
    {"no adapters", {"model.lora.enabled=false"}, false},
};

typedef struct {
    tn_config *c;
    tn_engine *e;
} model;

typedef struct {
    int window;  /* 0: weights stay */
    bool pinned; /* as on a device with memory of its own */
    bool again;  /* activations are made again, but the last layer's */
} way;

typedef struct {
    int n;
    double loss[STEPS];
    tn_optim_state optim;
    float heat[STEPS][HEAT], *params, *grads;
    size_t n_params, n_grads;
} outcome;

static bool write_backbone(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/config.json", work);
    FILE *f = fopen(path, "w");
    if (!f) return false;
    fprintf(f,
            "{\"model_type\": \"dinov3_vit\", \"hidden_size\": 64, \"intermediate_size\": 100, \"num_hidden_layers\": %d,"
            "\"num_attention_heads\": 2, \"num_register_tokens\": 3, \"patch_size\": 16, \"image_size\": 64,"
            "\"use_gated_mlp\": true, \"hidden_act\": \"silu\"}",
            LAYERS);
    return !fclose(f);
}

static model open_model(const kind *k)
{
    char backbone[128];
    snprintf(backbone, sizeof backbone, "model.pretrained_model_name='%s'", work);
    const char *keys[] = {backbone,
                          "data.preprocess.resize=[96,64]",
                          "model.heatmap.size=[24,16]",
                          "model.decoder.channels=[64,20]",
                          "model.decoder.upsample=[2]",
                          "model.heatmap.head_std=0.3",
                          "model.lora.lora_dropout=0.1",
                          "training.adaptive_micro_batch=false",
                          k->keys[0],
                          k->keys[1]};
    const int n = (int)TN_COUNT(keys) - !k->keys[1];
    model m = {0};
    tn_error e = {0};
    const tn_run_options o = {.version = TN_RUN_OPTIONS_VERSION, .device = "cpu"};
    m.c = small_config("vit_qlora_random", keys, n);
    must(tn_engine_open(&m.e, tn_config_settings(m.c), &o, true, false, &e), &e);
    return m;
}

static void close_model(model *m)
{
    tn_engine_close(m->e);
    tn_config_free(m->c);
}

static void compare_slot(tn_store *a, tn_store *b, int slot)
{
    size_t bytes;
    float *x = slot_values(a, slot, &bytes), *y = slot_values(b, slot, &bytes);
    ck_assert_msg(!memcmp(x, y, bytes), "%s differs", a->m->slots[slot].name);
    free(x);
    free(y);
}

/* The engine's weights stream from now on. */
static tn_stream *stream(model *m, way w)
{
    tn_engine *x = m->e;
    tn_store *st, *old = x->session->store;
    tn_session *session;
    tn_error e = {0};
    x->dev->info.unified_memory = !w.pinned;
    const tn_store_spec spec = {.quant = &old->quant, .act = x->act, .optimiser = true, .window = w.window};
    must(tn_store_new_of(&st, x->dev, x->model, &spec, &e), &e);
    ck_assert_int_eq(st->stream->pinned, w.pinned);
    ck_assert(tn_stream_can(st->stream));
    st->stream->poison = true;
    for (int i = 0; i < x->model->n_slots; i++) copy_slot(st, old, i);
    for (int i = x->model->n_slots - 1; i >= 0; i--) compare_slot(st, old, i);
    must(tn_session_new(&session, x->dev, x->model, st, &e), &e);
    tn_session_free(x->session);
    x->session = x->team.member[0].session = session;
    x->team.member[0].window = w.window;
    return st->stream;
}

static int take(void *user, const tn_step_result *r, tn_error *err)
{
    outcome *o = user;
    (void)err;
    ck_assert_int_lt(o->n, STEPS);
    o->loss[o->n++] = r->loss;
    o->optim = r->optim;
    return 0;
}

static tn_step_job job_of(const tn_engine *e, int step, unsigned char *frames, float *labels)
{
    tn_rng r = tn_rng_named((uint32_t)step, "frames");
    for (size_t i = 0; i < (size_t)BATCH * 3 * IMAGE_W * IMAGE_H; i++) frames[i] = (unsigned char)(256 * tn_rng_uniform(&r));
    for (int i = 0; i < BATCH; i++) {
        labels[3 * i] = (float)(24 * tn_rng_uniform(&r));
        labels[3 * i + 1] = (float)(16 * tn_rng_uniform(&r));
        labels[3 * i + 2] = 1;
    }
    return (tn_step_job){.index = step,
                         .batch = {.frames = frames, .labels = labels, .n = BATCH},
                         .micro = 2,
                         .groups = tn_engine_groups(e),
                         .lr = 1e-2};
}

/* The heatmap of the first frame. */
static void predict(tn_engine *x, const unsigned char *frame, float *heat)
{
    tn_exec *e;
    tn_error err = {0};
    const tn_pass pass = tn_engine_eval_pass(x, 1, false);
    must(tn_session_get(&e, x->session, &pass, &err), &err);
    must(tn_session_upload(x->session, e, e->g.pixels, frame, &err), &err);
    must(tn_session_run(x->session, e, &err), &err);
    must(tn_session_download(x->session, e, e->g.heat, heat, &err), &err);
}

static void finish(model *m, outcome *o)
{
    tn_store *st = m->e->session->store;
    tn_error e = {0};
    o->params = trained_params(m->e, &o->n_params);
    o->n_grads = st->n_params;
    o->grads = malloc(o->n_grads * sizeof(float));
    must(tn_buffer_read(st->grads, 0, o->grads, o->n_grads * sizeof(float), &e), &e);
}

/* Steps of two micro-batches, and a prediction after every second. */
static outcome run_way(const kind *k, way w)
{
    outcome o = {0};
    tn_error e = {0};
    tn_stepper *st;
    model m = open_model(k);
    static unsigned char frames[BATCH * 3 * IMAGE_W * IMAGE_H];
    float labels[3 * BATCH];
    if (w.window) stream(&m, w);
    m.e->recompute = w.again ? TN_RECOMPUTE_ALL : TN_RECOMPUTE_NONE, m.e->layers_kept = 1u << (LAYERS - 1);
    must(tn_stepper_new(&st, m.e, BATCH, take, &o, &e), &e);
    for (int i = 0; i < STEPS; i++) {
        const tn_step_job j = job_of(m.e, i, frames, labels);
        must(tn_stepper_step(st, &j, &e), &e);
        if (i % 2 == 0) continue;
        must(tn_stepper_drain(st, &e), &e);
        predict(m.e, frames, o.heat[i]);
    }
    must(tn_stepper_drain(st, &e), &e);
    finish(&m, &o);
    tn_stepper_free(st);
    close_model(&m);
    return o;
}

static void release(outcome *o)
{
    free(o->params);
    free(o->grads);
}

static void same(const outcome *a, const outcome *b, const char *name)
{
    ck_assert_int_eq(a->n, STEPS);
    ck_assert_int_eq(b->n, STEPS);
    for (int i = 0; i < STEPS; i++)
        ck_assert_msg(a->loss[i] == b->loss[i] && a->loss[i] > 0, "%s: step %d's loss is %.17g, not %.17g", name, i, b->loss[i],
                      a->loss[i]);
    ck_assert_mem_eq(&a->optim, &b->optim, sizeof a->optim);
    ck_assert_mem_eq(a->heat, b->heat, sizeof a->heat);
    ck_assert_mem_eq(a->params, b->params, a->n_params * sizeof(float));
    ck_assert_mem_eq(a->grads, b->grads, a->n_grads * sizeof(float));
}

START_TEST(streaming_changes_no_bit)
{
    static const way ways[] = {
        {.window = 2}, {.window = 2, .pinned = true, .again = true}, {.window = 3, .again = true}, {.window = LAYERS - 1}};
    const kind *k = &kinds[_i];
    outcome stays = run_way(k, (way){0});
    ck_assert(stays.loss[0] != stays.loss[STEPS - 1] && stays.heat[1][0] != stays.heat[3][0]); /* the steps did something */
    for (size_t i = 0; i < (_i ? 2 : TN_COUNT(ways)); i++) {
        outcome passes = run_way(k, ways[i]);
        same(&stays, &passes, k->name);
        release(&passes);
    }
    release(&stays);
}
END_TEST

/* Forward and backward a layer that is not there comes once; what is there when the pass turns, or the next one begins, does not.
 */
START_TEST(nothing_is_brought_twice)
{
    tn_error e = {0};
    tn_stepper *st;
    model m = open_model(&kinds[0]);
    static unsigned char frames[BATCH * 3 * IMAGE_W * IMAGE_H];
    float labels[3 * BATCH], heat[HEAT];
    const int window = 2 + _i;
    tn_stream *s = stream(&m, (way){.window = window});
    must(tn_stepper_new(&st, m.e, BATCH, NULL, NULL, &e), &e);
    for (int i = 0; i < 3; i++) {
        const long long before = s->copies;
        tn_step_job j = job_of(m.e, i, frames, labels);
        j.micro = BATCH;
        must(tn_stepper_step(st, &j, &e), &e);
        if (i) ck_assert_int_eq(s->copies - before, 2 * (LAYERS - window));
    }
    must(tn_stepper_drain(st, &e), &e);
    for (int i = 0; i < 3; i++) {
        const long long before = s->copies;
        predict(m.e, frames, heat);
        if (i) ck_assert_int_le(s->copies - before, LAYERS);
    }
    for (int i = 0; i < window; i++) ck_assert(s->slot[i].holds % window == i); /* the first layers, for the pass that comes */
    tn_stepper_free(st);
    close_model(&m);
}
END_TEST

/* Between steps, while copies for the next one are on their way. */
START_TEST(what_is_set_is_read_and_used)
{
    tn_error e = {0};
    model m = open_model(&kinds[_i]), other = open_model(&kinds[_i]);
    static unsigned char frames[BATCH * 3 * IMAGE_W * IMAGE_H];
    float labels[3 * BATCH], was[HEAT], is[HEAT], want[HEAT];
    (void)job_of(m.e, 0, frames, labels);
    stream(&m, (way){.window = 2, .pinned = true});
    predict(m.e, frames, was);
    for (int i = 0; i < m.e->model->n_slots; i++) {
        if (!tn_stream_has(m.e->session->store, i)) continue;
        size_t bytes;
        float *v = slot_values(m.e->session->store, i, &bytes);
        for (size_t k = 0; k < bytes / sizeof *v; k++) v[k] = 1.5f * v[k] + 0.01f;
        must(tn_store_set(m.e->session->store, i, v, &e), &e);
        must(tn_store_set(other.e->session->store, i, v, &e), &e);
        compare_slot(m.e->session->store, other.e->session->store, i);
        free(v);
    }
    predict(m.e, frames, is);
    predict(other.e, frames, want);
    ck_assert(memcmp(was, is, sizeof is) != 0);
    ck_assert_mem_eq(is, want, sizeof is);
    close_model(&m);
    close_model(&other);
}
END_TEST

START_TEST(a_copy_that_fails_is_named)
{
    tn_error e = {0};
    model m = open_model(&kinds[0]);
    static unsigned char frames[BATCH * 3 * IMAGE_W * IMAGE_H];
    float labels[3 * BATCH], heat[HEAT];
    tn_exec *x;
    tn_stream *s = stream(&m, (way){.window = 2});
    const tn_pass pass = tn_engine_eval_pass(m.e, 1, false);
    (void)job_of(m.e, 0, frames, labels);
    predict(m.e, frames, heat);
    must(tn_session_get(&x, m.e->session, &pass, &e), &e);
    char *host = s->block[3].host;
    s->block[3].host = NULL; /* which OpenCL refuses */
    ck_assert_int_ne(tn_session_run(m.e->session, x, &e), 0);
    for (size_t i = 0; i < 3; i++) {
        const char *const says[] = {"layer layer.3, weights", "block 4 of 5", "CL_INVALID_VALUE"};
        ck_assert_msg(strstr(e.message, says[i]) != NULL, "%s: %s", e.message, says[i]);
    }
    s->block[3].host = host;
    float again[HEAT];
    predict(m.e, frames, again); /* and is made up for */
    ck_assert_mem_eq(heat, again, sizeof heat);
    close_model(&m);
}
END_TEST

/* ---- the plan ---- */

/* The limit with which a run streams through so many layers at first, by the plan; what it plans goes to *m. */
static size_t limit_for(const kind *k, int window, tn_memory *m)
{
    tn_engine *e;
    tn_error err = {0};
    int micro;
    model whole = open_model(k);
    const tn_run_options o = {.version = TN_RUN_OPTIONS_VERSION, .device = "cpu"};
    must(tn_engine_open(&e, tn_config_settings(whole.c), &o, true, true, &err), &err);
    must(tn_engine_fit(e, &micro, m, &err), &err);
    while (e->team.member[0].window != window) {
        e->dev->memory_limit = m->total - 1;
        must(tn_engine_fit(e, &micro, m, &err), &err);
    }
    const size_t total = m->total;
    tn_engine_close(e);
    close_model(&whole);
    return total;
}

/* With exactly what the plan asks for a run streams, and takes that much and no more. */
START_TEST(a_limit_makes_weights_stream)
{
    static const kind k = {"dense", {"model.quantization.enabled=false"}, true};
    tn_error e = {0};
    tn_memory m = TN_MEMORY_INIT, real = TN_MEMORY_INIT;
    tn_stepper *st;
    model x = {0};
    int micro;
    static unsigned char frames[BATCH * 3 * IMAGE_W * IMAGE_H];
    float labels[3 * BATCH], heat[HEAT];
    const size_t limit = limit_for(&k, 2 + _i, &m);
    const tn_run_options o = {.version = TN_RUN_OPTIONS_VERSION, .device = "cpu", .memory_limit = limit};
    x = open_model(&k);
    tn_engine_close(x.e);
    must(tn_engine_open(&x.e, tn_config_settings(x.c), &o, true, false, &e), &e);
    must(tn_engine_fit(x.e, &micro, &real, &e), &e);
    ck_assert_int_eq(x.e->team.member[0].window, 2 + _i);
    ck_assert(x.e->recompute && real.streamed == x.e->session->store->stream->total && real.total <= limit);
    must(tn_stepper_new(&st, x.e, BATCH, NULL, NULL, &e), &e);
    for (int i = 0; i < 2; i++) {
        tn_step_job j = job_of(x.e, i, frames, labels);
        j.micro = micro;
        must(tn_stepper_step(st, &j, &e), &e);
    }
    must(tn_stepper_drain(st, &e), &e);
    predict(x.e, frames, heat);
    ck_assert_msg(x.e->dev->peak <= real.total && (double)x.e->dev->peak >= 0.97 * (double)real.total, "%zu planned, %zu allocated",
                  real.total, x.e->dev->peak);
    tn_stepper_free(st);
    close_model(&x);
}
END_TEST

int main(void)
{
    snprintf(work, sizeof work, "/tmp/tracknet-stream-XXXXXX");
    if (!mkdtemp(work) || !write_backbone()) return 2;
    const int status = run_tests("stream", 300,
                                 TESTS(TIMES(streaming_changes_no_bit, TN_COUNT(kinds)), TIMES(nothing_is_brought_twice, 3),
                                       TIMES(what_is_set_is_read_and_used, 2), ONCE(a_copy_that_fails_is_named),
                                       TIMES(a_limit_makes_weights_stream, 2)));
    char path[128];
    snprintf(path, sizeof path, "%s/config.json", work);
    unlink(path);
    rmdir(work);
    return status;
}
