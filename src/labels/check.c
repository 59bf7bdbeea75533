/* What a data set's labels come to, as a report. */
#include "entry.h"
#include "files.h"
#include "settings.h"
#include "sheet.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <tracknet/labels.h>

enum { SHEET_FRAMES = 24 };

/* What a caller sees, and what it points into. */
typedef struct {
    tn_labels_report report;
    tn_dataset d;
    tn_label_clip *clips;
    tn_label_fault *faults; /* TN_LABEL_KINDS of each clip, then of all together */
    char *split, *root, *sheet;
} labels_report;

void tn_labels_free(tn_labels_report *r)
{
    labels_report *l = (labels_report *)r;
    if (!l) return;
    tn_dataset_free(&l->d);
    free(l->clips);
    free(l->faults);
    free(l->split);
    free(l->root);
    free(l->sheet);
    free(l);
}

/* The games of the split; those of both splits once. */
static int games_of(tn_strs *games, const tn_settings *s, const char *split, tn_error *err)
{
    const bool all = !strcmp(split, "all");
    const tn_strs *lists[] = {&s->data.train_games, &s->data.val_games};
    if (!all && strcmp(split, "train") && strcmp(split, "val"))
        return tn_fail(err, TN_ERR_ARGUMENT, "split '%s' is not known; train, val and all are", split);
    for (int k = 0; k < 2; k++)
        for (int i = 0; (all || !strcmp(split, k ? "val" : "train")) && i < lists[k]->n; i++)
            if (!tn_strs_has(games, lists[k]->v[i]) && !tn_strs_add(games, lists[k]->v[i])) return tn_oom(err);
    return 0;
}

static void count_clip(tn_label_clip *out, tn_label_fault *faults, const tn_dataset *d, const tn_dataset_clip *c)
{
    *out = (tn_label_clip){.name = c->name, .file = c->file, .frames = c->pictures, .labelled = c->n, .faults = faults};
    for (int i = 0; i < c->n; i++) out->visible += d->f[c->first + i].visible;
    out->invisible = c->n - out->visible;
    out->unlabelled = TN_MAX(0, c->pictures - c->n);
    for (int k = 0; k < TN_LABEL_KINDS; k++) {
        const tn_set_aside *a = &c->aside[k];
        const tn_label_kind kind = (tn_label_kind)k;
        if (!a->rows) continue;
        faults[out->n_faults++] = (tn_label_fault){kind, tn_label_kind_name(kind), a->rows, a->file, a->line, a->why};
        out->set_aside += a->rows;
    }
}

static void add_to_total(tn_label_clip *total, tn_label_fault *faults, const tn_label_clip *c)
{
    total->frames += c->frames;
    total->labelled += c->labelled;
    total->visible += c->visible;
    total->invisible += c->invisible;
    total->unlabelled += c->unlabelled;
    total->set_aside += c->set_aside;
    for (int i = 0; i < c->n_faults; i++) {
        int k = 0;
        while (k < total->n_faults && faults[k].kind != c->faults[i].kind) k++;
        if (k < total->n_faults) faults[k].rows += c->faults[i].rows;
        else faults[total->n_faults++] = c->faults[i];
    }
}

static int labels_count(labels_report *l, tn_error *err)
{
    const int n = l->d.n_clips;
    l->clips = calloc((size_t)n + 1, sizeof *l->clips);
    l->faults = calloc(((size_t)n + 1) * TN_LABEL_KINDS, sizeof *l->faults);
    if (!l->clips || !l->faults) return tn_oom(err);
    tn_label_fault *all = l->faults + (size_t)n * TN_LABEL_KINDS;
    l->report.total.faults = all;
    for (int i = 0; i < n; i++) {
        count_clip(&l->clips[i], l->faults + (size_t)i * TN_LABEL_KINDS, &l->d, &l->d.clips[i]);
        add_to_total(&l->report.total, all, &l->clips[i]);
    }
    l->report.clips = l->clips;
    l->report.n_clips = n;
    return 0;
}

/* A folder gets labels.png; what is missing above the file is made. */
static int sheet_path(char **out, const char *sheet, tn_error *err)
{
    const size_t n = strlen(sheet);
    const bool file = n > 4 && !strcasecmp(sheet + n - 4, ".png") && !tn_is_dir(sheet);
    *out = file ? strdup(sheet) : tn_path(sheet, "labels.png");
    char *folder = *out ? strdup(*out) : NULL, *slash = folder ? strrchr(folder, '/') : NULL;
    int rc = folder ? 0 : tn_oom(err);
    if (slash && slash != folder) {
        *slash = 0;
        rc = tn_mkdirs(folder, err);
    }
    free(folder);
    return rc;
}

static int labels_draw(labels_report *l, const tn_labels_options *o, tn_error *err)
{
    const tn_watch watch = {o->progress, o->user};
    if (!o->sheet || !l->d.n) return 0;
    TN_TRY(sheet_path(&l->sheet, o->sheet, err));
    TN_TRY(tn_sheet_write(l->sheet, &l->d, o->sheet_frames ? o->sheet_frames : SHEET_FRAMES, &watch, err));
    l->report.sheet = l->sheet;
    return 0;
}

static int labels_read(labels_report *l, const tn_settings *s, const tn_strs *games, const tn_labels_options *o, tn_error *err)
{
    l->split = strdup(o->split ? o->split : "all");
    l->root = strdup(s->data.root);
    if (!l->split || !l->root) return tn_oom(err);
    l->report.split = l->split;
    l->report.root = l->root;
    l->report.strict = s->training.strict_labels;
    TN_TRY(tn_dataset_scan(&l->d, s->data.root, games, o->log, err));
    TN_TRY(labels_count(l, err));
    return labels_draw(l, o, err);
}

int tn_labels_check(const tn_config *c, const tn_labels_options *o, tn_labels_report **report, tn_error *err)
{
    static const tn_labels_options defaults = TN_LABELS_OPTIONS_INIT;
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_labels_check's configuration", err));
    TN_TRY(tn_required(report, "tn_labels_check's report", err));
    *report = NULL;
    o = o ? o : &defaults;
    TN_TRY(tn_versioned(o, TN_LABELS_OPTIONS_VERSION, "tn_labels_options", err));
    if (o->sheet_frames < 0 || o->sheet_frames > 1024)
        return tn_fail(err, TN_ERR_ARGUMENT, "a contact sheet has 1 to 1024 frames, not %d", o->sheet_frames);
    const tn_settings *s = tn_config_settings(c);
    tn_strs games = {0};
    labels_report *l = calloc(1, sizeof *l);
    int rc = l ? games_of(&games, s, o->split ? o->split : "all", err) : tn_oom(err);
    if (!rc) rc = labels_read(l, s, &games, o, err);
    bool told = !rc;
    if (!rc) {
        rc = tn_dataset_judge(&l->d, s->data.root, &games, l->split, s->training.strict_labels, NULL, err);
        told = !rc || l->report.total.set_aside;
    }
    if (told) *report = &l->report;
    else tn_labels_free(l ? &l->report : NULL);
    tn_strs_free(&games);
    return rc;
}
