#include "smooth.h"
#include "numeric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tn_smooth {
    tn_track_point *p; /* [n] of [room]: what was handed out and is still looked back at, then what was not */
    int n, room;
    int judged; /* of these it is decided whether they are outliers */
    int out;    /* and these were handed out */
    double slack;
    int max_gap;
};

int tn_smooth_new(tn_smooth **out, double slack, int max_gap, tn_error *err)
{
    tn_smooth *s = *out = calloc(1, sizeof *s);
    if (!s) return tn_oom(err);
    s->slack = slack;
    s->max_gap = max_gap;
    return 0;
}

void tn_smooth_free(tn_smooth *s)
{
    if (!s) return;
    free(s->p);
    free(s);
}

/* A point is judged when all that its judgement may look at is there; handed out when a gap that begins there and its other side
 * are judged. */
static int judged_late(void)
{
    return 2 * TN_SMOOTH_REACH;
}

static int filled_late(int max_gap)
{
    return max_gap ? max_gap + 2 : 0;
}

int tn_smooth_delay(int max_gap)
{
    return judged_late() + filled_late(max_gap);
}

int tn_smooth_push(tn_smooth *s, const tn_track_point *p, tn_error *err)
{
    const int past = TN_MAX(2 * TN_SMOOTH_REACH, s->max_gap + 3), gone = s->out - past;
    if (s->n == s->room && gone > s->room / 2) { /* what nobody looks back at any more makes room */
        s->n -= gone, s->judged -= gone, s->out -= gone;
        memmove(s->p, s->p + gone, sizeof *s->p * (size_t)s->n);
    } else if (s->n == s->room) {
        const int more = TN_MAX(64, 2 * s->room);
        tn_track_point *q = realloc(s->p, sizeof *q * (size_t)more);
        if (!q) return tn_oom(err);
        s->p = q;
        s->room = more;
    }
    s->p[s->n] = *p;
    s->p[s->n++].repaired = false;
    return 0;
}

/* ---- outliers ---- */

/* The visible point nearest to i, not i itself, in the direction given and at most `most` frames away; -1: none. What was filled in
 * is not looked at: it says nothing. */
static int seen(const tn_smooth *s, int i, int direction, int most)
{
    for (int k = 1; k <= most; k++) {
        const int j = i + direction * k;
        if (j < 0 || j >= s->n) return -1;
        if (s->p[j].visible && !s->p[j].repaired) return j;
    }
    return -1;
}

static double step(const tn_smooth *s, int a, int b)
{
    return hypot(s->p[b].x - s->p[a].x, s->p[b].y - s->p[a].y);
}

static double apart(const tn_smooth *s, int a, int b)
{
    return fabs(s->p[b].at - s->p[a].at);
}

/* The usual distance in a frame on one side of point i, i being the first of it: the median of the steps within reach (the lower
 * one of two). Negative: fewer than two steps, which say nothing. */
static double usual(const tn_smooth *s, int i, int direction)
{
    double v[TN_SMOOTH_REACH];
    int n = 0;
    for (int a = i, left = TN_SMOOTH_REACH, b; (b = seen(s, a, direction, left)) >= 0; a = b) {
        v[n++] = step(s, a, b) / apart(s, a, b);
        left -= abs(b - a);
    }
    if (n < 2) return -1;
    tn_sort_doubles(v, (size_t)n);
    return v[(n - 1) / 2];
}

/* How far the ball may move from a to b where it usually moves `speed`. */
static double allowed(const tn_smooth *s, double speed, int a, int b)
{
    return s->slack + TN_SMOOTH_FACTOR * speed * apart(s, a, b);
}

/* Points that are to be dropped from i on: a run of at most TN_SMOOTH_RUN that is reached and left by jumps which the motion before
 * and behind does not allow, while it does allow to go past the run. */
static int outliers(const tn_smooth *s, int i)
{
    const int before = seen(s, i, -1, TN_SMOOTH_REACH);
    if (before < 0) return 0;
    for (int n = 1, end = i; n <= TN_SMOOTH_RUN; n++) { /* the run: i to end */
        const int behind = seen(s, end, 1, before + TN_SMOOTH_REACH - end);
        if (behind < 0) return 0;
        const double speed = fmax(usual(s, before, -1), usual(s, behind, 1));
        const bool fits = speed >= 0 && step(s, before, behind) <= allowed(s, speed, before, behind);
        if (fits && step(s, before, i) > allowed(s, speed, before, i) && step(s, end, behind) > allowed(s, speed, end, behind))
            return end - i + 1;
        end = behind;
    }
    return 0;
}

static void judge(tn_smooth *s, bool last)
{
    while (s->judged < s->n && (last || s->judged + judged_late() < s->n)) {
        const int n = s->p[s->judged].visible ? outliers(s, s->judged) : 0;
        for (int k = 0; k < n; k++) {
            tn_track_point *p = &s->p[s->judged + k];
            p->repaired = p->visible;
            p->visible = false;
        }
        s->judged += TN_MAX(n, 1);
    }
}

/* ---- gaps ---- */

/* Lagrange's polynomial through n points at `at`. */
static void through(const tn_smooth *s, const int *i, int n, tn_track_point *p)
{
    p->x = p->y = 0;
    for (int a = 0; a < n; a++) {
        double w = 1;
        for (int b = 0; b < n; b++)
            if (b != a) w *= (p->at - s->p[i[b]].at) / (s->p[i[a]].at - s->p[i[b]].at);
        p->x += w * s->p[i[a]].x;
        p->y += w * s->p[i[a]].y;
    }
}

/* A cubic through two points on either side where they are close together; else, and where it bends away as it does when an outer
 * point belongs to another flight, a line through one. */
static void fill(const tn_smooth *s, int i, tn_track_point *p)
{
    const int a = seen(s, i, -1, s->max_gap), b = a < 0 ? -1 : seen(s, i, 1, a + s->max_gap + 1 - i);
    if (b < 0) return;
    const int four[] = {seen(s, a, -1, 2), a, b, seen(s, b, 1, 2)};
    through(s, four + 1, 2, p);
    if (four[0] >= 0 && four[3] >= 0) {
        tn_track_point bent = *p;
        through(s, four, 4, &bent);
        if (hypot(bent.x - p->x, bent.y - p->y) <= s->slack + step(s, a, b) / 2) *p = bent;
    }
    p->visible = p->repaired = true;
}

bool tn_smooth_pop(tn_smooth *s, bool last, tn_track_point *p)
{
    judge(s, last);
    if (s->out == s->judged || (!last && s->out + filled_late(s->max_gap) >= s->judged)) return false;
    *p = s->p[s->out];
    if (!p->visible) fill(s, s->out, p);
    s->out++; /* the point within stays as it was judged: what is filled must not lead to more filling */
    return true;
}
