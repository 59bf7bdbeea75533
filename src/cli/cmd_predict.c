#include "cli.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const tn_cli *c;
    json_t *list; /* of images, for --json */
    double began;
    long long frames, visible, rows; /* of a video; rows that went to standard output */
} answers;

static json_t *predict_cmd_row(const answers *a, const tn_prediction *p)
{
    json_t *row = json_pack("{s:b, s:o, s:o, s:o}", "visible", p->visible, "x", p->visible ? tn_json_real(p->x) : json_null(), "y",
                            p->visible ? tn_json_real(p->y) : json_null(), "confidence", tn_json_real(p->confidence));
    if (!row) return NULL;
    if (a->c->video) {
        json_object_set_new(row, "frame", json_integer(p->frame));
        json_object_set_new(row, "time", tn_json_real(p->time));
    } else {
        json_object_set_new(row, "image", tn_json_text(p->image));
    }
    if (a->c->smooth) json_object_set_new(row, "repaired", json_boolean(p->repaired));
    if (a->c->run.n_adapters > 1) json_object_set_new(row, "adapter", tn_json_text(p->adapter));
    return row;
}

static int predict_cmd_image(void *user, const tn_prediction *p, int done, int total)
{
    answers *a = user;
    const bool named = a->c->run.n_adapters > 1;
    const char *gap = named ? "  " : "", *adapter = named ? p->adapter : "";
    if (a->list) return json_array_append_new(a->list, predict_cmd_row(a, p)) || tn_interrupted;
    if (total > 20) {
        tn_bar_show((double)done / total, done == total, "%d/%d  %s", done, total, p->image);
        return tn_interrupted;
    }
    tn_bar_clear();
    if (p->visible) printf("%s  x %.1f  y %.1f  confidence %.3f%s%s\n", p->image, p->x, p->y, p->confidence, gap, adapter);
    else printf("%s  no ball  confidence %.3f%s%s\n", p->image, p->confidence, gap, adapter);
    return tn_interrupted;
}

/* Rows of a long video are printed as they come, not kept. */
static int predict_cmd_frame(void *user, const tn_prediction *p, int done, int total)
{
    answers *a = user;
    char left[32];
    const double passed = tn_now() - a->began;
    if (!a->frames++) a->began = tn_now();
    a->visible += p->visible;
    if (a->c->json) {
        json_t *row = predict_cmd_row(a, p);
        char *s = row ? json_dumps(row, JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
        if (s) printf("%s  %s", a->rows++ ? ",\n" : "", s);
        json_decref(row);
        free(s);
        return !s || tn_interrupted;
    }
    if (total)
        tn_bar_show((double)done / total, done == total, "%d/%d  %.1f frames/s  %s left", done, total,
                    done > 1 ? (done - 1) / passed : 0, tn_clock(left, done > 1 ? passed / (done - 1) * (total - done) : 0));
    else tn_bar_show(0, false, "%d frames  %.1f frames/s", done, done > 1 ? (done - 1) / passed : 0);
    return tn_interrupted;
}

static void predict_cmd_told(const answers *a, int rc)
{
    const tn_cli *c = a->c;
    const bool stopped = rc == TN_ERR_CANCELLED && a->frames;
    if (c->video && c->json) printf("\n]\n");
    else if (c->video && (!rc || stopped)) printf("%s: %lld frames, the ball visible in %lld\n", c->video, a->frames, a->visible);
    if (stopped && c->video) fprintf(stderr, "stopped; what was written so far is whole\n");
    if (!rc && !c->json && c->outdir) fprintf(stderr, "heatmaps and overlays are in %s\n", c->outdir);
}

static int predict_cmd_run(const tn_config *cfg, tn_cli *c, tn_error *err)
{
    const float threshold = (float)c->threshold.value;
    answers a = {.c = c, .list = c->json && !c->video ? json_array() : NULL, .began = tn_now()};
    const tn_predict_options p = {.version = TN_PREDICT_OPTIONS_VERSION,
                                  .images = c->images,
                                  .n_images = c->n_images,
                                  .outdir = c->outdir,
                                  .csv = c->csv,
                                  .each = c->video ? predict_cmd_frame : predict_cmd_image,
                                  .user = &a,
                                  .video = c->video,
                                  .video_out = c->out,
                                  .batch = c->batch,
                                  .smooth = c->smooth,
                                  .max_gap = c->max_gap.given ? (int)c->max_gap.value : TN_PREDICT_GAP};
    if (c->threshold.given) c->run.threshold = &threshold;
    if (c->video && c->json) printf("[\n");
    int rc = tn_predict(cfg, &c->run, &p, err);
    c->run.threshold = NULL;
    tn_bar_clear();
    predict_cmd_told(&a, rc);
    if (!a.list || (rc && !json_array_size(a.list))) return json_decref(a.list), rc;
    tn_error unsaid; /* what there is, is printed though the run ended early */
    const int printed = tn_cli_print_json(a.list, rc ? &unsaid : err);
    return rc ? rc : printed;
}

/* Options that do not go together. */
static int predict_cmd_check(const tn_cli *c, tn_error *err)
{
    if (!c->n_images && !c->video)
        return tn_fail(err, TN_ERR_ARGUMENT, "no --image given: name a .jpg, a .png or a folder of them, or a --video");
    if (c->out && !c->video) return tn_fail(err, TN_ERR_ARGUMENT, "--out goes with --video; pictures go to --outdir");
    if (c->max_gap.given && !c->smooth) return tn_fail(err, TN_ERR_ARGUMENT, "--max-gap goes with --smooth");
    if (c->max_gap.value != (int)c->max_gap.value) return tn_fail(err, TN_ERR_ARGUMENT, "--max-gap takes a whole number of frames");
    return 0;
}

int tn_cmd_predict(tn_cli *c, tn_error *err)
{
    tn_config *cfg = NULL;
    TN_TRY(predict_cmd_check(c, err));
    TN_TRY(tn_cli_find_checkpoint(c, err));
    int rc = tn_cli_config(&cfg, c, err);
    if (!rc) rc = predict_cmd_run(cfg, c, err);
    tn_config_free(cfg);
    return rc;
}
