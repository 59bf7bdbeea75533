/* One model on several devices: stages, replicas and both give the losses and gradients of one device (in AdamW's means of them);
 * twice the same bits. */
#include "stepper.h"
#include "small_engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGE_W = 128, IMAGE_H = 64, BATCH = 7, STEPS = 4 };

typedef struct {
    const char *model, *stages; /* stages NULL: one device */
    int micro, groups;
    bool recompute, discrete; /* discrete: as devices with memory of their own */
} way;

typedef struct {
    double loss[STEPS];
    tn_optim_state state;
    float *params, *means;
    size_t n;
} outcome;

static tn_engine *open_engine(tn_config **c, const way *w)
{
    static const char *const keys[] = {
        "model.pretrained_model_name='" SOURCE_DIR "/configs/backbone/tiny'",
        "data.preprocess.resize=[128,64]",
        "model.heatmap.size=[32,16]",
        "model.decoder.norm=gn",
        "training.grad_clip_norm=0.5",
        "training.batch_size=7",
        "training.seed=7",
        "model.lora.lora_dropout=0.1",
    };
    const char *all[TN_COUNT(keys) + 1];
    tn_error e = {0};
    tn_engine *engine;
    memcpy(all, keys, sizeof keys);
    all[TN_COUNT(keys)] = w->recompute ? "training.memory_optimization.gradient_checkpointing=true"
                                       : "training.memory_optimization.gradient_checkpointing=false";
    *c = small_config(w->model, all, TN_COUNT(all));
    const tn_run_options o = {.version = TN_RUN_OPTIONS_VERSION, .device = w->stages ? NULL : "0", .stages = w->stages};
    must(tn_engine_open(&engine, tn_config_settings(*c), &o, true, false, &e), &e);
    return engine;
}

static void draw_batch(int step, unsigned char *frames, float *labels)
{
    tn_rng r = tn_rng_named((uint32_t)step, "frames");
    for (size_t i = 0; i < (size_t)BATCH * 3 * IMAGE_W * IMAGE_H; i++) frames[i] = (unsigned char)(256 * tn_rng_uniform(&r));
    for (int i = 0; i < BATCH; i++) {
        labels[3 * i] = (float)(32 * tn_rng_uniform(&r));
        labels[3 * i + 1] = (float)(16 * tn_rng_uniform(&r));
        labels[3 * i + 2] = i != 2;
    }
}

static int take(void *user, const tn_step_result *r, tn_error *err)
{
    outcome *o = user;
    (void)err;
    o->loss[r->index] = r->loss;
    o->state = r->optim;
    return 0;
}

/* Parameters and what the optimiser keeps of the gradients, which a step leaves zero, of everything that trains. */
static void read_all(outcome *o, const tn_engine *e)
{
    tn_error err = {0};
    for (int i = 0; i < e->model->n_slots; i++)
        if (e->model->slots[i].trainable) o->n += (size_t)e->model->slots[i].rows * (size_t)e->model->slots[i].cols;
    o->params = malloc(o->n * sizeof(float));
    o->means = malloc(o->n * sizeof(float));
    size_t at = 0;
    for (int i = 0; i < e->model->n_slots; i++) {
        const tn_slot *s = &e->model->slots[i];
        if (!s->trainable) continue;
        must(tn_store_get(e->session->store, i, o->params + at, &err), &err);
        const size_t n = (size_t)s->rows * (size_t)s->cols;
        const tn_store *st = tn_store_of(e->session->store, i);
        must(tn_buffer_read(st->moment1, st->s[i].off * sizeof(float), o->means + at, n * sizeof(float), &err), &err);
        at += n;
    }
}

static tn_step_job job_of(const tn_engine *e, const way *w, int step, unsigned char *frames, float *labels)
{
    draw_batch(step, frames, labels);
    return (tn_step_job){.index = step,
                         .batch = {.frames = frames, .labels = labels, .n = BATCH},
                         .micro = w->micro,
                         .groups = w->groups ? w->groups : tn_engine_groups(e),
                         .lr = 1e-3};
}

/* What so many steps leave of everything that trains. */
static outcome run(way w, int steps)
{
    outcome o = {0};
    tn_error e = {0};
    tn_config *c;
    tn_stepper *st;
    tn_engine *engine = open_engine(&c, &w);
    unsigned char *frames = malloc((size_t)BATCH * 3 * IMAGE_W * IMAGE_H);
    float labels[3 * BATCH];
    for (int i = 0; i < engine->team.n_dev && w.discrete; i++) engine->team.dev[i]->info.unified_memory = false;
    must(tn_stepper_new(&st, engine, BATCH, take, &o, &e), &e);
    for (int i = 0; i < steps; i++) {
        const tn_step_job j = job_of(engine, &w, i, frames, labels);
        must(tn_stepper_step(st, &j, &e), &e);
        memset(frames, 0xee, (size_t)BATCH * 3 * IMAGE_W * IMAGE_H);
    }
    must(tn_stepper_drain(st, &e), &e);
    read_all(&o, engine);
    tn_stepper_free(st);
    tn_engine_close(engine);
    tn_config_free(c);
    free(frames);
    return o;
}

static void drop(outcome *o)
{
    free(o->params);
    free(o->means);
}

/* By the largest mean. */
static double distance(const outcome *a, const outcome *b)
{
    double most = 0, far = 0;
    ck_assert_uint_eq(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        most = fmax(most, fabs((double)a->means[i]));
        far = fmax(far, fabs((double)a->means[i] - (double)b->means[i]));
        ck_assert(isfinite(b->means[i]) && isfinite(b->params[i]));
    }
    return far / most;
}

/* AdamW's first steps blow differences up where a gradient is next to nothing, so parameters have the looser bound. */
static void compare(way alone, way together, bool twice)
{
    outcome a = run(alone, STEPS), b = run(together, STEPS);
    for (int i = 0; i < STEPS; i++) ck_assert_double_eq_tol(a.loss[i], b.loss[i], 2e-6 * fabs(a.loss[i]));
    ck_assert_double_lt(distance(&a, &b), 1e-6);
    ck_assert_float_eq_tol(a.state.norm, b.state.norm, 1e-5f * a.state.norm);
    if (twice) {
        outcome again = run(together, STEPS);
        ck_assert_mem_eq(b.means, again.means, b.n * sizeof(float));
        ck_assert_mem_eq(b.params, again.params, b.n * sizeof(float));
        ck_assert_mem_eq(b.loss, again.loss, sizeof b.loss);
        drop(&again);
    }
    drop(&a);
    drop(&b);
}

static const way ways[] = {
    {"vit_qlora_random", "0:embeddings-layer.1,1:layer.2-head", 2, 0, false, false},
    {"vit_qlora_random", "0:embeddings-layer.1,1:layer.2-head", 2, 0, false, true},
    {"vit_qlora_random", "0:embeddings,1:layer.0-head", 3, 0, true, false},
    {"vit_qlora_random", "0:embeddings-layer.3,1:norm-head", 7, 0, true, true},
    {"vit_qlora_random", "1:embeddings-layer.0,2:layer.1-layer.1,0:layer.2-layer.3,3:norm-head", 1, 0, false, false},
    {"vit_qlora_random", "0:embeddings-layer.0,1:layer.1-grid,2:decoder.0-head", 2, TN_GROUP_HEAD, false, false},
    {"vit_qlora_random", "0:embeddings-head@4/2;1:embeddings-head@3/2", 2, 0, false, false},
    {"vit_qlora_random", "0:embeddings-layer.0,1:layer.1-head@4/2;2:embeddings-layer.2,3:layer.3-head@3/2", 2, 0, false, true},
};

/* Under ThreadSanitizer, which is slow, one of each kind. */
#ifdef __SANITIZE_THREAD__
static const int watched[] = {0, 7};
#define WAYS   TN_COUNT(watched)
#define LOSING 0 /* the test itself takes the device from under its thread */
#define WAY(i) ways[watched[i]]
#else
#define WAYS   TN_COUNT(ways)
#define LOSING TN_COUNT(losing)
#define WAY(i) ways[i]
#endif

START_TEST(several_devices)
{
    const way *w = &WAY(_i);
    way alone = *w;
    alone.stages = NULL;
    alone.discrete = false;
    compare(alone, *w, w->stages[0] != '0' || w->discrete);
}
END_TEST

/* ---- a device fails ---- */

/* Steps of one run, the first `good` of them with all devices; *st stays open. */
static tn_engine *run_until_lost(tn_config **c, tn_stepper **st, const way *w, outcome *o, int good)
{
    tn_error e = {0};
    tn_engine *engine = open_engine(c, w);
    unsigned char *frames = malloc((size_t)BATCH * 3 * IMAGE_W * IMAGE_H);
    float labels[3 * BATCH];
    int rc = 0;
    for (int i = 0; i < engine->team.n_dev && w->discrete; i++) engine->team.dev[i]->info.unified_memory = false;
    must(tn_stepper_new(st, engine, BATCH, take, o, &e), &e);
    for (int i = 0; i < STEPS && !rc; i++) {
        const tn_step_job j = job_of(engine, w, i, frames, labels);
        rc = tn_stepper_step(*st, &j, &e);
        if (i == good) { /* in the midst of the step that has begun, or before it */
            engine->team.dev[0]->cause = (tn_error){.status = TN_ERR_DEVICE, .message = "lost"};
            engine->team.dev[0]->lost = true;
        }
    }
    if (!rc) rc = tn_stepper_drain(*st, &e);
    ck_assert_int_ne(rc, 0);
    free(frames);
    return engine;
}

static const way losing[] = {
    {"vit_qlora_random", "0:embeddings-layer.1,1:layer.2-head", 2, 0, false, false},
    {"vit_qlora_random", "0:embeddings-layer.1,1:layer.2-head", 2, 0, false, true},
    {"vit_qlora_random", "0:embeddings-head@4/2;1:embeddings-head@3/2", 2, 0, false, true},
    {"vit_qlora_random", "1:embeddings-head@4/2;0:embeddings-head@3/2", 2, 0, false, false},
};

/* Bit for bit what the last complete step left, and the optimiser's state with it. */
START_TEST(a_lost_device_loses_nothing)
{
    const way *w = &losing[_i];
    tn_config *c;
    tn_stepper *st;
    tn_rescue r = {0};
    tn_error e = {0};
    outcome o = {0};
    for (int good = 1; good < STEPS; good += 2) {
        tn_engine *engine = run_until_lost(&c, &st, w, &o, good);
        must(tn_stepper_rescue(&r, st, &e), &e);
        ck_assert_int_ge((int)r.steps, good - 1);
        ck_assert_int_le((int)r.steps, good + 1);
        if (r.steps) {
            outcome whole = run(*w, (int)r.steps);
            size_t at = 0;
            ck_assert_mem_eq(&r.state, &whole.state, sizeof r.state);
            for (int i = 0; i < engine->model->n_slots; i++) {
                const tn_slot *s = &engine->model->slots[i];
                const size_t n = (size_t)s->rows * (size_t)s->cols;
                if (!s->trainable) continue;
                ck_assert_msg(!memcmp(r.value[i], whole.params + at, n * sizeof(float)), "%s after %lld steps", s->name, r.steps);
                at += n;
            }
            drop(&whole);
        }
        tn_rescue_free(&r);
        tn_stepper_free(st);
        tn_engine_close(engine);
        tn_config_free(c);
    }
}
END_TEST

int main(void)
{
    setenv("POCL_DEVICES", "pthread pthread pthread pthread", 1);
    return run_tests("team", 300, TESTS(TIMES(several_devices, WAYS), TIMES(a_lost_device_loses_nothing, LOSING)));
}
