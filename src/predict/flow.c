#include "flow.h"
#include "repair.h"

#include <stdlib.h>

enum { FLOW_PIXELS = 64 << 20 }; /* of a batch: large photographs go in smaller ones */

typedef struct {
    const tn_flow *p;
    size_t area; /* of a heatmap */
    tn_shot *shots;
    tn_rgb *rgb;
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
static int flow_read(flow_room *r, int *n, tn_error *err)
{
    size_t pixels = 0;
    for (*n = 0; *n < r->batch && (pixels < FLOW_PIXELS || *n % r->answers) && !r->end;) {
        tn_shot *s = &r->shots[*n];
        TN_TRY(flow_next(r, s, err));
        if (r->end) break;
        if (s->first && *n) {
            r->held = *s;
            break;
        }
        r->rgb[*n] = (tn_rgb){s->im.rgb, s->im.w, s->im.h, 0};
        pixels += (size_t)s->im.w * (size_t)s->im.h;
        ++*n;
    }
    return 0;
}

static int flow_answer(flow_room *r, int n, tn_error *err)
{
    if (r->shots[0].first) TN_TRY(tn_model_restart(r->p->m, err));
    TN_TRY(tn_model_predict(r->p->m, r->rgb, n, r->balls, r->heat, err));
    for (int i = 0; i < n; i++) {
        const tn_sight a = {r->balls[i], (float)r->balls[i].confidence >= r->p->threshold, false, r->heat + (size_t)i * r->area};
        TN_TRY(r->repair ? tn_repair_take(r->repair, &r->shots[i], &a, err) : r->p->answer(r->p->user, &r->shots[i], &a, err));
    }
    return 0;
}

static int flow_all(flow_room *r, tn_error *err)
{
    while (!r->end) {
        int n, rc;
        tn_error unread = {0};
        const int read = flow_read(r, &n, &unread);
        rc = n ? flow_answer(r, n, err) : 0;
        for (int i = 0; i < n; i++) tn_image_free(&r->shots[i].im);
        TN_TRY(rc);
        if (r->repair && (read || r->end)) TN_TRY(tn_repair_end(r->repair, err));
        if (read) return *err = unread, read;
    }
    return 0;
}

int tn_flow_run(const tn_flow *p, tn_error *err)
{
    tn_model_info info = TN_MODEL_INFO_INIT;
    TN_TRY(tn_model_describe(p->m, &info, err));
    flow_room r = {.p = p, .area = (size_t)info.heat_width * (size_t)info.heat_height, .answers = tn_handle_answers(p->m)};
    r.batch = TN_ROUND_UP(p->batch, r.answers);
    const size_t n = (size_t)r.batch;
    r.shots = calloc(n, sizeof *r.shots);
    r.rgb = calloc(n, sizeof *r.rgb);
    r.balls = calloc(n, sizeof *r.balls);
    r.heat = malloc(sizeof *r.heat * r.area * n);
    int rc = r.shots && r.rgb && r.balls && r.heat ? 0 : tn_oom(err);
    if (!rc && p->smooth) rc = tn_repair_new(&r.repair, p, r.area, err);
    if (!rc) rc = flow_all(&r, err);
    tn_repair_free(r.repair);
    tn_image_free(&r.held.im);
    free(r.shots);
    free(r.rgb);
    free(r.balls);
    free(r.heat);
    return rc;
}
