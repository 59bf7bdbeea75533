/* tn-locale DATA OUT: a program with a localised user interface that trains, predicts and describes through the library, in a
 * thread of its own too. Prints what must be the same in every locale; ends with 1 when the library fails, 3 when a callback or
 * the program behind a call finds another locale than it set. */
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tracknet/tracknet.h>

static int wrong; /* calls that met another locale */
static char half[8];

static void look(void)
{
    char now[8];
    snprintf(now, sizeof now, "%.1f", 0.5);
    wrong += strcmp(now, half) != 0;
}

static void on_log(void *user, tn_log_level level, const char *line)
{
    look();
}

static int on_progress(void *user, const tn_progress *p)
{
    look();
    return 0;
}

static int on_step(void *user, const tn_step *s)
{
    look();
    return 0;
}

static int on_epoch(void *user, const tn_epoch *e)
{
    look();
    return 0;
}

static int on_ball(void *user, const tn_prediction *p, int done, int total)
{
    look();
    return 0;
}

static int predict(const tn_config *c, const char *out, const char *image, tn_run_options o, tn_error *err)
{
    char best[1100], csv[1100], *text = NULL;
    tn_predict_options p = TN_PREDICT_OPTIONS_INIT;
    snprintf(best, sizeof best, "%s/best", out);
    snprintf(csv, sizeof csv, "%s/balls.csv", out);
    o.checkpoint = best;
    p.images = &image, p.n_images = 1, p.csv = csv, p.each = on_ball;
    int rc = tn_predict(c, &o, &p, err);
    if (!rc) rc = tn_adapter_describe(best, &text, err);
    if (!rc) puts(text);
    free(text);
    return rc;
}

static int run(const char *data, const char *out, const char *image, tn_error *err)
{
    static const char *const keys[] = {
        "data.split.train_games=[game1]",       "data.split.val_games=[game1]", "training.epochs=1",
        "data.preprocess.resize=[128,64]",      "model.heatmap.size=[32,16]",   "training.batch_size=4",
        "training.scheduler.warmup_epochs=0x0", "training.optimizer.lr=1.25e-3"};
    const tn_log log = {on_log, NULL};
    tn_config_source s = TN_CONFIG_SOURCE_INIT;
    tn_run_options o = TN_RUN_OPTIONS_INIT;
    tn_train_callbacks cb = TN_TRAIN_CALLBACKS_INIT;
    tn_train_summary sum = TN_TRAIN_SUMMARY_INIT;
    tn_config *c = NULL;
    char *yaml = NULL;
    s.model = "vit_qlora_random", s.training = "overfit", s.overrides = keys, s.n_overrides = sizeof keys / sizeof *keys;
    o.device = "cpu", o.log = s.log = &log, o.progress = on_progress;
    cb.step = on_step, cb.epoch = on_epoch;
    int rc = tn_config_load(&c, &s, err);
    if (!rc) rc = tn_config_set_real(c, "model.heatmap.sigma", 1.5, err);
    if (!rc) rc = tn_config_dump(c, &yaml, err);
    if (!rc) puts(yaml);
    free(yaml);
    if (!rc) rc = tn_config_set_str(c, "data.root", data, err);
    if (!rc) rc = tn_config_set_str(c, "training.output_dir", out, err);
    o.overwrite = true; /* threads and locales take turns in one folder */
    if (!rc) rc = tn_train(c, &o, &cb, &sum, err);
    if (!rc) rc = predict(c, out, image, o, err);
    if (!rc && !tn_config_set(c, "model.heatmap.sigma=0,5", err)) rc = 1; /* no number, in any locale */
    puts(err->message);
    tn_config_free(c);
    look();
    return rc;
}

static char **args;

static void *work(void *failed)
{
    char image[1100];
    tn_error err = {0};
    snprintf(image, sizeof image, "%s/game1/Clip1/0000.jpg", args[1]);
    if (run(args[1], args[2], image, &err)) *(int *)failed = fprintf(stderr, "tn-locale: %s\n", err.message);
    return NULL;
}

int main(int argc, char **argv)
{
    int failed = 0;
    pthread_t t;
    if (argc != 3) return 2;
    args = argv;
    setlocale(LC_ALL, "");
    snprintf(half, sizeof half, "%.1f", 0.5);
    fprintf(stderr, "%s\n", half);
    work(&failed);
    if (!failed && !pthread_create(&t, NULL, work, &failed)) pthread_join(t, NULL);
    if (wrong) fprintf(stderr, "tn-locale: %d calls met another locale\n", wrong);
    return failed ? 1 : wrong ? 3 : 0;
}
