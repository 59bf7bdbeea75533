#include "repair.h"
#include "smooth.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    tn_shot shot; /* without pixels unless the answers want pictures */
    tn_ball ball;
    int width, height;
    float *heat; /* NULL unless the answers want pictures */
} repair_held;

struct tn_repair {
    const tn_flow *p;
    size_t heat;
    tn_smooth *track;  /* NULL: none began */
    repair_held *held; /* [room], a ring */
    int room, first, n;
};

int tn_repair_new(tn_repair **out, const tn_flow *p, size_t heat, tn_error *err)
{
    tn_repair *r = *out = calloc(1, sizeof *r);
    if (!r) return tn_oom(err);
    *r = (tn_repair){.p = p, .heat = heat, .room = tn_smooth_delay(p->max_gap) + 2};
    r->held = calloc((size_t)r->room, sizeof *r->held);
    return r->held ? 0 : tn_oom(err);
}

static void repair_drop(tn_repair *r)
{
    repair_held *h = &r->held[r->first];
    tn_image_free(&h->shot.im);
    free(h->heat);
    r->first = (r->first + 1) % r->room;
    r->n--;
}

static int repair_answer(tn_repair *r, bool last, tn_error *err)
{
    tn_track_point p;
    while (tn_smooth_pop(r->track, last, &p)) {
        repair_held *h = &r->held[r->first];
        tn_sight a = {h->ball, p.visible, p.repaired, h->heat};
        if (p.repaired && p.visible) a.ball.x = p.x, a.ball.y = p.y;
        const int rc = r->p->answer(r->p->user, &h->shot, &a, err);
        repair_drop(r);
        TN_TRY(rc);
    }
    return 0;
}

int tn_repair_end(tn_repair *r, tn_error *err)
{
    if (!r->track) return 0;
    const int rc = repair_answer(r, true, err);
    tn_smooth_free(r->track);
    r->track = NULL;
    return rc;
}

static int repair_begin(tn_repair *r, const tn_image *im, tn_error *err)
{
    const repair_held *before = r->n ? &r->held[r->first] : NULL;
    if (before && (before->width != im->w || before->height != im->h)) TN_TRY(tn_repair_end(r, err));
    return r->track ? 0 : tn_smooth_new(&r->track, TN_SMOOTH_SLACK * im->w, r->p->max_gap, err);
}

static int repair_hold(tn_repair *r, tn_shot *s, const tn_sight *a, tn_error *err)
{
    repair_held *h = &r->held[(r->first + r->n) % r->room];
    *h = (repair_held){.shot = *s, .ball = a->ball, .width = s->im.w, .height = s->im.h};
    h->shot.im = (tn_image){0};
    r->n++;
    if (!r->p->pictures) return 0;
    h->heat = malloc(sizeof *h->heat * r->heat);
    if (!h->heat) return tn_oom(err);
    memcpy(h->heat, a->heat, sizeof *h->heat * r->heat);
    h->shot.im = s->im;
    s->im = (tn_image){0};
    return 0;
}

int tn_repair_take(tn_repair *r, tn_shot *s, const tn_sight *a, tn_error *err)
{
    const tn_track_point p = {.at = s->at, .x = a->ball.x, .y = a->ball.y, .visible = a->visible};
    TN_TRY(repair_begin(r, &s->im, err));
    TN_TRY(tn_smooth_push(r->track, &p, err));
    TN_TRY(repair_hold(r, s, a, err));
    return repair_answer(r, false, err);
}

void tn_repair_free(tn_repair *r)
{
    if (!r) return;
    while (r->n) repair_drop(r);
    tn_smooth_free(r->track);
    free(r->held);
    free(r);
}
