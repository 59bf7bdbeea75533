/** What the tests of the public interface share: a folder, a few drawn frames, and the smallest model trained on them. */
#ifndef TN_TINY_H
#define TN_TINY_H
#include "files.h"
#include "../testlib.h"

#include <stdlib.h>
#include <string.h>
#include <tracknet/tracknet.h>

enum { FRAMES = 6, W = 128, H = 64 };
static char work[64]; /* made before the tests fork: what one has trained the others find */

static inline const char *in_work(const char *name)
{
    static char paths[16][160];
    static int next;
    char *p = paths[next++ % 16];
    snprintf(p, sizeof paths[0], "%s/%s", work, name);
    return p;
}

static inline void must(int rc, const tn_error *e)
{
    ck_assert_msg(!rc, "%s", e->message);
}

static inline tn_run_options on_cpu(void)
{
    tn_run_options o = TN_RUN_OPTIONS_INIT;
    o.device = "cpu";
    o.cache = getenv("TRACKNET_CACHE");
    return o;
}

/* A few drawn frames and the smallest model on them. */
static inline tn_config *tiny(const char *out, int seed)
{
    static const int size[] = {W, H}, heat[] = {W / 4, H / 4};
    const char *games[] = {"game1"};
    tn_error e;
    tn_config *c;
    tn_config_source s = TN_CONFIG_SOURCE_INIT;
    tn_synth_options draw = TN_SYNTH_OPTIONS_INIT;
    draw.out = in_work("data");
    draw.clips = 1, draw.frames = FRAMES, draw.width = W, draw.height = H;
    if (access(in_work("data/game1/Clip1/Label.csv"), R_OK)) must(tn_synth(&draw, &e), &e);
    s.config_dir = SOURCE_DIR "/configs";
    s.model = "vit_qlora_random";
    s.training = "overfit";
    must(tn_config_load(&c, &s, &e), &e);
    must(tn_config_set_str(c, "model.pretrained_model_name", SOURCE_DIR "/configs/backbone/tiny", &e), &e);
    must(tn_config_set_str(c, "data.root", in_work("data"), &e), &e);
    must(tn_config_set_list(c, "data.split.train_games", games, 1, &e), &e);
    must(tn_config_set_list(c, "data.split.val_games", games, 1, &e), &e);
    must(tn_config_set_ints(c, "data.preprocess.resize", size, 2, &e), &e);
    must(tn_config_set_ints(c, "model.heatmap.size", heat, 2, &e), &e);
    must(tn_config_set_int(c, "training.epochs", 2, &e), &e);
    must(tn_config_set_int(c, "training.batch_size", 4, &e), &e);
    must(tn_config_set_int(c, "training.seed", seed, &e), &e);
    must(tn_config_set_str(c, "training.output_dir", in_work(out), &e), &e);
    return c;
}

/* Folder of a trained checkpoint, by name and seed. */
static inline const char *trained(const char *name, int seed)
{
    char best[64];
    snprintf(best, sizeof best, "%s/best", name);
    if (access(in_work(best), R_OK)) {
        tn_error e;
        const tn_run_options o = on_cpu();
        tn_config *c = tiny(name, seed);
        must(tn_train(c, &o, NULL, NULL, &e), &e);
        tn_config_free(c);
    }
    return in_work(best);
}

/** Runs a suite that works in a folder of its own. */
static inline int run_in_folder(Suite *s)
{
    tn_error ignored;
    snprintf(work, sizeof work, "/tmp/tracknet-api-XXXXXX");
    if (!mkdtemp(work)) return 2;
    const int status = run_suite(s);
    (void)tn_remove_tree(work, &ignored);
    return status;
}

#define REFUSES(call) ck_assert_int_eq(call, TN_ERR_ARGUMENT)
#endif
