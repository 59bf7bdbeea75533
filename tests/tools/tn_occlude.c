/* Clips of a ball that passes behind pillars: tn-occlude FOLDER SEED CLIPS FRAMES SPOTS writes FOLDER/Clip1/0000.png ... and
 * Label.csv. The ball bounces on parabolas before a grainy wall with so many spots that look like it and do not move; pillars are
 * opaque and the same whatever is behind them. A ball of which no pixel is to be seen keeps its place in the label, with visibility
 * 3. */
#include "files.h"
#include "image.h"
#include "numeric.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { W = 128, H = 64, PILLARS = 3, MOST_SPOTS = 8 };

#define RADIUS 2.5
#define PILLAR 13.0 /* wide: a ball is hidden there in a frame or two */

typedef struct {
    double x, y;
} place;

typedef struct {
    tn_rng r;
    double wall[W * H];
    place spot[MOST_SPOTS], ball, speed;
    int spots;
    double pillar[PILLARS]; /* their middles */
} scene;

static double between(tn_rng *r, double low, double high)
{
    return low + (high - low) * tn_rng_uniform(r);
}

/* Noise of a pixel's size and of a few pixels'. */
static void paint_wall(scene *s)
{
    double rough[W / 4 * H / 4];
    for (int i = 0; i < W / 4 * H / 4; i++) rough[i] = between(&s->r, -25, 25);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) s->wall[y * W + x] = 95 + rough[y / 4 * (W / 4) + x / 4] + between(&s->r, -12, 12);
}

static void begin(scene *s)
{
    paint_wall(s);
    for (int i = 0; i < PILLARS; i++) s->pillar[i] = W * (i + 0.5) / PILLARS + between(&s->r, -8, 8);
    for (int i = 0; i < s->spots; i++) s->spot[i] = (place){between(&s->r, 4, W - 4), between(&s->r, 4, H - 4)};
    s->ball = (place){between(&s->r, 4, W - 4), between(&s->r, 8, H - 20)};
    s->speed = (place){between(&s->r, 4.5, 7) * (tn_rng_below(&s->r, 2) ? 1 : -1), between(&s->r, -3, 3)};
}

static void move(scene *s)
{
    s->speed.y += 0.35;
    s->ball.x += s->speed.x;
    s->ball.y += s->speed.y;
    if (s->ball.x < 4 || s->ball.x > W - 4) s->ball.x -= s->speed.x, s->speed.x = -s->speed.x;
    if (s->ball.y > H - 4 || (s->ball.y < 4 && s->speed.y < 0)) s->ball.y -= s->speed.y, s->speed.y = -s->speed.y;
}

/* How much of the pixel is the ball's, where its middle is at p. */
static double cover(place p, int x, int y)
{
    return fmin(fmax(RADIUS + 0.5 - hypot(x - p.x, y - p.y), 0), 1);
}

static bool is_hidden(const scene *s)
{
    for (int i = 0; i < PILLARS; i++)
        if (fabs(s->ball.x - s->pillar[i]) + RADIUS + 0.5 <= PILLAR / 2) return true;
    return false;
}

static double shade(const scene *s, int x, int y)
{
    double a = cover(s->ball, x, y);
    for (int i = 0; i < PILLARS; i++)
        if (fabs(x - s->pillar[i]) <= PILLAR / 2) return 30;
    for (int i = 0; i < s->spots; i++) a = fmax(a, cover(s->spot[i], x, y));
    return s->wall[y * W + x] * (1 - a) + 235 * a;
}

static int draw(scene *s, const char *path, tn_error *err)
{
    tn_image im;
    TN_TRY(tn_image_new(&im, W, H, err));
    for (int i = 0; i < W * H; i++) {
        const double v = shade(s, i % W, i / W) + between(&s->r, -6, 6); /* the camera's noise lies over all */
        for (int k = 0; k < 3; k++) im.rgb[3 * i + k] = (uint8_t)fmin(fmax(v, 0), 255);
    }
    const int rc = tn_image_save_png(&im, path, err);
    tn_image_free(&im);
    return rc;
}

static int clip(const char *dir, uint64_t seed, int frames, int spots, tn_error *err)
{
    static scene s;
    tn_text rows = {0};
    s.r = tn_rng_named(seed, "occlude"), s.spots = spots;
    begin(&s);
    int rc = tn_mkdirs(dir, err);
    tn_text_addf(&rows, "file name,visibility,x-coordinate,y-coordinate\n");
    for (int i = 0; !rc && i < frames; i++, move(&s)) {
        char *path = tn_strf("%s/%04d.png", dir, i);
        rc = draw(&s, path, err);
        tn_text_addf(&rows, "%04d.png,%d,%.2f,%.2f\n", i, is_hidden(&s) ? 3 : 1, s.ball.x, s.ball.y);
        free(path);
    }
    char *path = tn_path(dir, "Label.csv");
    if (!rc) rc = tn_write_file(path, rows.s, rows.len, err);
    free(path);
    tn_text_free(&rows);
    return rc;
}

int main(int n, char **v)
{
    tn_error err;
    const int spots = n == 6 ? atoi(v[5]) : -1;
    if (spots < 0 || spots > MOST_SPOTS) return fprintf(stderr, "usage: tn-occlude FOLDER SEED CLIPS FRAMES SPOTS\n"), 2;
    for (int i = 1; i <= atoi(v[3]); i++) {
        char name[16];
        snprintf(name, sizeof name, "Clip%d", i);
        char *dir = tn_path(v[1], name);
        const int rc = clip(dir, strtoull(v[2], NULL, 10) * 1000 + (uint64_t)i, atoi(v[4]), spots, &err);
        free(dir);
        if (rc) return fprintf(stderr, "tn-occlude: %s\n", err.message), 1;
    }
    return 0;
}
