/* Fine-tune a 4-bit ViT with LoRA on labelled frames, then find the ball in one: the whole library in one page. */
#include <stdio.h>
#include <tracknet/tracknet.h>

static int show_epoch(void *user, const tn_epoch *e)
{
    (void)user;
    printf("epoch %d: loss %g\n", e->epoch, e->train_loss);
    return 0;
}

static int show_ball(void *user, const tn_prediction *p, int done, int total)
{
    (void)user;
    printf("[%d/%d] %s: (%.1f, %.1f), confidence %.2f\n", done, total, p->image, p->x, p->y, p->confidence);
    return 0;
}

static int configure(tn_config **config, const char *configs, const char *data, const char *out, tn_error *err)
{
    char backbone[1024];
    static const int size[] = {256, 144};
    const char *games[] = {"game1"};
    tn_config_source source = TN_CONFIG_SOURCE_INIT;
    source.config_dir = configs;
    source.model = "vit_qlora_random";
    source.training = "overfit";
    snprintf(backbone, sizeof backbone, "%s/backbone/tiny", configs);
    int rc = tn_config_load(config, &source, err);
    if (!rc) rc = tn_config_set_str(*config, "model.pretrained_model_name", backbone, err);
    if (!rc) rc = tn_config_set_str(*config, "data.root", data, err);
    if (!rc) rc = tn_config_set_list(*config, "data.split.train_games", games, 1, err);
    if (!rc) rc = tn_config_set_list(*config, "data.split.val_games", NULL, 0, err);
    if (!rc) rc = tn_config_set_ints(*config, "data.preprocess.resize", size, 2, err);
    if (!rc) rc = tn_config_set_str(*config, "training.output_dir", out, err);
    if (!rc) rc = tn_config_set_int(*config, "training.epochs", 2, err);
    if (!rc) rc = tn_config_set_int(*config, "training.limit_train_batches", 2, err);
    return rc;
}

static int run(const char *configs, const char *data, const char *out, const char *frame, tn_error *err)
{
    tn_run_options options = TN_RUN_OPTIONS_INIT;
    tn_train_callbacks callbacks = TN_TRAIN_CALLBACKS_INIT;
    tn_train_summary summary = TN_TRAIN_SUMMARY_INIT;
    tn_predict_options predict = TN_PREDICT_OPTIONS_INIT;
    tn_config *config = NULL;
    char best[1024];
    options.device = "cpu";
    callbacks.epoch = show_epoch;
    int rc = configure(&config, configs, data, out, err);
    if (!rc) rc = tn_train(config, &options, &callbacks, &summary, err);
    if (!rc) printf("%lld of %lld parameters trained on %s\n", summary.trainable, summary.parameters, summary.device);

    snprintf(best, sizeof best, "%s/best", out);
    options.checkpoint = best;
    predict.images = &frame;
    predict.n_images = 1;
    predict.outdir = out;
    predict.each = show_ball;
    if (!rc) rc = tn_predict(config, &options, &predict, err);
    tn_config_free(config);
    return rc;
}

int main(int argc, char **argv)
{
    tn_error err = {0};
    if (argc != 5) return printf("usage: finetune CONFIGS DATA OUT FRAME\n"), 2;
    if (run(argv[1], argv[2], argv[3], argv[4], &err)) {
        fprintf(stderr, "finetune: %s\n", err.message);
        return 1;
    }
    return 0;
}
