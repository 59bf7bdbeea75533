#include "windows.h"
#include "numeric.h"

#include <stdlib.h>
#include <string.h>

/* ---- pictures without a label ---- */

/* Nobody looked into them when labels were read. */
static int leave_unreadable(tn_dataset *d, const char *what, const tn_log *log)
{
    tn_error why, first = {0};
    int w, h, gone = 0;
    for (int i = 0; i < d->n_clips; i++) {
        tn_dataset_clip *c = &d->clips[i];
        const int n = c->n_in_time;
        c->n_in_time = 0;
        for (int k = 0; k < n; k++) {
            const int at = c->in_time[k];
            const int rc = at < 0 ? tn_image_whole(&w, &h, d->other[~at].path, &why) : 0;
            if (rc && !gone++) first = why;
            if (!rc) c->in_time[c->n_in_time++] = at;
        }
    }
    if (gone)
        tn_logf(log, TN_LOG_WARN, "%s split: %d picture%s without a label cannot be read and %s in no window (the first: %s)", what,
                gone, gone == 1 ? "" : "s", gone == 1 ? "is" : "are", first.message);
    return 0;
}

static int check_length(const tn_dataset *d, const tn_sequence *s, const char *what, tn_error *err)
{
    const tn_dataset_clip *longest = NULL;
    for (int i = 0; i < d->n_clips; i++)
        if (!longest || d->clips[i].n_in_time > longest->n_in_time) longest = &d->clips[i];
    if (!longest || longest->n_in_time >= s->length) return 0;
    return tn_fail(err, TN_ERR_CONFIG,
                   "data.sequence.length is %d, but the longest clip of the %s split, %s, has %d frames; set it to %d or less",
                   s->length, what, longest->name, longest->n_in_time, longest->n_in_time);
}

/* ---- windows ---- */

/* Their frames and labels are filled in where there is room for them; else they are counted. */
typedef struct {
    const tn_dataset *d;
    const tn_sequence *s;
    tn_windows *w;
    bool *told; /* [d->n] frames whose label counted already */
} maker;

/* The window of the clip's frames first .. first + length - 1, where first may be below 0. */
static void add_window(maker *m, const tn_dataset_clip *c, int first)
{
    tn_windows *w = m->w;
    const int at = w->n++, T = m->s->length;
    for (int k = 0; w->frame && k < T; k++) w->frame[at * T + k] = c->in_time[TN_MAX(first + k, 0)];
    for (int k = 0; w->label && k < w->answers; k++) {
        const int place = first + T - w->answers + k, frame = place < 0 ? -1 : c->in_time[place];
        const bool again = frame >= 0 && m->s->once && m->told[frame];
        w->label[at * w->answers + k] = frame < 0 || again ? -1 : frame;
        if (frame >= 0) m->told[frame] = true;
    }
}

static void last_frames(maker *m, const tn_dataset_clip *c)
{
    for (int i = 0, next = 0; i < c->n_in_time; i++) {
        if (i < next || c->in_time[i] < 0) continue;
        add_window(m, c, i - m->s->length + 1);
        next = i + m->s->stride;
    }
}

static void all_frames(maker *m, const tn_dataset_clip *c)
{
    const int last = c->n_in_time - m->s->length; /* where the last window begins */
    for (int i = 0, next = 0; i < c->n_in_time; i++) {
        if (i < next || c->in_time[i] < 0) continue;
        add_window(m, c, TN_MIN(i, last));
        if (i >= last) return;
        next = i + m->s->stride;
    }
}

static void make_windows(maker *m)
{
    m->w->n = 0;
    memset(m->told, 0, (size_t)m->d->n);
    for (int i = 0; i < m->d->n_clips; i++) (m->s->all ? all_frames : last_frames)(m, &m->d->clips[i]);
}

int tn_dataset_window(tn_dataset *d, const tn_sequence *s, const char *what, const tn_log *log, tn_error *err)
{
    if (s->length < 2) return 0;
    TN_TRY(leave_unreadable(d, what, log));
    TN_TRY(check_length(d, s, what, err));
    tn_windows w = {.length = s->length, .answers = s->all ? s->length : 1};
    maker m = {d, s, &w, malloc((size_t)d->n + 1)};
    if (!m.told) return tn_oom(err);
    make_windows(&m);
    const size_t n = (size_t)w.n + 1;
    w.frame = malloc(n * (size_t)w.length * sizeof *w.frame);
    w.label = malloc(n * (size_t)w.answers * sizeof *w.label);
    if (w.frame && w.label) make_windows(&m);
    free(m.told);
    free(d->w.frame);
    free(d->w.label);
    d->w = w;
    return w.frame && w.label ? 0 : tn_oom(err);
}

void tn_dataset_limit(tn_dataset *d, int most)
{
    if (d->w.length) d->w.n = TN_MIN(d->w.n, most);
    else d->n = TN_MIN(d->n, most);
}
