/* The repair of a track: what is dropped, what is filled, what is left alone, and that it needs no more of the future than it says.
 */
#include "smooth.h"
#include "testlib.h"

#include <math.h>
#include <string.h>

enum { GAP = 5, MOST = 400 };
static const double slack = 10;

/* All at once: n points in, n out. */
static void repaired(tn_track_point *out, const tn_track_point *in, int n, int max_gap)
{
    tn_smooth *s;
    tn_error err;
    ck_assert_int_eq(tn_smooth_new(&s, slack, max_gap, &err), 0);
    for (int i = 0; i < n; i++) ck_assert_int_eq(tn_smooth_push(s, &in[i], &err), 0);
    for (int i = 0; i < n; i++) ck_assert(tn_smooth_pop(s, true, &out[i]));
    ck_assert(!tn_smooth_pop(s, true, out + n - 1) || n == 0);
    tn_smooth_free(s);
}

/* A ball that flies: 12 pixels a frame to the right, up and down again. */
static void flight(tn_track_point *p, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (tn_track_point){.at = i, .x = 50 + 12.0 * i, .y = 300 - 14.0 * i + 0.5 * i * i, .visible = true};
}

static void hide(tn_track_point *p, int from, int n)
{
    for (int i = from; i < from + n; i++) p[i].visible = false, p[i].x = p[i].y = 0;
}

static void is_flight(const tn_track_point *p, int i, double tolerance)
{
    tn_track_point want[MOST];
    flight(want, i + 1);
    ck_assert(p[i].visible);
    ck_assert_double_eq_tol(p[i].x, want[i].x, tolerance);
    ck_assert_double_eq_tol(p[i].y, want[i].y, tolerance);
}

START_TEST(a_clean_track_stays_as_it_is)
{
    tn_track_point in[60], out[60];
    flight(in, 60);
    hide(in, 40, GAP + 1); /* too long to be filled */
    hide(in, 0, 3);        /* no gap: nothing before */
    hide(in, 58, 2);       /* nor behind */
    repaired(out, in, 60, GAP);
    for (int i = 0; i < 60; i++) {
        ck_assert(!out[i].repaired && out[i].visible == in[i].visible);
        ck_assert(out[i].x == in[i].x && out[i].y == in[i].y && out[i].at == in[i].at);
    }
}

/* A cubic goes through a parabola's points, so that the filled ones lie on it. */
START_TEST(a_short_gap_is_filled)
{
    tn_track_point in[40], out[40];
    const int n = _i + 1;
    flight(in, 40);
    hide(in, 15, n);
    repaired(out, in, 40, GAP);
    for (int i = 0; i < 40; i++) {
        ck_assert_int_eq(out[i].repaired, i >= 15 && i < 15 + n);
        is_flight(out, i, 1e-6);
    }
    repaired(out, in, 40, n - 1);
    for (int i = 15; i < 15 + n; i++) ck_assert(!out[i].visible && !out[i].repaired);
}

/* With one point on a side there is only a line. */
START_TEST(a_gap_at_the_edge_is_bridged_straight)
{
    tn_track_point in[20], out[20];
    flight(in, 20);
    hide(in, 1, 2);
    repaired(out, in, 20, GAP);
    for (int i = 1; i < 3; i++) {
        ck_assert(out[i].visible && out[i].repaired);
        ck_assert_double_eq_tol(out[i].x, in[0].x + (in[3].x - in[0].x) * i / 3, 1e-9);
        ck_assert_double_eq_tol(out[i].y, in[0].y + (in[3].y - in[0].y) * i / 3, 1e-9);
    }
}

/* Behind the gap the ball is hit: the next place belongs to another flight, and would bend the way far out. */
START_TEST(a_gap_before_a_hit_is_bridged_straight)
{
    tn_track_point in[30], out[30];
    for (int i = 0; i < 30; i++)
        in[i] = (tn_track_point){.at = i, .x = i <= 14 ? 100 + 2 * i : 128 + 120 * (i - 14), .y = 50 + i, .visible = true};
    hide(in, 10, 4);
    repaired(out, in, 30, GAP);
    for (int i = 10; i < 14; i++) {
        ck_assert(out[i].visible && out[i].repaired);
        ck_assert_double_eq_tol(out[i].x, 100 + 2 * i, 1e-9);
        ck_assert_double_eq_tol(out[i].y, 50 + i, 1e-9);
    }
}

START_TEST(a_gap_is_filled_by_the_times_of_its_frames)
{
    tn_track_point in[20], out[20];
    for (int i = 0; i < 20; i++) {
        in[i] = (tn_track_point){.at = i + 0.3 * (i % 3), .visible = true};
        in[i].x = 9 * in[i].at, in[i].y = 4 * in[i].at;
    }
    const tn_track_point was = in[10];
    hide(in, 10, 1);
    repaired(out, in, 20, GAP);
    ck_assert(out[10].repaired && out[10].visible);
    ck_assert_double_eq_tol(out[10].x, was.x, 1e-9);
    ck_assert_double_eq_tol(out[10].y, was.y, 1e-9);
}

/* A shoe, a line, a light: somewhere else for up to three frames. */
START_TEST(outliers_are_dropped_and_filled)
{
    tn_track_point in[40], out[40];
    const int n = _i + 1;
    flight(in, 40);
    for (int i = 20; i < 20 + n; i++) in[i].x = 900, in[i].y = 20 + i;
    repaired(out, in, 40, GAP);
    for (int i = 0; i < 40; i++) {
        ck_assert_int_eq(out[i].repaired, i >= 20 && i < 20 + n);
        is_flight(out, i, 1e-6);
    }
    repaired(out, in, 40, 0);
    for (int i = 20; i < 20 + n; i++) ck_assert(!out[i].visible && out[i].repaired);
}

START_TEST(what_stays_elsewhere_is_no_outlier)
{
    tn_track_point in[60], out[60];
    flight(in, 60);
    for (int i = 20; i < 60; i++) in[i].x += 500; /* a cut to another camera */
    repaired(out, in, 60, GAP);
    for (int i = 0; i < 60; i++) ck_assert(out[i].visible && !out[i].repaired);
}

/* A racket turns the ball round within a frame and makes it four times as fast; the ground only turns it. */
START_TEST(a_hit_and_a_bounce_are_left_alone)
{
    tn_track_point in[60], out[60];
    for (int i = 0; i < 60; i++) {
        in[i] = (tn_track_point){.at = i, .x = i < 30 ? 100 + 8 * i : 340 - 32 * (i - 30), .y = 200, .visible = true};
        in[i].y += i < 45 ? 5 * i : 225 - 6 * (i - 45);
    }
    repaired(out, in, 60, GAP);
    for (int i = 0; i < 60; i++) ck_assert_msg(out[i].visible && !out[i].repaired, "frame %d", i);
}

static unsigned state;
static double uniform(void)
{
    state = state * 1664525U + 1013904223U;
    return (state >> 8) / 16777216.0;
}

/* Random tracks, with all that may happen to them. */
static void scrawl(tn_track_point *p, int n)
{
    double x = 300, y = 200, vx = 5, vy = 3;
    for (int i = 0; i < n; i++) {
        if (uniform() < 0.05) vx = 40 * (uniform() - 0.5), vy = 40 * (uniform() - 0.5);
        x += vx, y += vy;
        const bool astray = uniform() < 0.1;
        p[i] = (tn_track_point){i + 0.4 * uniform(), astray ? 1000 * uniform() : x, astray ? 600 * uniform() : y, uniform() > 0.15,
                                false};
    }
}

/* Point by point gives what all at once gives, held back for no longer than it says. */
START_TEST(a_stream_is_the_whole)
{
    tn_track_point in[MOST] = {{0}}, out[MOST], want[MOST];
    tn_smooth *s;
    tn_error err;
    const int gap = _i % 9, n = 1 + _i * 13 % MOST;
    int got = 0, changed = 0;
    state = (unsigned)_i;
    scrawl(in, n);
    repaired(want, in, n, gap);
    ck_assert_int_eq(tn_smooth_new(&s, slack, gap, &err), 0);
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(tn_smooth_push(s, &in[i], &err), 0);
        while (tn_smooth_pop(s, false, &out[got])) got++;
        ck_assert_int_le(i + 1 - got, tn_smooth_delay(gap));
    }
    while (got < n && tn_smooth_pop(s, true, &out[got])) got++;
    ck_assert_int_eq(got, n);
    tn_smooth_free(s);
    for (int i = 0; i < n; i++) {
        ck_assert(out[i].visible == want[i].visible && out[i].repaired == want[i].repaired && out[i].at == in[i].at);
        ck_assert(!out[i].visible || (out[i].x == want[i].x && out[i].y == want[i].y));
        ck_assert(isfinite(out[i].x) && isfinite(out[i].y));
        if (!out[i].repaired) ck_assert(out[i].visible == in[i].visible && out[i].x == in[i].x && out[i].y == in[i].y);
        changed += out[i].repaired;
    }
    ck_assert(n < 60 || changed > 0);
}

int main(void)
{
    return run_tests("smooth", 20,
                     TESTS(ONCE(a_clean_track_stays_as_it_is), TIMES(a_short_gap_is_filled, GAP),
                           ONCE(a_gap_at_the_edge_is_bridged_straight), ONCE(a_gap_before_a_hit_is_bridged_straight),
                           ONCE(a_gap_is_filled_by_the_times_of_its_frames), TIMES(outliers_are_dropped_and_filled, TN_SMOOTH_RUN),
                           ONCE(what_stays_elsewhere_is_no_outlier), ONCE(a_hit_and_a_bounce_are_left_alone),
                           TIMES(a_stream_is_the_whole, 60)));
}
