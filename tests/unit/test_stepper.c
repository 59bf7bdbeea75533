/* Steps that run ahead of their results: the same bits as a run that waits after each, with memory shared with the host and
 * without; a batch whose rest is a smaller micro-batch; results in order and complete. */
#include "fit.h"
#include "stepper.h"
#include "small_engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGE_W = 128, IMAGE_H = 64, BATCH = 5, STEPS = 6 };

typedef struct {
    tn_config *c;
    tn_engine *e;
} model;

typedef struct {
    bool drain;    /* after every step */
    bool discrete; /* as on a device with memory of its own */
    int micro;
    tn_recompute again;
    uint64_t kept; /* layers of which less is made again */
    bool unpacked; /* weights, as on a GPU */
    bool fails;    /* a step half-way, which is then made again */
} way;

typedef struct {
    int n, late; /* late: the most steps that a result was behind */
    long long given;
    tn_step_result r[STEPS];
    float *params;
    size_t n_params;
} outcome;

static model open_model(void)
{
    static const char *const keys[] = {
        "model.pretrained_model_name='" SOURCE_DIR "/configs/backbone/tiny'",
        "data.preprocess.resize=[128,64]",
        "model.heatmap.size=[32,16]",
        "model.decoder.norm=bn",
        "model.lora.lora_dropout=0.1",
        "training.grad_clip_norm=0.5",
        "training.seed=7",
    };
    model m = {0};
    tn_error e = {0};
    const tn_run_options o = {.version = TN_RUN_OPTIONS_VERSION, .device = "cpu"};
    m.c = small_config("vit_qlora_random", keys, TN_COUNT(keys));
    must(tn_engine_open(&m.e, tn_config_settings(m.c), &o, true, false, &e), &e);
    return m;
}

static int take(void *user, const tn_step_result *r, tn_error *err)
{
    outcome *o = user;
    (void)err;
    ck_assert_int_lt(o->n, STEPS);
    o->r[o->n++] = *r;
    o->late = TN_MAX(o->late, (int)(o->given - r->index));
    return 0;
}

/* Batches that differ: other frames, other balls, the last of each unseen. */
static tn_step_job job_of(int step, int micro, int groups, unsigned char *frames, float *labels)
{
    tn_rng r = tn_rng_named((uint32_t)step, "frames");
    for (size_t i = 0; i < (size_t)BATCH * 3 * IMAGE_W * IMAGE_H; i++) frames[i] = (unsigned char)(256 * tn_rng_uniform(&r));
    for (int i = 0; i < BATCH; i++) {
        labels[3 * i] = (float)(32 * tn_rng_uniform(&r));
        labels[3 * i + 1] = (float)(16 * tn_rng_uniform(&r));
        labels[3 * i + 2] = i != BATCH - 1;
    }
    return (tn_step_job){
        .index = step, .batch = {.frames = frames, .labels = labels, .n = BATCH}, .micro = micro, .groups = groups, .lr = 1e-2};
}

/* What the plan says of a device that is no CPU, and the copies it decides on. */
static tn_memory unpack(model *m, int micro)
{
    tn_error e = {0};
    tn_memory planned = TN_MEMORY_INIT;
    m->e->unpacks_on_cpus = true;
    must(tn_engine_memory(m->e, micro, &planned, &e), &e);
    must(tn_engine_unpack(m->e, micro, &e), &e);
    return planned;
}

/* Of all that is trained, the sum of the gradients' absolute values. */
static double gradients(const model *m)
{
    double sum = 0;
    tn_error e = {0};
    tn_store *st = m->e->session->store;
    float *g = malloc(sizeof *g * st->n_params);
    must(tn_buffer_read(st->grads, 0, g, sizeof *g * st->n_params, &e), &e);
    for (size_t i = 0; i < st->n_params; i++) sum += fabs(g[i]);
    free(g);
    return sum;
}

static int refuse(void *user, tn_exec *x, tn_error *err)
{
    (void)user;
    (void)x;
    return tn_fail(err, TN_ERR_DEVICE, "as the test asks");
}

/* All of its passes but the last. */
static void fail_half_way(tn_stepper *st, const model *m, const tn_step_job *j)
{
    tn_error e = {0};
    must(tn_stepper_drain(st, &e), &e);
    tn_stepper_join(st, &(tn_step_others){.play = refuse});
    ck_assert_int_eq(tn_stepper_step(st, j, &e), TN_ERR_DEVICE);
    tn_stepper_join(st, &(tn_step_others){0});
    must(tn_stepper_drain(st, &e), &e);
    ck_assert(gradients(m) > 0);
}

static outcome run_way(way w)
{
    outcome o = {0};
    tn_error e = {0};
    tn_stepper *st;
    model m = open_model();
    unsigned char *frames = malloc((size_t)BATCH * 3 * IMAGE_W * IMAGE_H);
    float labels[3 * BATCH];
    if (w.discrete) m.e->dev->info.unified_memory = false;
    m.e->recompute = w.again, m.e->layers_kept = w.kept;
    if (w.unpacked) unpack(&m, w.micro);
    ck_assert(m.e->session->store->unpacked == w.unpacked);
    must(tn_stepper_new(&st, m.e, BATCH, take, &o, &e), &e);
    for (int i = 0; i < STEPS; i++) {
        const tn_step_job j = job_of(i, w.micro, tn_engine_groups(m.e), frames, labels);
        o.given = i;
        if (w.fails && i == STEPS / 2) fail_half_way(st, &m, &j);
        must(tn_stepper_step(st, &j, &e), &e);
        memset(frames, 0xee, (size_t)BATCH * 3 * IMAGE_W * IMAGE_H); /* the batch was copied */
        for (int k = 0; k < 3 * BATCH; k++) labels[k] = NAN;
        if (w.drain) must(tn_stepper_drain(st, &e), &e);
    }
    must(tn_stepper_drain(st, &e), &e);
    ck_assert(gradients(&m) == 0);
    o.params = trained_params(m.e, &o.n_params);
    tn_stepper_free(st);
    tn_engine_close(m.e);
    tn_config_free(m.c);
    free(frames);
    return o;
}

static void same_results(const outcome *a, const outcome *b)
{
    ck_assert_int_eq(a->n, STEPS);
    ck_assert_int_eq(b->n, STEPS);
    for (int i = 0; i < STEPS; i++) {
        ck_assert_int_eq(a->r[i].index, i);
        ck_assert_int_eq(b->r[i].index, i);
        ck_assert_int_eq(a->r[i].images, BATCH);
        ck_assert(a->r[i].loss == b->r[i].loss && a->r[i].loss > 0);
        ck_assert_mem_eq(&a->r[i].optim, &b->r[i].optim, sizeof a->r[i].optim);
    }
}

static void same(const outcome *a, const outcome *b)
{
    same_results(a, b);
    ck_assert_uint_eq(a->n_params, b->n_params);
    ck_assert_mem_eq(a->params, b->params, a->n_params * sizeof(float));
}

static void compare(way a, way b, bool late)
{
    outcome x = run_way(a), y = run_way(b);
    same(&x, &y);
    ck_assert_int_eq(x.late, 0);
    if (late) ck_assert_int_eq(y.late, 2);
    ck_assert(x.r[0].loss != x.r[STEPS - 1].loss); /* the steps did something */
    free(x.params);
    free(y.params);
}

START_TEST(running_ahead_changes_no_bit)
{
    compare((way){.drain = true, .micro = 2}, (way){.micro = 2}, true);
}
END_TEST

START_TEST(a_device_with_memory_of_its_own_changes_no_bit)
{
    compare((way){.drain = true, .micro = 2}, (way){.micro = 2, .discrete = true}, true);
    compare((way){.drain = true, .micro = BATCH}, (way){.micro = BATCH, .discrete = true}, true);
}
END_TEST

/* But what its passes did to the running statistics. */
START_TEST(a_step_that_failed_leaves_nothing_to_the_next)
{
    outcome x = run_way((way){.micro = 2}), y = run_way((way){.micro = 2, .fails = true});
    same_results(&x, &y);
    free(x.params);
    free(y.params);
}
END_TEST

/* Whatever it trains, and also where it changes nothing else. */
START_TEST(a_step_leaves_its_gradients_zero)
{
    tn_error e = {0};
    outcome o = {0};
    tn_stepper *st;
    model m = open_model();
    unsigned char *frames = malloc((size_t)BATCH * 3 * IMAGE_W * IMAGE_H);
    float labels[3 * BATCH];
    must(tn_stepper_new(&st, m.e, BATCH, take, &o, &e), &e);
    for (int i = 0; i < 4; i++) {
        const bool finite = i % 2 == 0;
        const tn_step_job j = job_of(i, 2, i < 2 ? TN_GROUP_HEAD : tn_engine_groups(m.e), frames, labels);
        if (!finite) labels[0] = NAN;
        must(tn_stepper_step(st, &j, &e), &e);
        must(tn_stepper_drain(st, &e), &e);
        ck_assert_uint_eq(o.r[i].optim.finite, finite);
        ck_assert(gradients(&m) == 0);
    }
    ck_assert_uint_eq(o.r[3].optim.skipped, 2);
    tn_stepper_free(st);
    tn_engine_close(m.e);
    tn_config_free(m.c);
    free(frames);
}
END_TEST

/* The same sums in another order, and running statistics of other parts: near, not equal. */
START_TEST(micro_batches_add_up)
{
    outcome x = run_way((way){.micro = BATCH}), y = run_way((way){.micro = 2});
    ck_assert_double_lt(fabs(x.r[0].loss - y.r[0].loss), 0.2 * x.r[0].loss); /* BatchNorm sees smaller batches */
    ck_assert_uint_eq(y.r[STEPS - 1].optim.steps[0], STEPS);
    free(x.params);
    free(y.params);
}
END_TEST

/* What a pass keeps and what it makes again are the same numbers. */
START_TEST(what_is_kept_changes_no_bit)
{
    outcome all = run_way((way){.micro = BATCH});
    for (uint64_t kept = 0; kept < 16; kept += 5)
        for (int r = TN_RECOMPUTE_ACTIVATED; r <= TN_RECOMPUTE_ALL; r++) {
            outcome some = run_way((way){.micro = BATCH, .again = (tn_recompute)r, .kept = kept});
            same(&all, &some);
            free(some.params);
        }
    free(all.params);
}
END_TEST

/* Other kernels may multiply with them, in another order. */
START_TEST(unpacked_weights_are_the_same_weights)
{
    outcome x = run_way((way){.micro = 2}), y = run_way((way){.micro = 2, .unpacked = true});
    for (int i = 0; i < STEPS; i++) ck_assert_double_eq_tol(x.r[i].loss, y.r[i].loss, 1e-6 * x.r[i].loss);
    free(x.params);
    free(y.params);
}
END_TEST

static int quantised_slot(const tn_store *s)
{
    int i = 0;
    while (s->s[i].place != TN_PLACE_QUANT) i++;
    return i;
}

/* They are planned; where memory is short there are none; a matrix that is set makes them stale. */
START_TEST(weights_are_unpacked_where_there_is_room)
{
    tn_error e = {0};
    for (int k = 0; k < 2; k++) {
        model m = open_model();
        tn_store *s = m.e->session->store;
        tn_memory plain = TN_MEMORY_INIT;
        must(tn_engine_memory(m.e, 2, &plain, &e), &e);
        if (k) m.e->dev->memory_limit = plain.total + 4 * s->merged_bytes - 1;
        const tn_memory planned = unpack(&m, 2);
        ck_assert_uint_eq(planned.total, plain.total + (k ? 0 : s->merged_bytes));
        ck_assert(s->unpacked == !k && s->merged_bytes > 0);
        const int slot = quantised_slot(s);
        float *v = malloc(sizeof *v * (size_t)m.e->model->slots[slot].rows * (size_t)m.e->model->slots[slot].cols);
        must(tn_store_get(s, slot, v, &e), &e);
        must(tn_store_set(s, slot, v, &e), &e);
        ck_assert(!s->unpacked);
        free(v);
        tn_engine_close(m.e);
        tn_config_free(m.c);
    }
}
END_TEST

/* Layers times levels that are kept. */
static int levels_kept(const model *m)
{
    int n = 0;
    for (int i = 0; i < m->e->model->backbone.layers; i++) {
        const tn_recompute r = m->e->recompute;
        n += TN_RECOMPUTE_ALL - (int)(m->e->layers_kept >> i & 1 ? tn_recompute_less(r) : r);
    }
    return n;
}

/* Each byte less than a run takes makes it keep less, then cut the batch up; in the end the error names what it takes. */
START_TEST(memory_decides_what_is_kept)
{
    model m = open_model();
    const int layers = m.e->model->backbone.layers, batch = m.e->s->training.batch_size;
    tn_memory now = TN_MEMORY_INIT, last = TN_MEMORY_INIT;
    tn_error e = {0};
    char least[64];
    unsigned seen = 0;
    int micro = 0, smaller, kept = layers * TN_RECOMPUTE_ALL, steps = 0;
    must(tn_engine_fit(m.e, &micro, &last, &e), &e);
    ck_assert(!m.e->recompute && micro == batch && !m.e->most);
    for (;; steps++, micro = smaller, kept = levels_kept(&m), last = now) {
        m.e->dev->memory_limit = last.total - 1;
        if (tn_engine_fit(m.e, &smaller, &now, &e)) break;
        ck_assert_uint_lt(now.total, last.total);
        ck_assert(smaller < micro || (smaller == micro && levels_kept(&m) < kept));
        ck_assert_int_eq(m.e->most, smaller < batch ? smaller : 0);
        if (!steps)
            ck_assert(m.e->recompute == TN_RECOMPUTE_ACTIVATED && m.e->layers_kept == (1u << layers) - 2); /* but the first */
        seen |= 1u << m.e->recompute;
    }
    ck_assert_int_gt(steps, layers);
    ck_assert_uint_eq(seen, 1u << TN_RECOMPUTE_ACTIVATED | 1u << TN_RECOMPUTE_PRODUCTS | 1u << TN_RECOMPUTE_ALL);
    ck_assert_int_eq(micro, 1);
    snprintf(least, sizeof least, "at least %zu MiB", TN_CEIL_DIV(last.total, (size_t)1 << 20));
    ck_assert_msg(strstr(e.message, least) != NULL, "%s: %s", e.message, least);
    m.e->dev->memory_limit = 0;
    tn_engine_close(m.e);
    tn_config_free(m.c);
}
END_TEST

int main(void)
{
    return run_tests("stepper", 300,
                     TESTS(ONCE(running_ahead_changes_no_bit), ONCE(a_device_with_memory_of_its_own_changes_no_bit),
                           ONCE(a_step_that_failed_leaves_nothing_to_the_next), ONCE(a_step_leaves_its_gradients_zero),
                           ONCE(micro_batches_add_up), ONCE(what_is_kept_changes_no_bit),
                           ONCE(unpacked_weights_are_the_same_weights), ONCE(weights_are_unpacked_where_there_is_room),
                           ONCE(memory_decides_what_is_kept)));
}
