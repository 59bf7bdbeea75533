/* A frozen backbone's features, computed once: the same bits as computing them in every step, wherever they lie, without a frame
 * being read again; and when they are not kept. */
#include "files.h"
#include "stepper.h"
#include "small_engine.h"

#include <stdlib.h>
#include <string.h>
#include <tracknet/synth.h>

enum { FRAMES = 7, BATCH = 5, MICRO = 2, EPOCHS = 3, STEPS = EPOCHS * TN_CEIL_DIV(FRAMES, BATCH), MOST = 3 };
static char work[64];

typedef struct {
    tn_config *c;
    tn_engine *e;
    tn_memory m;
} model;

typedef enum { NOWHERE, DEVICE, PIECES, HOST } place; /* PIECES: a buffer for every two frames */

typedef struct {
    place at;
    bool discrete; /* as on a device with memory of its own */
} way;

typedef struct {
    int n;
    double loss[STEPS];
    float *params;
    size_t n_params;
} outcome;

static model open_model(const char *const more[MOST], bool dry, size_t limit)
{
    static const char *const usual[] = {
        "model.pretrained_model_name='" SOURCE_DIR "/configs/backbone/tiny'",
        "data.preprocess.resize=[128,64]",
        "data.preprocess.flip_prob=0",
        "model.heatmap.size=[32,16]",
        "model.decoder.norm=bn",
        "model.decoder.dropout=0.2",
        "model.lora.enabled=false",
        "training.batch_size=5",
        "training.micro_batch_size=2",
    };
    const char *keys[TN_COUNT(usual) + MOST];
    int n = 0, micro;
    model m = {.m = TN_MEMORY_INIT};
    tn_error e = {0};
    const tn_run_options o = {.version = TN_RUN_OPTIONS_VERSION, .device = "cpu", .memory_limit = limit};
    for (size_t i = 0; i < TN_COUNT(usual); i++) keys[n++] = usual[i];
    for (int i = 0; more && i < MOST && more[i]; i++) keys[n++] = more[i];
    m.c = small_config("vit_qlora_random", keys, n);
    must(tn_engine_open(&m.e, tn_config_settings(m.c), &o, true, dry, &e), &e);
    must(tn_engine_fit(m.e, &micro, &m.m, &e), &e);
    return m;
}

static void close_model(model *m)
{
    tn_engine_close(m->e);
    tn_config_free(m->c);
}

/* ---- the same bits ---- */

static int take(void *user, const tn_step_result *r, tn_error *err)
{
    outcome *o = user;
    (void)err;
    ck_assert_int_lt(o->n, STEPS);
    o->loss[o->n++] = r->loss;
    return 0;
}

/* Their memory, and everything in it; afterwards no frame can be read any more. */
static tn_features *compute(const model *m, way w, tn_loader *l, tn_dataset *d)
{
    tn_features *f;
    tn_error e = {0};
    size_t *largest = &m->e->dev->info.largest_allocation;
    const size_t was = *largest;
    const tn_features_plan p = {.frames = d->n, .device = w.at != HOST, .host = w.at == HOST};
    if (w.at == PIECES) *largest = 2 * tn_features_frame_bytes(m->e) + 1;
    must(tn_features_new(&f, m->e, &p, &e), &e);
    *largest = was;
    ck_assert_int_eq(tn_features_on_device(f), w.at != HOST);
    must(tn_features_fill(f, l, MICRO, &e), &e);
    tn_loader_labels_only(l, true);
    for (int i = 0; i < d->n; i++) d->f[i].path[0] = 0;
    return f;
}

static void train(const model *m, tn_stepper *st, tn_loader *l, const tn_features *f)
{
    int order[FRAMES];
    tn_error e = {0};
    tn_step_job j = {.micro = MICRO, .groups = TN_GROUP_HEAD, .features = f, .lr = 1e-2};
    ck_assert_int_eq(tn_engine_groups(m->e), TN_GROUP_HEAD);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        tn_shuffle(order, FRAMES, 3, epoch);
        must(tn_loader_start(l, order, FRAMES, epoch, &e), &e);
        for (;; j.index++) {
            must(tn_loader_next(l, &j.batch, &e), &e);
            if (!j.batch.n) break;
            must(tn_stepper_step(st, &j, &e), &e);
        }
    }
    must(tn_stepper_drain(st, &e), &e);
}

static outcome run_way(way w)
{
    static char game[] = "game1", *games[] = {game};
    outcome o = {0};
    tn_error e = {0};
    tn_dataset d;
    tn_loader *l;
    tn_stepper *st;
    model m = open_model(NULL, false, 0);
    const tn_prep prep = tn_engine_prep(m.e, true);
    if (w.discrete) m.e->dev->info.unified_memory = false;
    must(tn_dataset_read(&d, work, &(tn_strs){games, 1}, "train", true, NULL, &e), &e);
    ck_assert_int_eq(d.n, FRAMES);
    must(tn_loader_new(&l, &d, &prep, BATCH, 2, 2, 0, &e), &e);
    must(tn_stepper_new(&st, m.e, BATCH, take, &o, &e), &e);
    tn_features *f = w.at == NOWHERE ? NULL : compute(&m, w, l, &d);
    train(&m, st, l, f);
    o.params = trained_params(m.e, &o.n_params);
    tn_stepper_free(st);
    tn_features_free(f);
    tn_loader_free(l);
    tn_dataset_free(&d);
    close_model(&m);
    return o;
}

static const way ways[] = {{DEVICE, false}, {DEVICE, true}, {PIECES, false}, {HOST, true}};

START_TEST(kept_features_change_no_bit)
{
    outcome x = run_way((way){NOWHERE, false}), y = run_way(ways[_i]);
    ck_assert_int_eq(x.n, STEPS);
    ck_assert_int_eq(y.n, STEPS);
    for (int i = 0; i < STEPS; i++) ck_assert_msg(x.loss[i] == y.loss[i], "step %d: %.9g, %.9g", i, x.loss[i], y.loss[i]);
    ck_assert(x.loss[0] > 0 && x.loss[0] != x.loss[STEPS - 1]);
    ck_assert_uint_eq(x.n_params, y.n_params);
    ck_assert_mem_eq(x.params, y.params, x.n_params * sizeof(float));
    free(x.params);
    free(y.params);
}
END_TEST

/* ---- when they are kept ---- */

static const struct {
    const char *keys[MOST], *why; /* NULL: they are kept */
} cases[] = {
    {{"training.epochs=2"}, NULL},
    {{"training.epochs=1"}, "one epoch"},
    {{"training.feature_cache=0"}, "feature_cache"},
    {{"training.feature_cache=1"}, NULL},
    {{"data.preprocess.flip_prob=0.5"}, "flip_prob"},
    {{"model.backbone.rope_augment=true"}, "rope_augment"},
    {{"training.limit_train_batches=1"}, "limit_train_batches"},
    {{"model.lora.enabled=true"}, "no epoch"},
    {{"model.lora.enabled=true", "training.backbone_freeze_epochs=2"}, NULL},
    {{"model.lora.enabled=true", "training.backbone_freeze_epochs=2", "training.epochs=1"}, "one epoch"},
};

START_TEST(kept_where_frames_stay_the_same)
{
    tn_features_plan p;
    model m = open_model(cases[_i].keys, true, 0);
    const size_t before = m.m.total;
    tn_features_fit(&p, m.e, FRAMES, &m.m);
    ck_assert_uint_eq(p.bytes, (size_t)FRAMES * 4 * 8 * (size_t)m.e->model->backbone.vit.hidden * sizeof(float));
    if (cases[_i].why) ck_assert_msg(strstr(p.why_not, cases[_i].why) != NULL, "%s", p.why_not);
    ck_assert_int_eq(p.device, !cases[_i].why);
    ck_assert_uint_eq(m.m.total, before + (p.device ? p.bytes : 0));
    close_model(&m);
}
END_TEST

static tn_features_plan fit(size_t limit, bool discrete, int frames, const char *key)
{
    const char *const keys[MOST] = {key};
    tn_features_plan p;
    model m = open_model(keys, true, limit);
    if (discrete) m.e->dev->info.unified_memory = false;
    tn_features_fit(&p, m.e, frames, &m.m);
    close_model(&m);
    return p;
}

START_TEST(kept_where_there_is_room)
{
    model m = open_model(NULL, true, 0);
    const size_t frame = tn_features_frame_bytes(m.e), limit = m.m.total + ((size_t)8 << 20);
    const int mib = (int)(((size_t)1 << 20) / frame), many = 9 * mib;
    close_model(&m);
    ck_assert(fit(limit, false, 7 * mib, "training.feature_cache=7").device);
    ck_assert(!fit(limit, false, 7 * mib, "training.feature_cache=6").device); /* the device's memory is the host's */
    ck_assert(fit(limit, true, 7 * mib, "training.feature_cache=6").device);
    const tn_features_plan host = fit(limit, true, many, "training.feature_cache=9"),
                           none = fit(limit, true, many, "training.feature_cache=8");
    ck_assert(!host.device && host.host && !host.why_not[0]);
    ck_assert(!none.device && !none.host && strstr(none.why_not, "9 MiB"));
}
END_TEST

static int run_here(Suite *s)
{
    tn_error e;
    tn_synth_options draw = TN_SYNTH_OPTIONS_INIT;
    snprintf(work, sizeof work, "/tmp/tracknet-frozen-XXXXXX");
    if (!mkdtemp(work)) return 2;
    draw.out = work;
    draw.clips = 1, draw.frames = FRAMES, draw.width = 128, draw.height = 64;
    const int status = tn_synth(&draw, &e) ? 2 : run_suite(s);
    (void)tn_remove_tree(work, &e);
    return status;
}

int main(void)
{
    Suite *s = suite_create("frozen");
    TCase *t = tcase_create("frozen");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, kept_features_change_no_bit, 0, TN_COUNT(ways));
    tcase_add_loop_test(t, kept_where_frames_stay_the_same, 0, TN_COUNT(cases));
    tcase_add_test(t, kept_where_there_is_room);
    suite_add_tcase(s, t);
    return run_here(s);
}
