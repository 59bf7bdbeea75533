#include "flow.h"
#include "repair.h"

#include <stdlib.h>

enum { FLOW_PIXELS = 32 << 20 }; /* of a batch: large photographs go in smaller ones */

/* What goes to the device together. */
typedef struct {
    tn_shot *shots;
    tn_rgb *rgb;
    int n; /* 0: nothing is under way */
} flow_batch;

typedef struct {
    const tn_flow *p;
    size_t area; /* of a heatmap */
    flow_batch batches[TN_HANDLE_AHEAD];
    int next; /* batch that is read into; the others are under way */
    tn_ball *balls;
    float *heat;
    tn_repair *repair; /* NULL: none */
    bool end;
    int batch, answers; /* shots that go together, at most; that one pass answers */
    tn_shot held;       /* the first of another clip, which waits for the batch before it; im.rgb NULL: none */
} flow_room;

static int flow_next(flow_room *r, tn_shot *s, tn_error *err)
{
    *s = r->held;
    r->held = (tn_shot){0};
    return s->im.rgb ? 0 : r->p->next(r->p->user, s, &r->end, err);
}

/* A batch holds frames of one clip. */
static int flow_read(flow_room *r, flow_batch *b, tn_error *err)
{
    size_t pixels = 0;
    for (b->n = 0; b->n < r->batch && (pixels < FLOW_PIXELS || b->n % r->answers) && !r->end;) {
        tn_shot *s = &b->shots[b->n];
        TN_TRY(flow_next(r, s, err));
        if (r->end) break;
        if (s->first && b->n) {
            r->held = *s;
            break;
        }
        b->rgb[b->n++] = (tn_rgb){s->im.rgb, s->im.w, s->im.h, 0};
        pixels += (size_t)s->im.w * (size_t)s->im.h;
    }
    return 0;
}

static void flow_release(flow_batch *b)
{
    for (int i = 0; i < b->n; i++) tn_image_free(&b->shots[i].im);
    b->n = 0;
}

/* The oldest batch under way, if this is one. */
static int flow_answer(flow_room *r, flow_batch *b, tn_error *err)
{
    int rc = b->n ? tn_handle_end(r->p->m, r->balls, r->heat, err) : 0;
    for (int i = 0; !rc && i < b->n; i++) {
        const tn_sight a = {r->balls[i], (float)r->balls[i].confidence >= r->p->threshold, false, r->heat + (size_t)i * r->area};
        rc = r->repair ? tn_repair_take(r->repair, &b->shots[i], &a, err) : r->p->answer(r->p->user, &b->shots[i], &a, err);
    }
    flow_release(b);
    return rc;
}

static int flow_begin(flow_room *r, const flow_batch *b, tn_error *err)
{
    if (!b->n) return 0;
    if (b->shots[0].first) TN_TRY(tn_model_restart(r->p->m, err));
    return tn_handle_begin(r->p->m, b->rgb, b->n, err);
}

/* The next batch begins before the one under way is answered. */
static int flow_step(flow_room *r, tn_error *err)
{
    flow_batch *now = &r->batches[r->next], *before = &r->batches[!r->next];
    tn_error unread = {0};
    const int read = flow_read(r, now, &unread);
    tn_error unsaid;
    const int begun = flow_begin(r, now, err), answered = flow_answer(r, before, begun ? &unsaid : err);
    if (begun || answered) return begun ? begun : answered;
    r->next = !r->next;
    if (!read && !r->end) return 0;
    TN_TRY(flow_answer(r, now, err));
    if (r->repair) TN_TRY(tn_repair_end(r->repair, err));
    if (read) *err = unread;
    return read;
}

static int flow_all(flow_room *r, tn_error *err)
{
    int rc = 0;
    while (!rc && !r->end) rc = flow_step(r, err);
    return rc;
}

static int flow_batch_new(flow_batch *b, int n, tn_error *err)
{
    b->shots = calloc((size_t)n, sizeof *b->shots);
    b->rgb = calloc((size_t)n, sizeof *b->rgb);
    return b->shots && b->rgb ? 0 : tn_oom(err);
}

static void flow_batch_free(flow_batch *b)
{
    flow_release(b);
    free(b->shots);
    free(b->rgb);
}

int tn_flow_run(const tn_flow *p, tn_error *err)
{
    tn_model_info info = TN_MODEL_INFO_INIT;
    TN_TRY(tn_model_describe(p->m, &info, err));
    flow_room r = {.p = p, .area = (size_t)info.heat_width * (size_t)info.heat_height, .answers = tn_handle_answers(p->m)};
    r.batch = TN_ROUND_UP(p->batch, r.answers);
    const size_t n = (size_t)r.batch;
    r.balls = calloc(n, sizeof *r.balls);
    r.heat = malloc(sizeof *r.heat * r.area * n);
    int rc = r.balls && r.heat ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < TN_HANDLE_AHEAD; i++) rc = flow_batch_new(&r.batches[i], r.batch, err);
    if (!rc && p->smooth) rc = tn_repair_new(&r.repair, p, r.area, err);
    if (!rc) rc = flow_all(&r, err);
    tn_repair_free(r.repair);
    tn_image_free(&r.held.im);
    for (int i = 0; i < TN_HANDLE_AHEAD; i++) flow_batch_free(&r.batches[i]);
    free(r.balls);
    free(r.heat);
    return rc;
}
