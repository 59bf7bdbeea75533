#include "asking.h"
#include "predictor.h"
#include "recent.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_AT_ONCE = 32 };

typedef struct {
    tn_asked a;
    tn_recent before; /* as it was when this began */
    int (*size)[2];   /* [n] widths and heights of the frames */
    int put, taken;   /* windows */
} question;

struct tn_asking {
    tn_engine *e;
    tn_predictor *predictor;
    tn_recent recent; /* of a model of several frames */
    question q[TN_HANDLE_AHEAD];
    int first, n;
    int at_once; /* windows in a batch; less after the device refused more */
    float *heat; /* of a batch */
    size_t room; /* values */
};

int tn_asking_new(tn_asking **out, tn_engine *e, tn_error *err)
{
    tn_asking *q = *out = calloc(1, sizeof *q);
    if (!q) return tn_oom(err);
    q->e = e;
    q->at_once = e->most ? TN_MIN(e->most, MOST_AT_ONCE) : MOST_AT_ONCE;
    return tn_predictor_new(&q->predictor, e, err);
}

static void question_free(question *k)
{
    tn_asked_free(&k->a);
    tn_recent_free(&k->before);
    free(k->size);
    *k = (question){0};
}

void tn_asking_free(tn_asking *q)
{
    if (!q) return;
    tn_predictor_free(q->predictor);
    for (int i = 0; i < TN_HANDLE_AHEAD; i++) question_free(&q->q[i]);
    tn_recent_free(&q->recent);
    free(q->heat);
    free(q);
}

void tn_asking_restart(tn_asking *q)
{
    tn_recent_restart(&q->recent);
}

static question *question_of(tn_asking *q, int i)
{
    return &q->q[(q->first + i) % TN_HANDLE_AHEAD];
}

/* The last that began did not: what it has seen was not seen. */
static void take_back(tn_asking *q)
{
    question *last = question_of(q, --q->n);
    const tn_recent now = q->recent;
    q->recent = last->before;
    last->before = now;
    question_free(last);
}

/* Nothing has begun any more. */
static int give_up(tn_asking *q, int rc)
{
    tn_predictor_drop(q->predictor);
    while (q->n) take_back(q);
    return rc;
}

/* ---- beginning ---- */

/* Resized to the model's size. */
static int shrink(tn_image *out, const tn_engine *e, const tn_rgb *f, tn_error *err)
{
    tn_image whole;
    const size_t row = 3 * (size_t)f->width;
    if (!f->stride || f->stride == row) {
        const tn_image same = {f->width, f->height, (uint8_t *)f->pixels};
        return tn_image_resize(out, &same, e->image_w, e->image_h, err);
    }
    TN_TRY(tn_image_new(&whole, f->width, f->height, err));
    for (int y = 0; y < f->height; y++) memcpy(whole.rgb + (size_t)y * row, f->pixels + (size_t)y * f->stride, row);
    int rc = tn_image_resize(out, &whole, e->image_w, e->image_h, err);
    tn_image_free(&whole);
    return rc;
}

static int shrink_all(const tn_asked *a, const tn_engine *e, const tn_rgb *f, tn_error *err)
{
    for (int i = 0; i < a->n; i++) {
        tn_image small;
        TN_TRY(shrink(&small, e, &f[i], err));
        memcpy(tn_asked_frame(a, i), small.rgb, a->frame);
        tn_image_free(&small);
    }
    return 0;
}

/* The frames, resized, and the windows of them. */
static int question_new(question *k, tn_asking *q, const tn_rgb *f, int n, tn_error *err)
{
    *k = (question){0};
    TN_TRY(tn_asked_new(&k->a, q->e, n, err));
    k->size = malloc(sizeof *k->size * (size_t)n);
    int rc = k->size ? shrink_all(&k->a, q->e, f, err) : tn_oom(err);
    if (!rc) rc = tn_recent_copy(&k->before, &q->recent, &k->a, err);
    for (int i = 0; !rc && i < n; i++) k->size[i][0] = f[i].width, k->size[i][1] = f[i].height;
    if (!rc) tn_asked_windows(&k->a, &q->recent);
    if (!rc) rc = tn_recent_add(&q->recent, &k->a, err);
    if (rc) question_free(k);
    return rc;
}

/* The next windows of the question go to the device. */
static int put(tn_asking *q, question *k, tn_error *err)
{
    const int n = TN_MIN(k->a.n_windows - k->put, q->at_once);
    const tn_batch b = {.n = n, .frames = k->a.windows + (size_t)(k->put * k->a.length) * k->a.frame};
    const int rc = tn_predictor_put(q->predictor, &b, false, err);
    if (rc == TN_ERR_MEMORY && n > 1) {
        q->at_once = n / 2;
        return 0;
    }
    if (!rc) k->put += n;
    return rc;
}

/* As many batches as can be under way, in order. */
static int advance(tn_asking *q, tn_error *err)
{
    for (int i = 0; i < q->n; i++) {
        question *k = question_of(q, i);
        while (k->put < k->a.n_windows) {
            if (tn_predictor_under_way(q->predictor) == TN_PREDICTOR_SLOTS) return 0;
            TN_TRY(put(q, k, err));
        }
    }
    return 0;
}

int tn_asking_begin(tn_asking *q, const tn_rgb *frames, int n, tn_error *err)
{
    if (q->n == TN_HANDLE_AHEAD) return tn_fail(err, TN_ERR_ARGUMENT, "%d predictions have begun, as many as can", q->n);
    question *k = question_of(q, q->n);
    TN_TRY(question_new(k, q, frames, n, err));
    q->n++;
    const int rc = advance(q, err);
    if (!rc) return 0;
    if (k->put) return give_up(q, rc);
    take_back(q);
    return rc;
}

/* ---- ending ---- */

static size_t area_of(const tn_asking *q)
{
    return (size_t)q->e->model->heat_w * (size_t)q->e->model->heat_h;
}

static int make_room(tn_asking *q, int windows, tn_error *err)
{
    const size_t values = (size_t)windows * tn_engine_heat_size(q->e);
    if (values <= q->room) return 0;
    free(q->heat);
    q->room = 0;
    q->heat = malloc(sizeof *q->heat * values);
    if (!q->heat) return tn_oom(err);
    q->room = values;
    return 0;
}

static void read_ball(tn_ball *b, const tn_asking *q, const int size[2], float *heat)
{
    const int w = q->e->model->heat_w, h = q->e->model->heat_h;
    tn_heat_ball(heat, w, h, tn_heat_logits(q->e->s), b);
    b->x *= (double)size[0] / w;
    b->y *= (double)size[1] / h;
}

/* The oldest batch, which is of this question. */
static int take(tn_asking *q, question *k, tn_ball *balls, float *heat, tn_error *err)
{
    const int windows = tn_predictor_oldest(q->predictor), first = k->taken * k->a.answers;
    const int end = TN_MIN(first + windows * k->a.answers, k->a.n);
    const size_t area = area_of(q);
    TN_TRY(make_room(q, windows, err));
    TN_TRY(tn_predictor_take(q->predictor, q->heat, NULL, err));
    TN_TRY(advance(q, err)); /* the device works on while this is read */
    for (int i = first; i < end; i++) {
        float *one = q->heat + (size_t)(tn_asked_answer(&k->a, i) - first) * area;
        read_ball(&balls[i], q, k->size[i], one);
        if (heat) memcpy(heat + (size_t)i * area, one, area * sizeof *one);
    }
    k->taken += windows;
    return 0;
}

int tn_asking_end(tn_asking *q, tn_ball *balls, float *heat, tn_error *err)
{
    question *k = question_of(q, 0);
    if (!q->n) return tn_fail(err, TN_ERR_ARGUMENT, "no prediction has begun");
    while (k->taken < k->a.n_windows) {
        const int rc = take(q, k, balls, heat, err);
        if (rc) return give_up(q, rc);
    }
    question_free(k);
    q->first = (q->first + 1) % TN_HANDLE_AHEAD;
    q->n--;
    return 0;
}
