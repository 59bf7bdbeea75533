/* The public interface as an application meets it: no crash on what cannot be, one sentence for each; settings of any text;
 * progress, and cancelling in every phase. */
#include "dev.h"
#include "machine.h"
#include "tiny.h"

#include <math.h>

/* ---- what cannot be ---- */

START_TEST(settings_and_devices_refuse_nothing)
{
    int *indices, n;
    tn_config *c = tiny("x", 1), *other;
    char *text;
    tn_device_info **list;
    const char *none[] = {NULL};
    tn_config_source hollow = TN_CONFIG_SOURCE_INIT;
    hollow.overrides = none, hollow.n_overrides = 1;
    REFUSES(tn_config_load(NULL, NULL, NULL));
    REFUSES(tn_config_load(&other, &hollow, NULL));
    REFUSES(tn_config_copy(&other, NULL, NULL));
    REFUSES(tn_config_copy(NULL, c, NULL));
    REFUSES(tn_config_set(NULL, "a=b", NULL));
    REFUSES(tn_config_set(c, NULL, NULL));
    REFUSES(tn_config_set_str(NULL, "data.root", "x", NULL));
    REFUSES(tn_config_set_int(c, NULL, 1, NULL));
    REFUSES(tn_config_set_list(c, "data.split.train_games", NULL, 1, NULL));
    REFUSES(tn_config_set_list(c, "data.split.train_games", none, 1, NULL));
    REFUSES(tn_config_set_ints(c, "data.preprocess.resize", NULL, 2, NULL));
    REFUSES(tn_config_get_str(NULL, "data.root", &(const char *){NULL}, NULL));
    REFUSES(tn_config_get_bool(c, "data.root", NULL, NULL));
    REFUSES(tn_config_dump(NULL, &text, NULL));
    REFUSES(tn_config_dump(c, NULL, NULL));
    REFUSES(tn_device_list(NULL, NULL, NULL));
    REFUSES(tn_device_list(&list, NULL, NULL));
    REFUSES(tn_device_select(NULL, NULL, NULL));
    REFUSES(tn_device_select_list(NULL, &n, NULL, "all", NULL));
    REFUSES(tn_device_select_list(&indices, NULL, NULL, "all", NULL));
    ck_assert_int_eq(tn_device_self_test(-1, NULL, NULL, 0, NULL), TN_ERR_DEVICE);
    ck_assert_int_eq(tn_device_tune(99, NULL, NULL, NULL), TN_ERR_DEVICE);
    REFUSES(tn_checkpoint_config(NULL, "x", NULL, 0, NULL, NULL));
    REFUSES(tn_checkpoint_config(&other, NULL, NULL, 0, NULL, NULL));
    ck_assert_int_eq(tn_checkpoint_config(&other, "/nowhere", NULL, 0, NULL, NULL), TN_ERR_IO);
    tn_config_free(NULL);
    tn_device_list_free(NULL);
    tn_config_free(c);
}
END_TEST

START_TEST(runs_and_models_refuse_nothing)
{
    tn_config *c = tiny("x", 1);
    tn_eval_result r = TN_EVAL_RESULT_INIT;
    tn_memory memory = TN_MEMORY_INIT;
    tn_model_handle *m;
    tn_predict_options p = TN_PREDICT_OPTIONS_INIT;
    REFUSES(tn_train(NULL, NULL, NULL, NULL, NULL));
    REFUSES(tn_plan_memory(NULL, NULL, &memory, NULL));
    REFUSES(tn_plan_memory(c, NULL, NULL, NULL));
    REFUSES(tn_eval(NULL, NULL, "val", &r, NULL));
    REFUSES(tn_eval(c, NULL, NULL, &r, NULL));
    REFUSES(tn_eval(c, NULL, "val", NULL, NULL));
    REFUSES(tn_eval(c, NULL, "test", &r, NULL));
    REFUSES(tn_predict(NULL, NULL, &p, NULL));
    REFUSES(tn_predict(c, NULL, NULL, NULL));
    ck_assert_int_eq(tn_predict(c, NULL, &p, NULL), TN_ERR_IO); /* no frames */
    p.n_images = 1;
    REFUSES(tn_predict(c, NULL, &p, NULL));
    REFUSES(tn_model_open(NULL, NULL, NULL, NULL));
    REFUSES(tn_model_open(&m, NULL, NULL, NULL));
    ck_assert_ptr_null(m);
    REFUSES(tn_model_predict(NULL, NULL, 1, NULL, NULL, NULL));
    REFUSES(tn_model_use_adapter(NULL, 0, NULL));
    REFUSES(tn_model_describe(NULL, NULL, NULL));
    tn_model_close(NULL);
    tn_config_free(c);
}
END_TEST

START_TEST(conversions_refuse_nothing)
{
    tn_config *c = tiny("x", 1);
    char *text;
    tn_quantize_options q = TN_QUANTIZE_OPTIONS_INIT;
    tn_adapter_convert a = TN_ADAPTER_CONVERT_INIT;
    tn_export_options x = TN_EXPORT_OPTIONS_INIT;
    tn_synth_options s = TN_SYNTH_OPTIONS_INIT;
    REFUSES(tn_quantize_checkpoint(NULL, NULL));
    REFUSES(tn_quantize_checkpoint(&q, NULL));
    REFUSES(tn_merge_adapter(NULL, NULL, NULL));
    REFUSES(tn_merge_adapter(NULL, &q, NULL));
    q.in = q.out = "x", q.n_skip = 1;
    REFUSES(tn_quantize_checkpoint(&q, NULL));
    REFUSES(tn_adapter_describe(NULL, &text, NULL));
    REFUSES(tn_adapter_describe("x", NULL, NULL));
    REFUSES(tn_convert_adapter(NULL, NULL));
    REFUSES(tn_convert_adapter(&a, NULL));
    REFUSES(tn_import(NULL, NULL, "in", "out", NULL));
    REFUSES(tn_import(c, NULL, NULL, NULL, NULL));
    REFUSES(tn_export(NULL, NULL, &x, NULL));
    REFUSES(tn_export(c, NULL, NULL, NULL));
    REFUSES(tn_export(c, NULL, &x, NULL));
    REFUSES(tn_synth(NULL, NULL));
    REFUSES(tn_synth(&s, NULL));
    tn_config_free(c);
}
END_TEST

START_TEST(failures_deep_inside_need_no_error_either)
{
    tn_config *c = tiny("x", 1);
    tn_memory m = TN_MEMORY_INIT;
    tn_run_options o = on_cpu();
    ck_assert_int_eq(tn_config_set_str(c, "model.pretrained_model_name", "/nowhere", NULL), 0);
    ck_assert_int_eq(tn_plan_memory(c, &o, &m, NULL), TN_ERR_IO);
    ck_assert_int_eq(tn_train(c, &o, NULL, NULL, NULL), TN_ERR_IO);
    ck_assert_int_eq(tn_config_set(c, "training.optimizer.lrr=1", NULL), TN_ERR_CONFIG);
    ck_assert_int_eq(tn_adapter_describe("/nowhere", &(char *){NULL}, NULL), TN_ERR_IO);
    o.adapters = (const char *const[]){NULL};
    o.n_adapters = 1;
    REFUSES(tn_plan_memory(c, &o, &m, NULL));
    tn_config_free(c);
}
END_TEST

/* struct = {.field = ...} is what people write. */
START_TEST(a_struct_of_version_0_is_of_the_first)
{
    tn_error e;
    tn_config *c = tiny("zero", 1);
    must(tn_plan_memory(c, &(tn_run_options){.device = "cpu"}, &(tn_memory){0}, &e), &e);
    tn_config_free(c);
}
END_TEST

START_TEST(structs_of_another_version_are_refused)
{
    tn_error e;
    tn_config *c = tiny("x", 1);
    tn_run_options o = {.version = 99};
    tn_train_callbacks cb = {.version = 99};
    tn_train_summary sum = {.version = 99};
    tn_eval_result r = {.version = 99};
    tn_memory m = {.version = 2};
    tn_config_source s = {.version = 99};
    REFUSES(tn_train(c, &o, NULL, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.message, "tn_run_options"));
    ck_assert_ptr_nonnull(strstr(e.message, "INIT"));
    o = on_cpu();
    REFUSES(tn_train(c, &o, &cb, NULL, &e));
    REFUSES(tn_train(c, &o, NULL, &sum, &e));
    REFUSES(tn_eval(c, &o, "val", &r, &e));
    REFUSES(tn_plan_memory(c, &o, &m, &e));
    REFUSES(tn_config_load(&(tn_config *){NULL}, &s, &e));
    REFUSES(tn_predict(c, &o, &(tn_predict_options){.version = 99}, &e));
    REFUSES(tn_quantize_checkpoint(&(tn_quantize_options){.version = 99}, &e));
    REFUSES(tn_convert_adapter(&(tn_adapter_convert){.version = 99}, &e));
    REFUSES(tn_export(c, &o, &(tn_export_options){.version = 99}, &e));
    REFUSES(tn_synth(&(tn_synth_options){.version = 99}, &e));
    ck_assert_int_eq(TN_VERSION_NUMBER, 10000 * TN_VERSION_MAJOR + 100 * TN_VERSION_MINOR + TN_VERSION_PATCH);
    ck_assert_str_eq(tn_version(), TN_VERSION_STRING);
    tn_config_free(c);
}
END_TEST

START_TEST(an_opencl_failure_brings_its_code)
{
    tn_error e;
    tn_dev *d;
    tn_buffer *b;
    int cpu;
    must(tn_device_select(&cpu, "cpu", &e), &e);
    must(tn_dev_open(&d, cpu, NULL, &e), &e);
    ck_assert_int_eq(tn_buffer_new(&b, d, (size_t)1 << 50, "a test", &e), TN_ERR_MEMORY);
    ck_assert_int_lt(e.opencl, 0);
    ck_assert_int_eq(tn_fail_in(&e, "somewhere"), TN_ERR_MEMORY);
    ck_assert_int_lt(e.opencl, 0);
    tn_dev_close(d);
    ck_assert_int_eq(tn_device_select(&cpu, "no such device", &e), TN_ERR_DEVICE);
    ck_assert_int_eq(e.opencl, 0);
}
END_TEST

/* ---- settings ---- */

START_TEST(settings_take_any_text)
{
    static const char *const nasty[] = {"it's # not: [a] {list}", "null",       "~",    "7", "true",
                                        " two  spaces ",          "\"quoted\"", "a\\b", ""};
    tn_error e;
    tn_config *c = tiny("x", 1), *copy;
    for (size_t i = 0; i < sizeof nasty / sizeof *nasty; i++) {
        const char *got;
        must(tn_config_set_str(c, "training.output_dir", nasty[i], &e), &e);
        must(tn_config_copy(&copy, c, &e), &e);
        must(tn_config_get_str(copy, "training.output_dir", &got, &e), &e);
        ck_assert_str_eq(got, nasty[i]);
        tn_config_free(copy);
    }
    long long n;
    double lr;
    bool b;
    must(tn_config_set_real(c, "training.optimizer.lr", 1e-4, &e), &e);
    must(tn_config_set_bool(c, "model.lora.use_rslora", true, &e), &e);
    must(tn_config_set_list(c, "model.quantization.skip_modules", nasty, 3, &e), &e);
    must(tn_config_set_int(c, "training.lora.r", 4, &e), &e); /* where the Python project keeps it */
    must(tn_config_get_int(c, "model.lora.r", &n, &e), &e);
    must(tn_config_get_real(c, "training.optimizer.lr", &lr, &e), &e);
    must(tn_config_get_bool(c, "model.lora.use_rslora", &b, &e), &e);
    ck_assert(n == 4 && lr == 1e-4 && b);
    must(tn_config_set_int(c, "model.lora.r", 6, &e), &e); /* the last word counts, wherever it was said before */
    must(tn_config_get_int(c, "model.lora.r", &n, &e), &e);
    ck_assert_int_eq(n, 6);
    tn_config_free(c);
}
END_TEST

START_TEST(a_setting_stands_or_falls_whole)
{
    tn_error e;
    tn_config *c = tiny("x", 1);
    char *before, *after;
    long long n;
    must(tn_config_dump(c, &before, &e), &e);
    ck_assert_int_eq(tn_config_set_str(c, "training.optimizer.lr", "0.1", &e), TN_ERR_CONFIG); /* text is no number */
    ck_assert_int_eq(tn_config_set_real(c, "training.optimizer.lr", NAN, &e), TN_ERR_CONFIG);
    ck_assert_int_eq(tn_config_set_int(c, "model.lora.lora_alpha", 0, &e), TN_ERR_CONFIG);
    ck_assert_int_eq(tn_config_set_int(c, "model.quantization.block_size", 3, &e), TN_ERR_CONFIG);
    ck_assert_int_eq(tn_config_set_int(c, "training.epoch", 3, &e), TN_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(e.message, "did you mean 'training.epochs'"));
    ck_assert_int_eq(tn_config_set(c, "training.epochs=-1", &e), TN_ERR_CONFIG);
    ck_assert_int_eq(tn_config_get_int(c, "training.optimizer.lr", &n, &e), TN_ERR_CONFIG);
    must(tn_config_dump(c, &after, &e), &e);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    tn_config_free(c);
}
END_TEST

/* ---- progress ---- */

typedef struct {
    int seen[TN_PHASE_BUILDING + 1], stop; /* stop: the phase to stop in, or -1 */
} watcher;

static int look(void *user, const tn_progress *p)
{
    watcher *w = user;
    ck_assert_ptr_nonnull(p->what);
    ck_assert(p->done >= 0 && (!p->total || p->done <= p->total));
    w->seen[p->phase]++;
    return (int)p->phase == w->stop;
}

/* Runs one long call, watched. */
typedef int action(watcher *w, tn_error *e);

static tn_run_options watched(watcher *w)
{
    tn_run_options o = on_cpu();
    o.progress = look, o.user = w;
    return o;
}

static int do_train(watcher *w, tn_error *e)
{
    tn_train_summary sum = TN_TRAIN_SUMMARY_INIT;
    tn_run_options o = watched(w);
    o.overwrite = true;
    tn_config *c = tiny("watched", 3);
    int rc = tn_train(c, &o, NULL, &sum, e);
    if (w->stop == TN_PHASE_TRAINING) ck_assert(sum.parameters > 0 && sum.first_loss > 0 && !sum.epochs_run);
    tn_config_free(c);
    return rc;
}

/* The decoder alone, on frames that stay the same. */
static int do_freeze(watcher *w, tn_error *e)
{
    tn_run_options o = watched(w);
    o.overwrite = true;
    tn_config *c = tiny("frozen", 3);
    must(tn_config_set(c, "model.lora.enabled=false", e), e);
    must(tn_config_set(c, "data.preprocess.flip_prob=0", e), e);
    const int rc = tn_train(c, &o, NULL, NULL, e);
    tn_config_free(c);
    return rc;
}

static int do_predict(watcher *w, tn_error *e)
{
    tn_run_options o = watched(w);
    const char *images[] = {in_work("data/game1/Clip1")};
    tn_predict_options p = TN_PREDICT_OPTIONS_INIT;
    p.images = images, p.n_images = 1;
    o.checkpoint = trained("a", 1);
    tn_config *c = tiny("x", 1);
    int rc = tn_predict(c, &o, &p, e);
    tn_config_free(c);
    return rc;
}

static int do_export(watcher *w, tn_error *e)
{
    tn_run_options o = watched(w);
    tn_export_options x = TN_EXPORT_OPTIONS_INIT;
    x.out = in_work("model.onnx");
    o.checkpoint = trained("a", 1);
    tn_config *c = tiny("x", 1);
    int rc = tn_export(c, &o, &x, e);
    tn_config_free(c);
    ck_assert_int_eq(rc != 0, access(x.out, R_OK) != 0);
    unlink(x.out);
    return rc;
}

/* The backbone that full training leaves is a checkpoint to quantise. */
static const char *backbone(void)
{
    const char *dir = in_work("full/last/backbone");
    if (!access(dir, R_OK)) return dir;
    tn_error e;
    const tn_run_options o = on_cpu();
    tn_config *c = tiny("full", 1);
    must(tn_config_set_bool(c, "model.quantization.enabled", false, &e), &e);
    must(tn_config_set_bool(c, "model.lora.enabled", false, &e), &e);
    must(tn_config_set_bool(c, "model.backbone.freeze", false, &e), &e);
    must(tn_train(c, &o, NULL, NULL, &e), &e);
    tn_config_free(c);
    return in_work("full/last/backbone");
}

static int do_quantize(watcher *w, tn_error *e)
{
    tn_quantize_options q = TN_QUANTIZE_OPTIONS_INIT;
    q.in = backbone(), q.out = in_work("quantised"), q.double_quant = true, q.progress = look, q.user = w;
    int rc = tn_quantize_checkpoint(&q, e);
    ck_assert_int_eq(rc != 0, access(q.out, R_OK) != 0);
    return rc;
}

static int do_merge(watcher *w, tn_error *e)
{
    tn_quantize_options q = TN_QUANTIZE_OPTIONS_INIT;
    const char *adapter = trained("a", 1);
    q.in = backbone(), q.out = in_work("merged"), q.progress = look, q.user = w;
    return tn_merge_adapter(adapter, &q, e);
}

static int do_synth(watcher *w, tn_error *e)
{
    tn_synth_options s = TN_SYNTH_OPTIONS_INIT;
    s.out = in_work("drawn"), s.clips = 1, s.frames = 2, s.width = W, s.height = H, s.progress = look, s.user = w;
    return tn_synth(&s, e);
}

static int open_with(watcher *w, const char *cache, const char *helper, tn_error *e)
{
    tn_model_handle *m = NULL;
    tn_run_options o = watched(w);
    o.checkpoint = trained("a", 1);
    o.cache = cache;
    o.helper = helper;
    int rc = tn_model_open(&m, NULL, &o, e);
    static const uint8_t black[3 * W * H];
    const tn_rgb f = {black, W, H, 0};
    tn_ball ball;
    if (!rc) rc = tn_model_predict(m, &f, 1, &ball, NULL, e);
    if (rc && m) { /* the handle is as good as before */
        w->stop = -1;
        must(tn_model_predict(m, &f, 1, &ball, NULL, e), e);
    }
    tn_model_close(m);
    return rc;
}

/* Without a cache, so that kernels are checked. */
static int do_open(watcher *w, tn_error *e)
{
    return open_with(w, "off", NULL, e);
}

/* A helper that leaves at once has built nothing, and nothing is missing. */
static int do_build(watcher *w, tn_error *e)
{
    static int times;
    char cache[32];
    snprintf(cache, sizeof cache, "built ahead %d", times++);
    return open_with(w, in_work(cache), "/bin/false", e);
}

static const struct {
    action *run;
    tn_phase phase;
} phases[] = {
    {do_train, TN_PHASE_OPENING},       {do_train, TN_PHASE_LOADING},      {do_train, TN_PHASE_TRAINING},
    {do_train, TN_PHASE_VALIDATING},    {do_predict, TN_PHASE_PREDICTING}, {do_export, TN_PHASE_EXPORTING},
    {do_quantize, TN_PHASE_QUANTIZING}, {do_merge, TN_PHASE_MERGING},      {do_synth, TN_PHASE_DRAWING},
    {do_open, TN_PHASE_TUNING},         {do_freeze, TN_PHASE_FEATURES},    {do_build, TN_PHASE_BUILDING},
};

START_TEST(every_phase_is_told_and_can_be_stopped)
{
    tn_error e;
    watcher w = {.stop = (int)phases[_i].phase};
    if (phases[_i].phase == TN_PHASE_BUILDING && tn_processors() < 2) return; /* one core builds no faster by two */
    ck_assert_int_eq(phases[_i].run(&w, &e), TN_ERR_CANCELLED);
    ck_assert_int_eq(e.status, TN_ERR_CANCELLED);
    ck_assert_ptr_nonnull(strstr(e.message, "stopped while"));
    w = (watcher){.stop = -1};
    if (phases[_i].phase == TN_PHASE_TUNING) return; /* once is slow enough */
    must(phases[_i].run(&w, &e), &e);
    ck_assert_int_gt(w.seen[phases[_i].phase], 1 - (phases[_i].phase == TN_PHASE_OPENING));
}
END_TEST

static int stop_at_once(void *user, const tn_step *s)
{
    (void)user;
    return s->step == 1;
}

START_TEST(a_callback_that_stops_training_cancels_it)
{
    tn_error e;
    const tn_run_options o = on_cpu();
    tn_train_callbacks cb = TN_TRAIN_CALLBACKS_INIT;
    cb.step = stop_at_once;
    tn_config *c = tiny("stopped", 3);
    ck_assert_int_eq(tn_train(c, &o, &cb, NULL, &e), TN_ERR_CANCELLED);
    tn_config_free(c);
}
END_TEST

/* Wherever ours is to be, PoCL finds what it has compiled before: it would take most of a minute anew. */
static void keep_pocls_cache(void)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char dir[1024];
    if (xdg && *xdg) snprintf(dir, sizeof dir, "%s/pocl/kcache", xdg);
    else snprintf(dir, sizeof dir, "%s/.cache/pocl/kcache", home ? home : "/tmp");
    setenv("POCL_CACHE_DIR", dir, 0);
}

START_TEST(the_cache_is_where_it_was_asked_for)
{
    tn_error e;
    tn_run_options o = on_cpu();
    keep_pocls_cache();
    tn_config *c = tiny("cached", 1);
    setenv("XDG_CACHE_HOME", in_work("xdg"), 1);
    setenv("TRACKNET_CACHE", in_work("never"), 1); /* the library reads no such variable */
    setenv("TRACKNET_GEMM", "nonsense", 1);
    o.variants = "gemm=portable";
    o.cache = in_work("kernels");
    must(tn_train(c, &o, NULL, NULL, &e), &e);
    ck_assert_int_eq(access(in_work("kernels"), R_OK), 0);
    ck_assert_int_ne(access(in_work("xdg/tracknet"), R_OK), 0);
    ck_assert_int_ne(access(in_work("never"), R_OK), 0);
    tn_config_free(c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("api");
    add_tests(s, "arguments", 120,
              TESTS(ONCE(settings_and_devices_refuse_nothing), ONCE(runs_and_models_refuse_nothing),
                    ONCE(conversions_refuse_nothing), ONCE(failures_deep_inside_need_no_error_either),
                    ONCE(a_struct_of_version_0_is_of_the_first), ONCE(structs_of_another_version_are_refused),
                    ONCE(an_opencl_failure_brings_its_code), ONCE(settings_take_any_text), ONCE(a_setting_stands_or_falls_whole)));
    add_tests(s, "progress", 300,
              TESTS(TIMES(every_phase_is_told_and_can_be_stopped, sizeof phases / sizeof *phases),
                    ONCE(a_callback_that_stops_training_cancels_it), ONCE(the_cache_is_where_it_was_asked_for)));
    return run_in_folder(s);
}
