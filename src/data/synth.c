/* Clips drawn from a few parameters: everything is supersampled by coverage, nothing needs a picture library. */
#include "entry.h"
#include "files.h"
#include "image.h"
#include "numeric.h"
#include "watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tracknet/synth.h>

typedef struct {
    double r, g, b;
} rgb;

typedef struct {
    rgb court, around, crowd, line, ball, shirt[2];
    double light, noise, ball_radius; /* of a 512-pixel wide frame */
} look_t;

static const look_t looks[] = {
    {{58, 110, 168},
     {72, 140, 92},
     {96, 92, 104},
     {240, 240, 240},
     {215, 235, 70},
     {{220, 60, 60}, {240, 240, 245}},
     1.0,
     3.0,
     3.2},
    {{186, 98, 58}, {150, 74, 44}, {60, 56, 72}, {228, 214, 200}, {250, 248, 240}, {{40, 60, 150}, {30, 30, 36}}, 0.72, 5.0, 2.6},
};

enum { MAX_BARS = 4 }; /* of a clip */
#define BAR  0.08      /* thickness of a bar, of the picture's height */
#define BLUR 0.35      /* of a frame's time the shutter is open */

typedef struct {
    double x, y, vx, phase;
    rgb shirt;
} player;

typedef struct {
    look_t k;
    int w, h;
    double top, left, tilt; /* court geometry, fractions */
    player p[2];
    double bx, by, vx, vy;
    int hits;
    tn_rng r;
    float *noise;         /* crowd texture, fixed for a clip */
    tn_image court;       /* a clip's frames begin with it */
    double bar[MAX_BARS]; /* their middles, pixels; from top to bottom */
    int bars;
} scene;

static void mix(tn_image *im, int x, int y, rgb c, double a)
{
    if (x < 0 || y < 0 || x >= im->w || y >= im->h || a <= 0) return;
    uint8_t *p = im->rgb + ((size_t)y * (size_t)im->w + (size_t)x) * 3;
    a = fmin(a, 1);
    p[0] = (uint8_t)(p[0] * (1 - a) + c.r * a + 0.5);
    p[1] = (uint8_t)(p[1] * (1 - a) + c.g * a + 0.5);
    p[2] = (uint8_t)(p[2] * (1 - a) + c.b * a + 0.5);
}

static double range(tn_rng *r, double lo, double hi)
{
    return lo + (hi - lo) * tn_rng_uniform(r);
}

static void ellipse(tn_image *im, double cx, double cy, double rx, double ry, rgb c)
{
    for (int y = (int)(cy - ry - 1); y <= (int)(cy + ry + 1); y++)
        for (int x = (int)(cx - rx - 1); x <= (int)(cx + rx + 1); x++) {
            double d = hypot((x + 0.5 - cx) / rx, (y + 0.5 - cy) / ry);
            mix(im, x, y, c, (1 - d) * fmin(rx, ry) + 0.5);
        }
}

static void segment(tn_image *im, double x0, double y0, double x1, double y1, double r, rgb c, double alpha)
{
    const double dx = x1 - x0, dy = y1 - y0, len2 = dx * dx + dy * dy;
    for (int y = (int)(fmin(y0, y1) - r - 2); y <= (int)(fmax(y0, y1) + r + 2); y++)
        for (int x = (int)(fmin(x0, x1) - r - 2); x <= (int)(fmax(x0, x1) + r + 2); x++) {
            double px = x + 0.5 - x0, py = y + 0.5 - y0, t = len2 > 0 ? (px * dx + py * dy) / len2 : 0;
            t = fmin(fmax(t, 0), 1);
            double d = hypot(px - t * dx, py - t * dy);
            mix(im, x, y, c, alpha * fmin(1, r + 0.5 - d));
        }
}

/* Court coordinates (u across -1..1, v depth 0..1) to pixels. */
static void ground(const scene *s, double u, double v, double *x, double *y)
{
    double depth = 0.45 + 0.55 * v;
    *x = s->w * (0.5 + s->left + u * 0.42 * depth + s->tilt * v);
    *y = s->h * (s->top + (0.94 - s->top) * v);
}

static void draw_court(scene *s, tn_image *im)
{
    double cx[4], cy[4];
    ground(s, -1.15, 0, &cx[0], &cy[0]), ground(s, 1.15, 0, &cx[1], &cy[1]);
    ground(s, -1.15, 1.08, &cx[2], &cy[2]), ground(s, 1.15, 1.08, &cx[3], &cy[3]);
    for (int y = 0; y < im->h; y++)
        for (int x = 0; x < im->w; x++) {
            const float n = s->noise[(size_t)y * (size_t)im->w + (size_t)x];
            rgb c = s->k.around;
            const double v = (y - cy[0]) / (cy[2] - cy[0]), l = cx[0] + (cx[2] - cx[0]) * v, r = cx[1] + (cx[3] - cx[1]) * v;
            double grain = 0.03 * n;
            if (v < -0.02) c = s->k.crowd, grain = 0.45 * n;
            else if (v >= 0 && v <= 1 && x >= l && x <= r) c = s->k.court;
            const double f = s->k.light * (1 + grain) * (0.92 + 0.12 * y / im->h);
            uint8_t *p = im->rgb + ((size_t)y * (size_t)im->w + (size_t)x) * 3;
            p[0] = (uint8_t)fmin(fmax(c.r * f, 0), 255), p[1] = (uint8_t)fmin(fmax(c.g * f, 0), 255),
            p[2] = (uint8_t)fmin(fmax(c.b * f, 0), 255);
        }
    static const double lines[][4] = {{-1, 0, 1, 0},         {-1, 1, 1, 1},         {-1, 0, -1, 1},
                                      {1, 0, 1, 1},          {-.75, 0, -.75, 1},    {.75, 0, .75, 1},
                                      {-.75, .28, .75, .28}, {-.75, .74, .75, .74}, {0, .28, 0, .74}};
    const rgb white = {s->k.line.r * s->k.light, s->k.line.g * s->k.light, s->k.line.b * s->k.light};
    for (size_t i = 0; i < TN_COUNT(lines); i++) {
        double x0, y0, x1, y1;
        ground(s, lines[i][0], lines[i][1], &x0, &y0), ground(s, lines[i][2], lines[i][3], &x1, &y1);
        segment(im, x0, y0, x1, y1, 0.6 * s->w / 512.0, white, 0.9);
    }
    double x0, y0, x1, y1;
    ground(s, -1.1, 0.45, &x0, &y0), ground(s, 1.1, 0.45, &x1, &y1);
    for (int i = 0; i < 5; i++)
        segment(im, x0, y0 - i * s->h * 0.012, x1, y1 - i * s->h * 0.012, 0.5, (rgb){30, 30, 34}, i == 4 ? 0.9 : 0.35);
}

static void player_box(const scene *s, int i, double *x, double *y, double *height)
{
    ground(s, s->p[i].x, s->p[i].y, x, y);
    *height = s->h * (0.10 + 0.10 * s->p[i].y);
}

static void draw_player(scene *s, tn_image *im, int i)
{
    double x, y, h;
    player_box(s, i, &x, &y, &h);
    const rgb skin = {190 * s->k.light, 140 * s->k.light, 110 * s->k.light}, dark = {34, 34, 40};
    const double swing = sin(s->p[i].phase) * h * 0.12;
    segment(im, x, y - h * 0.45, x - swing, y, h * 0.05, dark, 1);
    segment(im, x, y - h * 0.45, x + swing, y, h * 0.05, dark, 1);
    ellipse(im, x, y - h * 0.6, h * 0.14, h * 0.22, s->p[i].shirt);
    segment(im, x, y - h * 0.7, x + h * 0.28, y - h * 0.6 + swing, h * 0.035, skin, 1);
    ellipse(im, x, y - h * 0.9, h * 0.075, h * 0.095, skin);
}

static void new_shot(scene *s, bool first)
{
    const int to = first ? 0 : s->hits % 2;
    double x, y, h;
    if (first) {
        s->bx = s->w * range(&s->r, 0.25, 0.75);
        s->by = s->h * range(&s->r, 0.35, 0.7);
    }
    player_box(s, to, &x, &y, &h);
    const double steps = range(&s->r, 12, 22), gravity = s->h * 0.0022;
    s->vx = (x + range(&s->r, -0.12, 0.12) * s->w - s->bx) / steps;
    s->vy = (y - h * 0.6 - s->by) / steps - 0.5 * gravity * steps;
    s->hits++;
}

static void step(scene *s)
{
    s->vy += s->h * 0.0022;
    s->bx += s->vx;
    s->by += s->vy;
    const bool out = s->bx < s->w * 0.02 || s->bx > s->w * 0.98 || s->by > s->h * 0.95;
    if (out || (s->vy > 0 && tn_rng_uniform(&s->r) < 0.08)) {
        s->bx = fmin(fmax(s->bx, s->w * 0.03), s->w * 0.97);
        s->by = fmin(s->by, s->h * 0.93);
        new_shot(s, false);
    }
    for (int i = 0; i < 2; i++) {
        player *p = &s->p[i];
        p->x += p->vx;
        p->phase += 0.5;
        if (fabs(p->x) > 0.9 || tn_rng_uniform(&s->r) < 0.05) p->vx = range(&s->r, -0.03, 0.03) - (p->x > 0 ? 0.01 : -0.01);
    }
}

/* Players stand in front of the ball when it is behind them on the court. */
static bool hidden(const scene *s)
{
    for (int i = 0; i < 2; i++) {
        double x, y, h;
        player_box(s, i, &x, &y, &h);
        if (hypot((s->bx - x) / (h * 0.14), (s->by - (y - h * 0.6)) / (h * 0.22)) < 0.8) return true;
    }
    return s->by < 0;
}

static void sensor(scene *s, tn_image *im)
{
    for (size_t i = 0; i < (size_t)im->w * (size_t)im->h * 3; i++) {
        double v = im->rgb[i] + (tn_rng_uniform(&s->r) + tn_rng_uniform(&s->r) - 1) * s->k.noise * 1.7;
        im->rgb[i] = (uint8_t)TN_MIN(TN_MAX(v, 0), 255);
    }
}

static double ball_radius(const scene *s)
{
    return s->k.ball_radius * s->w / 512.0;
}

/* All of the ball, as long as the shutter is open. */
static bool behind_bar(const scene *s)
{
    const double reach = ball_radius(s) + 0.5 + fabs(s->vy) * BLUR / 2;
    for (int i = 0; i < s->bars; i++)
        if (fabs(s->by - s->bar[i]) + reach <= BAR / 2 * s->h) return true;
    return false;
}

static void draw_bars(const scene *s, tn_image *im)
{
    const rgb dark = {44 * s->k.light, 48 * s->k.light, 56 * s->k.light};
    for (int i = 0; i < s->bars; i++)
        for (int y = (int)(s->bar[i] - BAR / 2 * s->h); y < (int)ceil(s->bar[i] + BAR / 2 * s->h); y++)
            for (int x = 0; x < s->w; x++) mix(im, x, y, dark, 1);
}

static void draw_ball(const scene *s, tn_image *im)
{
    const double r = ball_radius(s), blur = BLUR;
    const double speed = hypot(s->vx, s->vy) * blur, alpha = fmin(1, 2.2 * r / (2 * r + speed) + 0.25);
    rgb c = {s->k.ball.r * fmin(1, s->k.light + 0.2), s->k.ball.g * fmin(1, s->k.light + 0.2),
             s->k.ball.b * fmin(1, s->k.light + 0.2)};
    segment(im, s->bx - s->vx * blur / 2, s->by - s->vy * blur / 2, s->bx + s->vx * blur / 2, s->by + s->vy * blur / 2, r, c,
            alpha);
}

/* Far enough apart that a ball is seen between two of them. */
static void place_bars(scene *s, const tn_synth_options *o, const char *name)
{
    tn_rng r = tn_rng_named(o->seed + 1, name); /* of their own: without bars the clip is what it was */
    s->bars = o->bars;
    for (int i = 0; i < s->bars; i++) s->bar[i] = s->h * (0.4 + 0.45 * (i + range(&r, 0.3, 0.7)) / s->bars);
}

static int scene_new(scene *s, const tn_synth_options *o, int clip, tn_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "synth clip %d of look %d", clip, o->look);
    *s = (scene){.k = looks[o->look], .w = o->width, .h = o->height, .r = tn_rng_named(o->seed, name)};
    place_bars(s, o, name);
    s->top = range(&s->r, 0.24, 0.34);
    s->left = range(&s->r, -0.05, 0.05);
    s->tilt = range(&s->r, -0.06, 0.06);
    for (int i = 0; i < 2; i++)
        s->p[i] = (player){range(&s->r, -0.6, 0.6), i ? 0.92 : 0.05, range(&s->r, -0.03, 0.03), i * 2.0, looks[o->look].shirt[i]};
    const size_t n = (size_t)o->width * (size_t)o->height;
    s->noise = malloc(n * sizeof *s->noise);
    if (!s->noise) return tn_oom(err);
    for (size_t i = 0; i < n; i++) s->noise[i] = (float)range(&s->r, -1, 1);
    for (size_t i = 1; i < n; i++) s->noise[i] = 0.45f * s->noise[i - 1] + 0.55f * s->noise[i];
    new_shot(s, true);
    TN_TRY(tn_image_new(&s->court, s->w, s->h, err));
    draw_court(s, &s->court);
    return 0;
}

static int draw_frame(scene *s, const char *path, tn_error *err)
{
    tn_image im;
    TN_TRY(tn_image_new(&im, s->w, s->h, err));
    memcpy(im.rgb, s->court.rgb, (size_t)s->w * (size_t)s->h * 3);
    const bool behind = hidden(s);
    draw_player(s, &im, 0);
    if (behind) draw_ball(s, &im);
    if (behind) draw_player(s, &im, 0);
    draw_player(s, &im, 1);
    if (!behind) draw_ball(s, &im);
    draw_bars(s, &im);
    sensor(s, &im);
    int rc = tn_image_save_jpeg(&im, path, 93, err);
    tn_image_free(&im);
    return rc;
}

static int draw_clip(const tn_synth_options *o, const char *dir, int clip, tn_error *err)
{
    scene s;
    tn_text csv = {0};
    TN_TRY(tn_mkdirs(dir, err));
    int rc = scene_new(&s, o, clip, err);
    tn_text_addf(&csv, "file name,visibility,x-coordinate,y-coordinate,status\n");
    for (int f = 0; !rc && f < o->frames; f++) {
        char name[32];
        snprintf(name, sizeof name, "%04d.jpg", f);
        char *path = tn_path(dir, name);
        rc = path ? draw_frame(&s, path, err) : tn_oom(err);
        free(path);
        /* pixel centres have whole coordinates in labels */
        if (hidden(&s)) tn_text_addf(&csv, "%s,0,,,\n", name);
        else tn_text_addf(&csv, "%s,%d,%.1f,%.1f,0\n", name, behind_bar(&s) ? 3 : 1, s.bx - 0.5, fmax(s.by - 0.5, 0));
        step(&s);
        const tn_watch w = {o->progress, o->user};
        if (!rc) rc = tn_watch_tell(&w, TN_PHASE_DRAWING, NULL, clip * o->frames + f + 1, (long long)o->clips * o->frames, err);
    }
    char *path = tn_path(dir, "Label.csv");
    if (!rc) rc = path && !csv.oom ? tn_write_file(path, csv.s, csv.len, err) : tn_oom(err);
    free(path);
    tn_text_free(&csv);
    tn_image_free(&s.court);
    free(s.noise);
    return rc;
}

int tn_synth(const tn_synth_options *options, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_struct(options, TN_SYNTH_OPTIONS_VERSION, "tn_synth_options", err));
    tn_synth_options o = *options;
    if (!o.game) o.game = "game1";
    if (!o.clips) o.clips = 4;
    if (!o.frames) o.frames = 40;
    if (!o.width) o.width = 512, o.height = 288;
    if (o.bars < 0 || o.bars > MAX_BARS)
        return tn_fail(err, TN_ERR_ARGUMENT, "synth: %d bars; 0 to %d can be drawn", o.bars, MAX_BARS);
    if (!o.out || o.look < 0 || o.look >= (int)TN_COUNT(looks) || o.clips < 1 || o.frames < 1 || o.width < 64 || o.height < 36 ||
        o.width > 4096 || o.height > 4096)
        return tn_fail(err, TN_ERR_ARGUMENT, "synth: look is 0 or 1, clips and frames at least 1, size from 64x36 to 4096x4096");
    int rc = 0;
    for (int c = 0; !rc && c < o.clips; c++) {
        char *dir = tn_strf("%s/%s/Clip%d", o.out, o.game, c + 1);
        rc = dir ? draw_clip(&o, dir, c, err) : tn_oom(err);
        free(dir);
    }
    return rc;
}
