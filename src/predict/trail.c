#include "trail.h"

#include <math.h>
#include <stddef.h>

static const uint8_t trail_colour[] = {255, 40, 220};

void tn_trail_add(tn_trail *t, double x, double y, bool visible)
{
    const int i = (int)(t->count++ % TN_TRAIL);
    t->v[i].x = x;
    t->v[i].y = y;
    t->v[i].visible = visible;
}

static double trail_distance(double px, double py, const double a[2], const double b[2])
{
    const double dx = b[0] - a[0], dy = b[1] - a[1], n = dx * dx + dy * dy;
    const double s = n > 0 ? fmin(fmax(((px - a[0]) * dx + (py - a[1]) * dy) / n, 0), 1) : 0;
    return hypot(px - a[0] - s * dx, py - a[1] - s * dy);
}

/* A stroke of round ends from a to b, its edge a pixel soft. */
static void trail_stroke(tn_image *im, const double a[2], const double b[2], double r, double opacity)
{
    const int x0 = (int)fmax(fmin(a[0], b[0]) - r - 1, 0), x1 = (int)fmin(fmax(a[0], b[0]) + r + 2, im->w);
    const int y0 = (int)fmax(fmin(a[1], b[1]) - r - 1, 0), y1 = (int)fmin(fmax(a[1], b[1]) + r + 2, im->h);
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
            const double w = opacity * fmin(fmax(r + 0.5 - trail_distance(x, y, a, b), 0), 1);
            uint8_t *p = im->rgb + 3 * ((size_t)y * (size_t)im->w + (size_t)x);
            for (int k = 0; w > 0 && k < 3; k++) p[k] = (uint8_t)(p[k] + w * (trail_colour[k] - p[k]) + 0.5);
        }
}

void tn_trail_draw(const tn_trail *t, tn_image *im)
{
    const double width = fmax(1.5, im->w / 320.0);
    const int n = (int)(t->count < TN_TRAIL ? t->count : TN_TRAIL);
    for (int age = n - 2; age >= 0; age--) { /* from the oldest, so that newer ones lie on top */
        const int i = (int)((t->count - 1 - age) % TN_TRAIL), before = (int)((t->count - 2 - age) % TN_TRAIL);
        const double left = 1 - (double)age / TN_TRAIL;
        if (!t->v[i].visible || !t->v[before].visible) continue;
        trail_stroke(im, (const double[]){t->v[before].x, t->v[before].y}, (const double[]){t->v[i].x, t->v[i].y}, width * left,
                     0.8 * left);
    }
    if (!n || !t->v[(t->count - 1) % TN_TRAIL].visible) return;
    const int now = (int)((t->count - 1) % TN_TRAIL);
    tn_draw_ring(im, t->v[now].x + 0.5, t->v[now].y + 0.5, fmax(6, im->w / 90.0), trail_colour);
}
