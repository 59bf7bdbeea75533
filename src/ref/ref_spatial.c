#include "ref.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Mean and 1/std of one (unit, group). */
static void group_moments(const tn_real *x, int cols, int unit_rows, int gc, double eps, double *mean, double *rstd)
{
    double s = 0, q = 0, n = (double)unit_rows * gc;
    for (int r = 0; r < unit_rows; r++)
        for (int c = 0; c < gc; c++) s += x[(size_t)r * cols + c];
    *mean = s / n;
    for (int r = 0; r < unit_rows; r++)
        for (int c = 0; c < gc; c++) q += pow(x[(size_t)r * cols + c] - *mean, 2);
    *rstd = 1 / sqrt(q / n + eps);
}

void tn_ref_norm2d(const tn_ref_norm *norm, tn_real *y)
{
    const tn_real *const x = norm->x, *const gamma = norm->gamma, *const beta = norm->beta;
    const int cols = norm->cols, unit_rows = norm->unit_rows, gc = cols / norm->groups;
    for (int u = 0; u < norm->rows / unit_rows; u++)
        for (int g = 0; g < norm->groups; g++) {
            size_t base = (size_t)u * unit_rows * cols + (size_t)g * gc;
            double m, s;
            group_moments(x + base, cols, unit_rows, gc, norm->eps, &m, &s);
            for (int r = 0; r < unit_rows; r++)
                for (int c = 0; c < gc; c++) {
                    size_t at = base + (size_t)r * cols + c;
                    y[at] = (tn_real)((x[at] - m) * s * gamma[g * gc + c] + beta[g * gc + c]);
                }
        }
}

void tn_ref_norm2d_backward(const tn_ref_norm *norm, const tn_real *dy, tn_real *dx, tn_real *dgamma, tn_real *dbeta)
{
    const tn_real *const x = norm->x, *const gamma = norm->gamma;
    const int cols = norm->cols, unit_rows = norm->unit_rows, gc = cols / norm->groups;
    const double n = (double)unit_rows * gc;
    for (int u = 0; u < norm->rows / unit_rows; u++)
        for (int g = 0; g < norm->groups; g++) {
            size_t base = (size_t)u * unit_rows * cols + (size_t)g * gc;
            double m, s, s1 = 0, s2 = 0;
            group_moments(x + base, cols, unit_rows, gc, norm->eps, &m, &s);
            for (int r = 0; r < unit_rows; r++)
                for (int c = 0; c < gc; c++) {
                    size_t at = base + (size_t)r * cols + c;
                    double xhat = (x[at] - m) * s, gd = (double)dy[at] * gamma[g * gc + c];
                    s1 += gd;
                    s2 += gd * xhat;
                    dgamma[g * gc + c] += (tn_real)(dy[at] * xhat);
                    dbeta[g * gc + c] += dy[at];
                }
            for (int r = 0; r < unit_rows; r++)
                for (int c = 0; c < gc; c++) {
                    size_t at = base + (size_t)r * cols + c;
                    dx[at] = (tn_real)(s * ((double)dy[at] * gamma[g * gc + c] - s1 / n - (x[at] - m) * s * s2 / n));
                }
        }
}

void tn_ref_norm_few(const tn_ref_norm *n, int fn, const tn_real *w, int outs, tn_real *y)
{
    const size_t C = (size_t)n->cols;
    tn_real *u = malloc(sizeof *u * (size_t)n->rows * C);
    if (u) tn_ref_norm2d(n, u);
    for (size_t i = 0; u && i < (size_t)n->rows * (size_t)outs; i++) {
        const tn_real *row = w + i % (size_t)outs * (C + 1), *from = u + i / (size_t)outs * C;
        double s = row[C];
        for (size_t c = 0; c < C; c++) s += row[c] * tn_ref_act(fn, from[c]);
        y[i] = (tn_real)s;
    }
    free(u);
}

/* From dy to the gradient of the norm itself, over u, and to dw. */
static void few_to_norm(const tn_ref_norm *n, int fn, const tn_real *w, int outs, const tn_ref_few_grads *g, tn_real *u)
{
    const size_t C = (size_t)n->cols, O = (size_t)outs;
    for (size_t r = 0; r < (size_t)n->rows; r++) {
        for (size_t o = 0; o < O; o++) g->dw[o * (C + 1) + C] += g->dy[r * O + o];
        for (size_t c = 0; c < C; c++) {
            double d = 0;
            for (size_t o = 0; o < O; o++) {
                d += (double)g->dy[r * O + o] * w[o * (C + 1) + c];
                g->dw[o * (C + 1) + c] += (tn_real)(g->dy[r * O + o] * tn_ref_act(fn, u[r * C + c]));
            }
            u[r * C + c] = (tn_real)(d * tn_ref_act_slope(fn, u[r * C + c]));
        }
    }
}

void tn_ref_norm_few_backward(const tn_ref_norm *n, int fn, const tn_real *w, int outs, const tn_ref_few_grads *g)
{
    tn_real *u = malloc(sizeof *u * (size_t)n->rows * (size_t)n->cols);
    if (!u) return;
    tn_ref_norm2d(n, u);
    few_to_norm(n, fn, w, outs, g, u);
    tn_ref_norm2d_backward(n, u, g->dx, g->dgamma, g->dbeta);
    free(u);
}

/* G[c], the channels' norms over a unit's rows; returns their mean + eps. */
static double channel_norms(const tn_ref_norm *n, const tn_real *x, double *G)
{
    double sum = 0;
    for (int c = 0; c < n->cols; c++) {
        double q = 0;
        for (int r = 0; r < n->unit_rows; r++) q += pow(x[(size_t)r * (size_t)n->cols + (size_t)c], 2);
        sum += G[c] = sqrt(q);
    }
    return sum / n->cols + n->eps;
}

void tn_ref_grn(const tn_ref_norm *n, tn_real *y)
{
    const size_t C = (size_t)n->cols, unit = (size_t)n->unit_rows * C;
    double *G = malloc(sizeof *G * C);
    for (size_t u = 0; G && u < (size_t)(n->rows / n->unit_rows); u++) {
        const tn_real *x = n->x + u * unit;
        const double mean = channel_norms(n, x, G);
        for (size_t i = 0; i < unit; i++)
            y[u * unit + i] = (tn_real)(x[i] + n->gamma[i % C] * (x[i] * G[i % C] / mean) + n->beta[i % C]);
    }
    free(G);
}

/* With s[c] the sum of dy x over the unit's rows, N = G / mean and dN = gamma s: dG = dN / mean - mean(dN G) / mean^2. */
void tn_ref_grn_backward(const tn_ref_norm *n, const tn_real *dy, tn_real *dx, tn_real *dgamma, tn_real *dbeta)
{
    const size_t C = (size_t)n->cols, unit = (size_t)n->unit_rows * C;
    double *G = malloc(sizeof *G * 2 * C), *s = G ? G + C : NULL;
    for (size_t u = 0; G && u < (size_t)(n->rows / n->unit_rows); u++) {
        const tn_real *x = n->x + u * unit, *d = dy + u * unit;
        const double mean = channel_norms(n, x, G);
        double dot = 0;
        for (size_t c = 0; c < C; c++) s[c] = 0;
        for (size_t i = 0; i < unit; i++) s[i % C] += (double)d[i] * x[i], dbeta[i % C] += d[i];
        for (size_t c = 0; c < C; c++) dgamma[c] += (tn_real)(s[c] * G[c] / mean), dot += n->gamma[c] * s[c] * G[c];
        for (size_t i = 0; i < unit; i++) {
            const double g = G[i % C], dG = n->gamma[i % C] * s[i % C] / mean - dot / (double)C / (mean * mean);
            dx[u * unit + i] = (tn_real)(d[i] * (1 + n->gamma[i % C] * g / mean) + (g > 0 ? x[i] * dG / g : 0));
        }
    }
    free(G);
}

/* Calls for every (output, input, weight) triple of a convolution. */
typedef void (*tap)(void *user, size_t y, size_t x, size_t w);

/* Those of output pixel p. */
static void pixel_taps(const tn_ref_conv *v, int p, tap f, void *user)
{
    const int k = v->kernel, ci = v->ci / v->groups, co = v->co / v->groups, area = v->out_h * v->out_w;
    const int b = p / area, top = p / v->out_w % v->out_h * v->stride - v->pad, left = p % v->out_w * v->stride - v->pad;
    for (int o = 0; o < v->co; o++)
        for (int t = 0; t < k * k; t++) {
            const int i = top + t / k, j = left + t % k;
            if (i < 0 || i >= v->in_h || j < 0 || j >= v->in_w) continue;
            const size_t x = (((size_t)b * v->in_h + i) * v->in_w + j) * v->ci + (size_t)(o / co) * ci;
            for (int c = 0; c < ci; c++) f(user, (size_t)p * v->co + o, x + c, ((size_t)o * ci + c) * k * k + t);
        }
}

static void each_tap(const tn_ref_conv *v, tap f, void *user)
{
    for (int p = 0; p < v->batch * v->out_h * v->out_w; p++) pixel_taps(v, p, f, user);
}

typedef struct {
    const tn_real *x, *w, *dy;
    double *y, *dx, *dw;
} conv;

static void forward_tap(void *u, size_t y, size_t x, size_t w)
{
    conv *c = u;
    c->y[y] += (double)c->x[x] * c->w[w];
}

static void backward_tap(void *u, size_t y, size_t x, size_t w)
{
    conv *c = u;
    c->dx[x] += (double)c->dy[y] * c->w[w];
    c->dw[w] += (double)c->dy[y] * c->x[x];
}

void tn_ref_convolve(const tn_ref_conv *v, tn_real *y)
{
    const size_t n = (size_t)v->batch * v->out_h * v->out_w * v->co;
    conv c = {.x = v->x, .w = v->w, .y = calloc(n, sizeof(double))};
    if (c.y) each_tap(v, forward_tap, &c);
    for (size_t i = 0; c.y && i < n; i++) y[i] = (tn_real)(c.y[i] + (v->bias ? v->bias[i % (size_t)v->co] : 0));
    free(c.y);
}

void tn_ref_convolve_backward(const tn_ref_conv *v, const tn_real *dy, tn_real *dx, tn_real *dw, tn_real *db)
{
    const size_t n = (size_t)v->batch * v->in_h * v->in_w * v->ci, m = (size_t)v->batch * v->out_h * v->out_w * v->co;
    const size_t k = (size_t)v->co * (v->ci / v->groups) * v->kernel * v->kernel;
    conv c = {.x = v->x, .w = v->w, .dy = dy, .dx = calloc(n, sizeof(double)), .dw = calloc(k, sizeof(double))};
    if (c.dx && c.dw) {
        each_tap(v, backward_tap, &c);
        for (size_t i = 0; dx && i < n; i++) dx[i] = (tn_real)c.dx[i];
        for (size_t i = 0; dw && i < k; i++) dw[i] += (tn_real)c.dw[i];
    }
    for (size_t i = 0; db && i < m; i++) db[i % (size_t)v->co] += dy[i];
    free(c.dx);
    free(c.dw);
}

static void taps(int o, int size, float s, int *i0, int *i1, float *l)
{
    float f = fmaxf(s * ((float)o + 0.5f) - 0.5f, 0);
    *i0 = (int)f < size - 1 ? (int)f : size - 1;
    *i1 = *i0 + 1 < size ? *i0 + 1 : size - 1;
    *l = f - (float)*i0;
}

void tn_ref_bilinear(const tn_ref_resize *r, const tn_real *x, tn_real *y)
{
    const int h = r->in_h, w = r->in_w, H = r->out_h, W = r->out_w, c = r->channels;
    for (int p = 0; p < r->batch * H * W; p++) {
        int b = p / (H * W), y0, y1, x0, x1;
        float ly, lx;
        taps(p / W % H, h, r->sy, &y0, &y1, &ly);
        taps(p % W, w, r->sx, &x0, &x1, &lx);
        const tn_real *a = x + (size_t)b * h * w * c;
        for (int k = 0; k < c; k++) {
            double top = (1.0 - lx) * a[(size_t)(y0 * w + x0) * c + k] + (double)lx * a[(size_t)(y0 * w + x1) * c + k];
            double bot = (1.0 - lx) * a[(size_t)(y1 * w + x0) * c + k] + (double)lx * a[(size_t)(y1 * w + x1) * c + k];
            y[(size_t)p * c + k] = (tn_real)((1.0 - ly) * top + ly * bot);
        }
    }
}

void tn_ref_bilinear_backward(const tn_ref_resize *r, const tn_real *dy, tn_real *dx)
{
    const int h = r->in_h, w = r->in_w, H = r->out_h, W = r->out_w, c = r->channels;
    memset(dx, 0, sizeof *dx * (size_t)r->batch * h * w * c);
    for (int p = 0; p < r->batch * H * W; p++) {
        int b = p / (H * W), y0, y1, x0, x1;
        float ly, lx;
        taps(p / W % H, h, r->sy, &y0, &y1, &ly);
        taps(p % W, w, r->sx, &x0, &x1, &lx);
        tn_real *a = dx + (size_t)b * h * w * c;
        for (int k = 0; k < c; k++) {
            tn_real g = dy[(size_t)p * c + k];
            a[(size_t)(y0 * w + x0) * c + k] += g * (1 - ly) * (1 - lx);
            a[(size_t)(y0 * w + x1) * c + k] += g * (1 - ly) * lx;
            a[(size_t)(y1 * w + x0) * c + k] += g * ly * (1 - lx);
            a[(size_t)(y1 * w + x1) * c + k] += g * ly * lx;
        }
    }
}

/* The pixel of z that pixel p of the output takes from. */
static size_t nearest_of(const tn_ref_resize *r, int p)
{
    const int H = r->out_h, W = r->out_w, y = (int)((float)(p / W % H) * r->sy), x = (int)((float)(p % W) * r->sx);
    return ((size_t)(p / W / H) * (size_t)r->in_h + (size_t)(y < r->in_h ? y : r->in_h - 1)) * (size_t)r->in_w +
           (size_t)(x < r->in_w ? x : r->in_w - 1);
}

void tn_ref_upsample_add(const tn_ref_resize *r, const tn_real *x, const tn_real *z, tn_real *y)
{
    const size_t c = (size_t)r->channels;
    for (int p = 0; p < r->batch * r->out_h * r->out_w; p++)
        for (size_t k = 0; k < c; k++) y[(size_t)p * c + k] = x[(size_t)p * c + k] + z[nearest_of(r, p) * c + k];
}

void tn_ref_nearest_backward(const tn_ref_resize *r, const tn_real *dy, tn_real *dz)
{
    const size_t c = (size_t)r->channels;
    for (int p = 0; p < r->batch * r->out_h * r->out_w; p++)
        for (size_t k = 0; k < c; k++) dz[nearest_of(r, p) * c + k] += dy[(size_t)p * c + k];
}

/* Element e of column row r comes from that image of all samples, channel c, pixel (y, x). */
typedef struct {
    int image, c, y, x;
} spatial_source;

static int patch_elements(const tn_ref_patches *s)
{
    return s->frames * 3 * s->patch * s->patch;
}

static int patch_rows(const tn_ref_patches *s)
{
    return s->batch * (s->h / s->patch) * (s->w / s->patch);
}

static spatial_source patch_source(const tn_ref_patches *s, int r, int e)
{
    const int p = s->patch, gw = s->w / p, gh = s->h / p, i = r % (gw * gh), channel = e / (p * p);
    return (spatial_source){r / (gw * gh) * s->frames + channel / 3, channel % 3, i / gw * p + e / p % p, i % gw * p + e % p};
}

void tn_ref_patchify(const tn_ref_patches *p, const tn_real *pixels, tn_real *cols)
{
    const int k = patch_elements(p);
    for (int i = 0; i < patch_rows(p) * k; i++) {
        const spatial_source s = patch_source(p, i / k, i % k);
        cols[i] = pixels[(((size_t)s.image * 3 + (size_t)s.c) * (size_t)p->h + (size_t)s.y) * (size_t)p->w + (size_t)s.x];
    }
}

void tn_ref_patchify_bytes(const tn_ref_patches *p, const uint8_t *frames, bool normalize, tn_real *cols)
{
    static const tn_real mean[] = {(tn_real)0.485, (tn_real)0.456, (tn_real)0.406},
                         deviation[] = {(tn_real)0.229, (tn_real)0.224, (tn_real)0.225};
    const int k = patch_elements(p);
    for (int i = 0; i < patch_rows(p) * k; i++) {
        const spatial_source s = patch_source(p, i / k, i % k);
        const size_t line = (size_t)s.image * (size_t)p->h + (size_t)s.y;
        const tn_real v = (tn_real)frames[(line * (size_t)p->w + (size_t)s.x) * 3 + (size_t)s.c] / 255;
        cols[i] = normalize ? (v - mean[s.c]) / deviation[s.c] : v;
    }
}

void tn_ref_heatmap_target(const tn_ref_target *t, const tn_real *labels, tn_real *target, tn_real *mask)
{
    const int area = t->height * t->width;
    for (int k = 0; k < t->batch * t->heats; k++) {
        const tn_real *l = labels + 3 * k;
        mask[k] = l[2] > 0 || (t->negative && l[2] >= 0) ? 1 : 0;
        for (int i = 0; i < area; i++) {
            const double dx = i % t->width - l[0], dy = i / t->width - l[1];
            target[(size_t)(k / t->heats * area + i) * (size_t)t->heats + (size_t)(k % t->heats)] =
                l[2] > 0 ? (tn_real)exp(-(dx * dx + dy * dy) / (2 * t->sigma * t->sigma)) : 0;
        }
    }
}

void tn_ref_groups_spread(const tn_real *b, int rows, int each, int groups, tn_real *wide)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < each * groups; c++)
            wide[r * each * groups + c] = c / each == r / (rows / groups) ? b[r * each + c % each] : 0;
}

void tn_ref_groups_collect(const tn_real *wide, int rows, int each, int groups, tn_real *d)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < each; c++) d[r * each + c] += wide[r * each * groups + r / (rows / groups) * each + c];
}
