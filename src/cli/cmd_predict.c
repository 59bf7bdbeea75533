#include "cli.h"

#include <stdio.h>

typedef struct {
    json_t *list;
} answers;

/* One row; -1 when memory ran out, which ends the run. */
static int predict_cmd_list(json_t *list, const tn_prediction *p)
{
    json_t *row = json_pack("{s:o, s:b, s:o, s:o, s:o}", "image", tn_json_text(p->image), "visible", p->visible, "x",
                            p->visible ? tn_json_real(p->x) : json_null(), "y", p->visible ? tn_json_real(p->y) : json_null(),
                            "confidence", tn_json_real(p->confidence));
    if (row && p->adapter) json_object_set_new(row, "adapter", tn_json_text(p->adapter));
    return json_array_append_new(list, row);
}

static int each(void *user, const tn_prediction *p, int done, int total)
{
    answers *a = user;
    if (!a->list && total <= 20) tn_bar_clear();
    if (a->list) return predict_cmd_list(a->list, p) || tn_interrupted;
    if (total <= 20 && !p->visible)
        printf("%s  no ball  confidence %.3f%s%s\n", p->image, p->confidence, p->adapter ? "  " : "", p->adapter ? p->adapter : "");
    else if (total <= 20)
        printf("%s  x %.1f  y %.1f  confidence %.3f%s%s\n", p->image, p->x, p->y, p->confidence, p->adapter ? "  " : "",
               p->adapter ? p->adapter : "");
    else tn_bar_show((double)done / total, done == total, "%d/%d  %s", done, total, p->image);
    return tn_interrupted;
}

int tn_cmd_predict(tn_cli *c, tn_error *err)
{
    tn_config *cfg = NULL;
    answers a = {c->json ? json_array() : NULL};
    tn_predict_options p = {.version = TN_PREDICT_OPTIONS_VERSION,
                            .images = c->images,
                            .n_images = c->n_images,
                            .outdir = c->outdir,
                            .csv = c->csv,
                            .each = each,
                            .user = &a};
    const float threshold = (float)c->threshold.value;
    int rc = 0;
    if (!c->n_images) {
        err->status = rc = TN_ERR_ARGUMENT;
        snprintf(err->message, sizeof err->message, "no --image given: name a .jpg, a .png or a folder of them");
    }
    if (!rc) rc = tn_cli_config(&cfg, c, err);
    if (c->threshold.given) c->run.threshold = &threshold;
    if (!rc) rc = tn_predict(cfg, &c->run, &p, err);
    c->run.threshold = NULL;
    tn_bar_clear();
    if (!rc && a.list) rc = tn_cli_print_json(a.list, err);
    else json_decref(a.list);
    if (!rc && !c->json && c->outdir) fprintf(stderr, "heatmaps and overlays are in %s\n", c->outdir);
    tn_config_free(cfg);
    return rc;
}
