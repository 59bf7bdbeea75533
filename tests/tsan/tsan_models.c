/* Two models in two threads, each trained, evaluated and asked: whatever the library shares behind its functions shows to
 * ThreadSanitizer. test-tsan-models OUTPUT_DIR, in the source folder. */
#include <tracknet/tracknet.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>

#define DATA "tests/data/volleyball"
enum { THREADS = 2 };

typedef struct {
    char last[320];
    const char *out;
    int rc;
    tn_error err;
    tn_train_summary sum;
    tn_eval_result eval;
} job;

static int load(tn_config **c, const job *j, tn_error *err)
{
    char out[340];
    snprintf(out, sizeof out, "training.output_dir=%s", j->out);
    const char *const keys[] = {out,
                                "data.root=" DATA,
                                "data.split.train_games=[game1]",
                                "data.split.val_games=[game1]",
                                "data.preprocess.resize=[64,48]",
                                "model.heatmap.size=[32,24]",
                                "training.epochs=1",
                                "training.limit_train_batches=2"};
    tn_config_source s = TN_CONFIG_SOURCE_INIT;
    s.model = "vit_qlora_random", s.training = "overfit", s.overrides = keys, s.n_overrides = (int)(sizeof keys / sizeof *keys);
    return tn_config_load(c, &s, err);
}

static void *work(void *arg)
{
    job *j = arg;
    tn_config *c = NULL;
    const char *const frames[] = {DATA "/game1/Clip1/0003.jpg"};
    tn_run_options fresh = TN_RUN_OPTIONS_INIT, trained = TN_RUN_OPTIONS_INIT;
    tn_predict_options p = TN_PREDICT_OPTIONS_INIT;
    fresh.device = trained.device = "cpu", trained.checkpoint = j->last;
    p.images = frames, p.n_images = 1;
    j->sum = (tn_train_summary)TN_TRAIN_SUMMARY_INIT, j->eval = (tn_eval_result)TN_EVAL_RESULT_INIT;
    j->rc = load(&c, j, &j->err);
    if (!j->rc) j->rc = tn_train(c, &fresh, NULL, &j->sum, &j->err);
    if (!j->rc) j->rc = tn_eval(c, &trained, "val", &j->eval, &j->err);
    if (!j->rc) j->rc = tn_predict(c, &trained, &p, &j->err);
    tn_config_free(c);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread[THREADS];
    char out[THREADS][300];
    job jobs[THREADS] = {0};
    int passed = 0;
    if (argc != 2) return fprintf(stderr, "usage: test-tsan-models OUTPUT_DIR\n"), 2;
    for (int i = 0; i < THREADS; i++) {
        snprintf(out[i], sizeof out[i], "%s/%d", argv[1], i);
        snprintf(jobs[i].last, sizeof jobs[i].last, "%s/last", out[i]);
        jobs[i].out = out[i];
        if (pthread_create(&thread[i], NULL, work, &jobs[i])) return 2;
    }
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        if (jobs[i].rc) printf("FAILED: model %d: %s\n", i, jobs[i].err.message);
        passed += !jobs[i].rc;
    }
    /* the same seed: all that may differ is which kernels the stopwatch chose */
    const double a = jobs[0].sum.last_loss, b = jobs[1].sum.last_loss;
    if (!(fabs(a - b) <= 1e-3 * fabs(b))) printf("FAILED: one model gives the loss %g, the same in another thread %g\n", a, b);
    else passed++;
    printf("%d passed, %d failed\n", passed, THREADS + 1 - passed);
    return passed != THREADS + 1;
}
