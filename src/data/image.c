#include "image.h"

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

/* One axis of the resize: for each target, the first source, how many, and fixed-point weights (22 bits). */
typedef struct {
    int *first, *count, *k, width;
} image_axis;

enum { BITS = 22 };

static void axis_free(image_axis *a)
{
    free(a->first);
    free(a->count);
    free(a->k);
}

/* What a failure leaves is the caller's to free. */
static int axis_new(image_axis *a, int in, int out, tn_error *err)
{
    const double scale = (double)in / out, fs = scale > 1 ? scale : 1, support = fs;
    a->width = (int)ceil(support) * 2 + 1;
    a->first = malloc(sizeof(int) * (size_t)out);
    a->count = malloc(sizeof(int) * (size_t)out);
    a->k = malloc(sizeof(int) * (size_t)out * (size_t)a->width);
    double *w = malloc(sizeof *w * (size_t)a->width);
    if (!a->first || !a->count || !a->k || !w) {
        free(w);
        return tn_oom(err);
    }
    for (int o = 0; o < out; o++) {
        const double centre = (o + 0.5) * scale;
        int lo = (int)(centre - support + 0.5), hi = (int)(centre + support + 0.5);
        lo = TN_MAX(lo, 0);
        hi = TN_MIN(hi, in);
        double sum = 0;
        for (int i = lo; i < hi; i++) {
            double d = fabs((i - centre + 0.5) / fs);
            sum += w[i - lo] = d < 1 ? 1 - d : 0;
        }
        a->first[o] = lo;
        a->count[o] = hi - lo;
        for (int i = 0; i < hi - lo; i++)
            a->k[(size_t)o * (size_t)a->width + (size_t)i] = (int)floor(w[i] / sum * (1 << BITS) + 0.5);
    }
    free(w);
    return 0;
}

static uint8_t clip(int v)
{
    v >>= BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void resize_rows(const tn_image *in, tn_image *out, const image_axis *a)
{
    for (int y = 0; y < in->h; y++)
        for (int x = 0; x < out->w; x++) {
            const uint8_t *s = in->rgb + ((size_t)y * (size_t)in->w + (size_t)a->first[x]) * 3;
            const int *k = a->k + (size_t)x * (size_t)a->width;
            int sum[3] = {1 << (BITS - 1), 1 << (BITS - 1), 1 << (BITS - 1)};
            for (int i = 0; i < a->count[x]; i++, s += 3)
                for (int c = 0; c < 3; c++) sum[c] += s[c] * k[i];
            for (int c = 0; c < 3; c++) out->rgb[((size_t)y * (size_t)out->w + (size_t)x) * 3 + (size_t)c] = clip(sum[c]);
        }
}

static int resize_columns(const tn_image *in, tn_image *out, const image_axis *a, tn_error *err)
{
    const size_t row = (size_t)in->w * 3;
    int *sum = malloc(row * sizeof *sum);
    if (!sum) return tn_oom(err);
    for (int y = 0; y < out->h; y++) {
        for (size_t i = 0; i < row; i++) sum[i] = 1 << (BITS - 1);
        for (int j = 0; j < a->count[y]; j++) {
            const uint8_t *s = in->rgb + (size_t)(a->first[y] + j) * row;
            const int k = a->k[(size_t)y * (size_t)a->width + (size_t)j];
            for (size_t i = 0; i < row; i++) sum[i] += s[i] * k;
        }
        for (size_t i = 0; i < row; i++) out->rgb[(size_t)y * row + i] = clip(sum[i]);
    }
    free(sum);
    return 0;
}

int tn_image_resize(tn_image *out, const tn_image *in, int w, int h, tn_error *err)
{
    image_axis ax = {0}, ay = {0};
    tn_image mid = {0};
    *out = (tn_image){0};
    int rc = axis_new(&ax, in->w, w, err);
    if (!rc) rc = axis_new(&ay, in->h, h, err);
    if (!rc) rc = tn_image_new(&mid, w, in->h, err);
    if (!rc) rc = tn_image_new(out, w, h, err);
    if (!rc) {
        if (w == in->w) memcpy(mid.rgb, in->rgb, (size_t)w * (size_t)in->h * 3);
        else resize_rows(in, &mid, &ax);
        if (h == in->h) memcpy(out->rgb, mid.rgb, (size_t)w * (size_t)h * 3);
        else rc = resize_columns(&mid, out, &ay, err);
    }
    axis_free(&ax);
    axis_free(&ay);
    tn_image_free(&mid);
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
