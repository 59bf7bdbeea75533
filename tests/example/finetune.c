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

static int run(const char *configs, const char *data, const char *out, const char *frame, tn_error *err)
{
    char root[1024], dir[1024], best[1024], backbone[1024];
    snprintf(root, sizeof root, "data.root='%s'", data);
    snprintf(dir, sizeof dir, "training.output_dir='%s'", out);
    snprintf(best, sizeof best, "%s/best", out);
    snprintf(backbone, sizeof backbone, "model.pretrained_model_name='%s/backbone/tiny'", configs);
    const char *keys[] = {root,
                          dir,
                          backbone,
                          "data.split.train_games=[game1]",
                          "data.split.val_games=[]",
                          "data.preprocess.resize=[256,144]",
                          "training.epochs=2",
                          "training.limit_train_batches=2"};
    tn_config_source source = {
        .config_dir = configs, .model = "vit_qlora_random", .training = "overfit", .overrides = keys, .n_overrides = 8};
    tn_run_options options = {.device = "cpu"};
    tn_train_callbacks callbacks = {.epoch = show_epoch};
    tn_train_summary summary;
    tn_config *config = NULL;
    int rc = tn_config_load(&config, &source, err);
    if (!rc) rc = tn_train(config, &options, &callbacks, &summary, err);
    if (!rc) printf("%lld of %lld parameters trained on %s\n", summary.trainable, summary.parameters, summary.device);

    tn_predict_options predict = {.images = &frame, .n_images = 1, .outdir = out, .each = show_ball};
    options.checkpoint = best;
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
