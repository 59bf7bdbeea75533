#include "image.h"
#include "resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int tn_image_new(tn_image *im, int w, int h, tn_error *err)
{
    *im = (tn_image){w, h, calloc((size_t)w * (size_t)h, 3)};
    return im->rgb ? 0 : tn_oom(err);
}

void tn_image_free(tn_image *im)
{
    free(im->rgb);
    *im = (tn_image){0};
}

int tn_image_resize(tn_image *out, const tn_image *in, int w, int h, tn_error *err)
{
    tn_resizer r = {0};
    int rc = tn_image_new(out, w, h, err);
    if (!rc) rc = tn_resizer_image(&r, in->rgb, in->w, in->h, w, h, out->rgb, err);
    tn_resizer_free(&r);
    if (rc) tn_image_free(out);
    return rc;
}

void tn_image_flip(tn_image *im)
{
    for (int y = 0; y < im->h; y++)
        for (int a = 0, b = im->w - 1; a < b; a++, b--)
            for (int c = 0; c < 3; c++) {
                uint8_t *p = im->rgb + ((size_t)y * (size_t)im->w) * 3 + c, t = p[a * 3];
                p[a * 3] = p[b * 3];
                p[b * 3] = t;
            }
}

static void blend(uint8_t *p, const double c[3], double a)
{
    for (int k = 0; k < 3; k++) p[k] = (uint8_t)(p[k] * (1 - a) + c[k] * a + 0.5);
}

void tn_draw_heat(tn_image *im, const float *heat, int hw, int hh)
{
    float top = 1e-6f;
    for (int i = 0; i < hw * hh; i++) top = fmaxf(top, heat[i]);
    for (int y = 0; y < im->h; y++)
        for (int x = 0; x < im->w; x++) {
            /* labels map x to x * hw / w, so the picture does */
            double fx = fmin((double)x * hw / im->w, hw - 1), fy = fmin((double)y * hh / im->h, hh - 1);
            int x0 = (int)fx, y0 = (int)fy, x1 = TN_MIN(x0 + 1, hw - 1), y1 = TN_MIN(y0 + 1, hh - 1);
            double lx = fx - x0, ly = fy - y0;
            double v = ((heat[y0 * hw + x0] * (1 - lx) + heat[y0 * hw + x1] * lx) * (1 - ly) +
                        (heat[y1 * hw + x0] * (1 - lx) + heat[y1 * hw + x1] * lx) * ly) /
                       top;
            v = fmin(fmax(v, 0), 1);
            const double colour[3] = {255, 255 * v, 40 * (1 - v)};
            blend(im->rgb + ((size_t)y * (size_t)im->w + (size_t)x) * 3, colour, 0.75 * v);
        }
}

void tn_gaussian(float *heat, int hw, int hh, double x, double y, double sigma)
{
    for (int j = 0; j < hh; j++)
        for (int i = 0; i < hw; i++) heat[j * hw + i] = (float)exp(-((i - x) * (i - x) + (j - y) * (j - y)) / (2 * sigma * sigma));
}

void tn_draw_ring(tn_image *im, double cx, double cy, double r, const uint8_t colour[3])
{
    const double c[3] = {colour[0], colour[1], colour[2]}, thick = fmax(1, im->w / 400.0);
    for (int y = TN_MAX(0, (int)(cy - r - 3)); y < TN_MIN(im->h, (int)(cy + r + 4)); y++)
        for (int x = TN_MAX(0, (int)(cx - r - 3)); x < TN_MIN(im->w, (int)(cx + r + 4)); x++) {
            double d = fabs(hypot(x + 0.5 - cx, y + 0.5 - cy) - r);
            if (d < thick + 0.5) blend(im->rgb + ((size_t)y * (size_t)im->w + (size_t)x) * 3, c, fmin(1, thick + 0.5 - d));
        }
}
