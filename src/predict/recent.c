#include "recent.h"

#include <stdlib.h>
#include <string.h>

void tn_recent_free(tn_recent *r)
{
    free(r->frames);
    *r = (tn_recent){0};
}

void tn_recent_restart(tn_recent *r)
{
    r->n = 0;
}

int tn_asked_new(tn_asked *a, const tn_engine *e, int n, tn_error *err)
{
    const tn_model *m = e->model;
    *a = (tn_asked){.n = n, .length = m->frames, .answers = m->heats, .frame = tn_engine_image_bytes(e) / (size_t)m->frames};
    a->n_windows = TN_CEIL_DIV(n, a->answers);
    a->frames = malloc((size_t)(a->length - 1 + n) * a->frame);
    a->windows = a->length == 1 ? a->frames : malloc((size_t)(a->n_windows * a->length) * a->frame);
    if (a->frames && a->windows) return 0;
    tn_asked_free(a);
    return tn_oom(err);
}

void tn_asked_free(tn_asked *a)
{
    if (a->windows != a->frames) free(a->windows);
    free(a->frames);
    *a = (tn_asked){0};
}

uint8_t *tn_asked_frame(const tn_asked *a, int i)
{
    return a->frames + (size_t)(a->length - 1 + i) * a->frame;
}

/* The new frame that window w ends with. */
static int last_of(const tn_asked *a, int w)
{
    return TN_MIN((w + 1) * a->answers, a->n) - 1;
}

void tn_asked_windows(const tn_asked *a, const tn_recent *r)
{
    const int before = a->length - 1, have = TN_MIN(r->n, before), first = -have; /* of the clip, as far as it matters */
    if (a->windows == a->frames) return;
    if (have) memcpy(tn_asked_frame(a, first), r->frames, (size_t)have * a->frame);
    for (int w = 0; w < a->n_windows; w++)
        for (int k = 0; k < a->length; k++)
            memcpy(a->windows + (size_t)(w * a->length + k) * a->frame,
                   tn_asked_frame(a, TN_MAX(last_of(a, w) - before + k, first)), a->frame);
}

int tn_asked_answer(const tn_asked *a, int i)
{
    const int w = i / a->answers;
    return (w + 1) * a->answers - 1 - (last_of(a, w) - i);
}

int tn_recent_add(tn_recent *r, const tn_asked *a, tn_error *err)
{
    const int before = a->length - 1, n = TN_MIN(before, r->n + a->n);
    if (!before) return 0;
    if (!r->frames && !(r->frames = malloc((size_t)before * a->frame))) return tn_oom(err);
    memcpy(r->frames, tn_asked_frame(a, a->n - n), (size_t)n * a->frame);
    r->n = n;
    return 0;
}

int tn_recent_copy(tn_recent *out, const tn_recent *r, const tn_asked *a, tn_error *err)
{
    const size_t bytes = (size_t)(a->length - 1) * a->frame;
    if (!bytes || !r->frames) return 0;
    out->frames = malloc(bytes);
    if (!out->frames) return tn_oom(err);
    memcpy(out->frames, r->frames, (size_t)r->n * a->frame);
    out->n = r->n;
    return 0;
}
