/* The whole way in minutes: draw clips, train a small ViT on one look, quantise it to 4 bits, adapt it with LoRA to
 * another look, measure before and after on clips it never saw, and leave pictures. Only the public interface is used. */
#include "cli.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

typedef struct {
    const char *what;
    char dir[3000], seed[48];
    const tn_cli *cli;
    tn_run_options run;
} demo;

static double demo_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int demo_on_step(void *user, const tn_step *s)
{
    demo *d = user;
    char left[32];
    tn_bar_show((double)s->step / (double)s->steps, false, "%s  step %lld/%lld  loss %.5f  lr %.1e  %.0f img/s  %s left", d->what,
                s->step, s->steps, s->loss, s->lr, s->images_per_second, tn_clock(left, s->seconds_left));
    return tn_interrupted;
}

/* The clips of a game, and what came of drawing them. */
typedef struct {
    const demo *d;
    const char *game;
    int look, clips;
    uint64_t seed;
    tn_progress_fn *progress;
    int rc;
    tn_error err;
} drawing;

static int draw(drawing *g)
{
    char out[3100];
    snprintf(out, sizeof out, "%s/data", g->d->dir);
    const tn_synth_options o = {.version = TN_SYNTH_OPTIONS_VERSION,
                                .out = out,
                                .game = g->game,
                                .look = g->look,
                                .clips = g->clips,
                                .frames = 30,
                                .width = 256,
                                .height = 144,
                                .seed = g->seed,
                                .progress = g->progress,
                                .user = g->d->run.user};
    return g->rc = tn_synth(&o, &g->err);
}

static void *draw_beside(void *user)
{
    draw(user);
    return NULL;
}

/* Of the half that is not shown. */
static int draw_quietly(void *user, const tn_progress *p)
{
    (void)user, (void)p;
    return tn_interrupted;
}

/* Half of the clips beside the other half. */
static int draw_all(const demo *d, uint64_t seed, tn_error *err)
{
    drawing g[] = {{.d = d, .game = "hard", .clips = 40, .seed = seed + 1, .progress = draw_quietly},
                   {.d = d, .game = "clay", .look = 1, .clips = 32, .seed = seed + 2, .progress = d->run.progress},
                   {.d = d, .game = "clay_unseen", .look = 1, .clips = 8, .seed = seed + 3, .progress = d->run.progress}};
    pthread_t thread;
    const bool beside = !pthread_create(&thread, NULL, draw_beside, &g[0]);
    if (!draw(&g[1])) draw(&g[2]);
    if (beside) pthread_join(thread, NULL);
    else draw(&g[0]);
    tn_bar_clear();
    for (int i = 0; i < 3; i++)
        if (g[i].rc) {
            *err = g[i].err;
            return g[i].rc;
        }
    return 0;
}

/* The demonstration's configuration on a game; what is trained goes to dir/name. */
static int demo_configure(const demo *d, tn_config **c, const char *game, const char *name, tn_error *err)
{
    char root[3100], out[3200], seed[80];
    static const int size[] = {256, 144};
    const tn_config_source s = {.version = TN_CONFIG_SOURCE_VERSION,
                                .config_dir = d->cli->source.config_dir,
                                .model = "vit_demo",
                                .training = "demo",
                                .log = &tn_cli_log};
    snprintf(root, sizeof root, "%s/data", d->dir);
    snprintf(out, sizeof out, "%s/%s", d->dir, name);
    int rc = tn_config_load(c, &s, err);
    if (!rc) rc = tn_config_set_str(*c, "data.root", root, err);
    snprintf(seed, sizeof seed, "training.seed=%s", d->seed);
    if (!rc) rc = tn_config_set(*c, seed, err);
    if (!rc) rc = tn_config_set_ints(*c, "data.preprocess.resize", size, 2, err);
    if (!rc) rc = tn_config_set_list(*c, "data.split.train_games", &game, 1, err);
    if (!rc) rc = tn_config_set_list(*c, "data.split.val_games", NULL, 0, err);
    if (!rc) rc = tn_config_set_str(*c, "training.output_dir", out, err);
    return rc;
}

static int train(demo *d, const char *what, const tn_config *c, tn_train_summary *sum, tn_error *err)
{
    const tn_train_callbacks cb = {TN_TRAIN_CALLBACKS_VERSION, demo_on_step, NULL, d};
    tn_run_options o = d->run;
    o.overwrite = true; /* a demonstration's folder is its own */
    d->what = what;
    int rc = tn_train(c, &o, &cb, sum, err);
    tn_bar_clear();
    return rc;
}

/* The pretrained model in nf4 with adapters, on the other look. */
static int adapt(demo *d, const char *from, tn_train_summary *sum, tn_error *err)
{
    static const char *const keys[] = {"model.backbone.freeze=true",
                                       "model.backbone.random_init=false",
                                       "model.lora.enabled=true",
                                       "model.lora.r=8",
                                       "model.lora.lora_alpha=16",
                                       "model.lora.lora_dropout=0.0",
                                       "model.quantization.enabled=true",
                                       "model.quantization.quant_type=nf4",
                                       "model.quantization.compress_statistics=true",
                                       "training.epochs=7"};
    char backbone[3300];
    tn_config *c = NULL;
    snprintf(backbone, sizeof backbone, "%s/backbone", from);
    int rc = demo_configure(d, &c, "clay", "adapted", err);
    if (!rc) rc = tn_config_set_str(c, "model.pretrained_model_name", backbone, err);
    if (!rc) rc = tn_config_set_str(c, "training.init_from", from, err);
    for (size_t i = 0; !rc && i < sizeof keys / sizeof *keys; i++) rc = tn_config_set(c, keys[i], err);
    if (!rc) rc = train(d, "adapting", c, sum, err);
    tn_config_free(c);
    return rc;
}

/* A checkpoint on the clips of another look that no run has trained on. */
static int evaluate(demo *d, const char *checkpoint, tn_eval_result *r, tn_error *err)
{
    tn_config *c = NULL;
    tn_run_options o = d->run;
    const char *keys[] = {"data.split.val_games=[clay_unseen]"};
    o.checkpoint = checkpoint;
    int rc = tn_checkpoint_config(&c, checkpoint, keys, 1, NULL, err);
    if (!rc) rc = tn_eval(c, &o, "val", r, err);
    tn_config_free(c);
    return rc;
}

static int pictures(demo *d, const char *checkpoint, tn_error *err)
{
    char folder[3200], out[3200], csv[3300];
    snprintf(folder, sizeof folder, "%s/data/clay_unseen/Clip1", d->dir);
    snprintf(out, sizeof out, "%s/pictures", d->dir);
    snprintf(csv, sizeof csv, "%s/predictions.csv", d->dir);
    tn_config *c = NULL;
    tn_run_options o = d->run;
    const char *images[] = {folder};
    tn_predict_options p = {.version = TN_PREDICT_OPTIONS_VERSION, .images = images, .n_images = 1, .outdir = out, .csv = csv};
    o.checkpoint = checkpoint;
    int rc = tn_checkpoint_config(&c, checkpoint, NULL, 0, NULL, err);
    if (!rc) rc = tn_predict(c, &o, &p, err);
    tn_config_free(c);
    return rc;
}

static double demo_mib(size_t b)
{
    return (double)b / 1048576;
}

static void demo_report(const demo *d, const tn_eval_result *before, const tn_eval_result *after, const tn_train_summary *s,
                        double seconds)
{
    const tn_memory *m = &s->planned;
    const size_t float_state = m->weights_float32 + m->parameters;
    printf("\nunseen clips of the new look       before adapting      after\n");
    printf("  PCK@3                            %8.3f             %8.3f\n", before->pck, after->pck);
    printf("  mean L2, heatmap pixels          %8.2f             %8.2f\n", before->l2, after->l2);
    printf("  visible balls found              %4d of %-4d         %4d of %d\n\n", before->correct, before->visible, after->correct,
           after->visible);
    printf("device                 %s\n", s->device);
    printf("trainable parameters   %lld of %lld\n", s->trainable, s->parameters);
    printf("backbone and adapters  %.2f MiB, of which %d layers in nf4 with double quantisation; %.2f MiB in float32\n",
           demo_mib(m->weights + m->parameters), s->quantized_modules, demo_mib(float_state));
    printf("peak device memory     %.1f MiB (planned %.1f); full fine-tuning in float32: %.1f MiB\n", demo_mib(s->allocated_peak),
           demo_mib(m->total), demo_mib(m->full_float32));
    printf("adapting ran at        %.1f img/s; the whole demonstration took %.0f s\n", s->images_per_second, seconds);
    printf("pictures               %s/pictures/*_overlay.png\n", d->dir);
    printf("checkpoint             %s/adapted/best  (tracknet predict --checkpoint %s/adapted/best --image YOUR.jpg)\n", d->dir,
           d->dir);
}

/* c: of the first training, from random weights on the first look. */
static int demo_run(demo *d, const tn_config *c, tn_error *err)
{
    char pre_last[3200], new_last[3200];
    const double begin = demo_now();
    tn_train_summary first = TN_TRAIN_SUMMARY_INIT, second = TN_TRAIN_SUMMARY_INIT;
    tn_eval_result before = TN_EVAL_RESULT_INIT, after = TN_EVAL_RESULT_INIT;
    const uint64_t seed = strtoull(d->seed, NULL, 10);
    snprintf(pre_last, sizeof pre_last, "%s/pretrained/last", d->dir);
    snprintf(new_last, sizeof new_last, "%s/adapted/last", d->dir);

    fprintf(stderr, "1/5  synthetic clips: a blue court by day, and clay at dusk\n");
    int rc = draw_all(d, seed, err);
    if (rc) return rc;

    fprintf(stderr, "2/5  training a small ViT from random weights on the blue court (the \"pretrained\" model)\n");
    rc = train(d, "pretraining", c, &first, err);
    if (rc) return rc;

    fprintf(stderr, "3/5  evaluating it on clay\n");
    rc = evaluate(d, pre_last, &before, err);
    if (rc) return rc;

    fprintf(stderr, "4/5  its linear layers to nf4, LoRA adapters on them, adapting to clay\n");
    rc = adapt(d, pre_last, &second, err);
    if (rc) return rc;

    fprintf(stderr, "5/5  evaluating the adapted model on unseen clay, drawing pictures\n");
    rc = evaluate(d, new_last, &after, err);
    if (!rc) rc = pictures(d, new_last, err);
    if (!rc) demo_report(d, &before, &after, &second, demo_now() - begin);
    return rc;
}

int tn_cmd_demo(tn_cli *c, tn_error *err)
{
    static demo d;
    tn_config *first = NULL;
    d.cli = c;
    d.run = c->run;
    if (!d.run.variants) d.run.variants = "first"; /* measuring which is the fastest would take longer than that saves */
    snprintf(d.dir, sizeof d.dir, "%s", c->output_dir ? c->output_dir : "demo");
    snprintf(d.seed, sizeof d.seed, "%s", c->seed ? c->seed : "42");
    int rc = demo_configure(&d, &first, "hard", "pretrained", err); /* said before anything is drawn */
    if (!rc && mkdir(d.dir, 0777) && errno != EEXIST)
        rc = tn_fail(err, TN_ERR_IO, "output folder '%.800s' cannot be written: %s", d.dir, strerror(errno));
    if (!rc) rc = demo_run(&d, first, err);
    tn_config_free(first);
    return rc;
}
