#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *labels_object(const tn_label_clip *c)
{
    json_t *faults = json_array(), *o;
    for (int i = 0; i < c->n_faults; i++) {
        const tn_label_fault *f = &c->faults[i];
        json_array_append_new(faults, json_pack("{s:o, s:i, s:o, s:i, s:o}", "kind", tn_json_text(f->what), "rows", f->rows, "file",
                                                tn_json_text(f->file), "line", f->line, "why", tn_json_text(f->why)));
    }
    o = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:o}", "frames", c->frames, "labelled", c->labelled, "visible", c->visible,
                  "invisible", c->invisible, "unlabelled", c->unlabelled, "set_aside", c->set_aside, "faults", faults);
    if (c->name) json_object_set_new(o, "name", tn_json_text(c->name));
    if (c->file) json_object_set_new(o, "file", tn_json_text(c->file));
    return o;
}

static int labels_json(const tn_labels_report *r, tn_error *err)
{
    json_t *o = labels_object(&r->total), *clips = json_array();
    for (int i = 0; i < r->n_clips; i++) json_array_append_new(clips, labels_object(&r->clips[i]));
    json_object_set_new(o, "clips", clips);
    json_object_set_new(o, "split", tn_json_text(r->split));
    json_object_set_new(o, "root", tn_json_text(r->root));
    json_object_set_new(o, "strict", json_boolean(r->strict));
    json_object_set_new(o, "sheet", tn_json_text(r->sheet));
    return tn_cli_print_json(o, err);
}

static void labels_line(int width, const char *name, const tn_label_clip *c)
{
    printf("%-*s %8d %9d %8d %10d %11d %10d\n", width, name, c->frames, c->labelled, c->visible, c->invisible, c->unlabelled,
           c->set_aside);
}

static void labels_faults(const tn_label_clip *c, const char *indent)
{
    for (int i = 0; i < c->n_faults; i++) {
        const tn_label_fault *f = &c->faults[i];
        printf("%s%d %s: first %s:%d: %s\n", indent, f->rows, f->what, f->file, f->line, f->why);
    }
}

static void labels_tables(const tn_labels_report *r)
{
    int width = 5;
    for (int i = 0; i < r->n_clips; i++)
        if ((int)strlen(r->clips[i].name) > width) width = (int)strlen(r->clips[i].name);
    printf("%-*s %8s %9s %8s %10s %11s %10s\n", width, "clip", "frames", "labelled", "visible", "invisible", "unlabelled",
           "set aside");
    for (int i = 0; i < r->n_clips; i++) labels_line(width, r->clips[i].name, &r->clips[i]);
    if (r->n_clips != 1) labels_line(width, "total", &r->total);
    if (r->total.set_aside) printf("\nrows set aside, their frames neither trained on nor evaluated:\n");
    for (int i = 0; i < r->n_clips; i++) {
        if (r->clips[i].n_faults) printf("  %s\n", r->clips[i].name);
        labels_faults(&r->clips[i], "    ");
    }
    if (r->sheet) printf("\nframes with their labels drawn: %s\n", r->sheet);
}

int tn_cmd_labels(tn_cli *c, tn_error *err)
{
    tn_config *cfg = NULL;
    tn_error unsaid; /* the labels' own fault goes before the printing's */
    int printed = 0;
    tn_labels_report *r = NULL;
    tn_labels_options o = TN_LABELS_OPTIONS_INIT;
    o.split = c->split;
    o.sheet = c->out ? c->out : "labels.png";
    o.log = c->run.log;
    o.progress = c->run.progress;
    o.user = c->run.user;
    int rc = tn_cli_config(&cfg, c, err);
    if (!rc) rc = tn_labels_check(cfg, &o, &r, err);
    tn_bar_clear();
    if (r && c->json) printed = labels_json(r, rc ? &unsaid : err);
    else if (r) labels_tables(r);
    tn_labels_free(r);
    tn_config_free(cfg);
    return rc ? rc : printed;
}
