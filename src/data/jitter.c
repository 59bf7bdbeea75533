#include "jitter.h"
#include "fail.h"

#include <stddef.h>

/* Between an image's value and what it is enhanced from, as Image.blend rounds: towards zero. */
static uint8_t blend(int from, int to, float factor)
{
    const float v = (float)from + factor * (float)(to - from);
    return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v;
}

/* Image.convert("L"): ITU-R 601-2 in 16 bits. */
static int luma(const uint8_t *p)
{
    return (int)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
}

static size_t pixels_of(const tn_image *im)
{
    return (size_t)im->w * (size_t)im->h;
}

/* Every value is blended with the same one. */
static void from_one(tn_image *im, int from, float factor)
{
    uint8_t table[256];
    for (int i = 0; i < 256; i++) table[i] = blend(from, i, factor);
    for (size_t i = 0; i < 3 * pixels_of(im); i++) im->rgb[i] = table[im->rgb[i]];
}

static int mean_luma(const tn_image *im)
{
    unsigned long long sum = 0;
    for (size_t i = 0; i < pixels_of(im); i++) sum += (unsigned)luma(im->rgb + 3 * i);
    return (int)((double)sum / (double)pixels_of(im) + 0.5);
}

static void saturate(tn_image *im, float factor)
{
    for (size_t i = 0; i < pixels_of(im); i++) {
        uint8_t *p = im->rgb + 3 * i;
        const int grey = luma(p);
        for (int c = 0; c < 3; c++) p[c] = blend(grey, p[c], factor);
    }
}

typedef struct {
    uint8_t h, s, v;
} hsv;

/* Both ways as Pillow's Convert.c has them, after colorsys: 8 bits for each of the three. */
static hsv to_hsv(const uint8_t *p)
{
    const uint8_t r = p[0], g = p[1], b = p[2], most = TN_MAX(r, TN_MAX(g, b)), least = TN_MIN(r, TN_MIN(g, b));
    if (most == least) return (hsv){0, 0, most};
    const float range = (float)(most - least), s = range / (float)most;
    const float rc = (float)(most - r) / range, gc = (float)(most - g) / range, bc = (float)(most - b) / range;
    float h;
    if (r == most) h = bc - gc;
    else if (g == most) h = (float)(2.0 + rc - bc);
    else h = (float)(4.0 + gc - rc);
    const double turns = h / 6.0 + 1.0; /* 5/6 to 11/6 */
    h = (float)(turns < 1 ? turns : turns - 1);
    return (hsv){(uint8_t)(h * 255.0), (uint8_t)(s * 255.0), most};
}

static uint8_t nearest(double v)
{
    return (uint8_t)(v + 0.5);
}

static void to_rgb(uint8_t *p, hsv c)
{
    if (!c.s) {
        p[0] = p[1] = p[2] = c.v;
        return;
    }
    const double at = c.h * 6.0 / 255.0, v = c.v;
    const int sixth = (int)at;
    const float f = (float)(at - sixth), s = (float)(c.s / 255.0);
    const uint8_t low = nearest(v * (1.0 - s)), falls = nearest(v * (1.0 - s * f)), rises = nearest(v * (1.0 - s * (1.0 - f)));
    const uint8_t of[6][3] = {{c.v, rises, low}, {falls, c.v, low}, {low, c.v, rises},
                              {low, falls, c.v}, {rises, low, c.v}, {c.v, low, falls}};
    for (int i = 0; i < 3; i++) p[i] = of[sixth % 6][i];
}

static void turn_hue(tn_image *im, double part)
{
    const uint8_t by = (uint8_t)(int)(part * 255);
    for (size_t i = 0; i < pixels_of(im); i++) {
        hsv c = to_hsv(im->rgb + 3 * i);
        c.h = (uint8_t)(c.h + by);
        to_rgb(im->rgb + 3 * i, c);
    }
}

void tn_jitter_frame(tn_image *im, tn_jitter_step step, double factor)
{
    const float f = (float)factor;
    switch (step) {
    case TN_BRIGHTNESS: from_one(im, 0, f); break;
    case TN_CONTRAST: from_one(im, mean_luma(im), f); break;
    case TN_SATURATION: saturate(im, f); break;
    default: turn_hue(im, factor); break;
    }
}
