/* Multi-scale deformable self-attention, sample by sample. */
#include "ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1024 }; /* samples of a head and query */

/* The four cells around a sample, the upper left one first: rows of value, or -1 outside; and the sample's part in each. */
typedef struct {
    int row[4];
    double weight[4], lx, ly;
    double attention; /* its share of the head's softmax */
} deform_sample;

typedef struct {
    int row, head, level, y, x; /* row: of all queries; level, y, x: the query's own cell */
} deform_query;

static int deform_rows(const tn_ref_deformable *a)
{
    int n = 0;
    for (int l = 0; l < a->levels; l++) n += a->h[l] * a->w[l];
    return n;
}

static deform_query deform_at(const tn_ref_deformable *a, int row, int head)
{
    deform_query q = {row, head, 0, 0, 0};
    int at = row % deform_rows(a);
    for (; at >= a->h[q.level] * a->w[q.level]; q.level++) at -= a->h[q.level] * a->w[q.level];
    q.y = at / a->w[q.level], q.x = at % a->w[q.level];
    return q;
}

/* Where the offsets of a query's head begin, and where its logits. */
static size_t deform_offsets(const tn_ref_deformable *a, const deform_query *q)
{
    const size_t each = (size_t)a->levels * a->points;
    return (size_t)q->row * 3 * a->heads * each + q->head * 2 * each;
}

static size_t deform_logits(const tn_ref_deformable *a, const deform_query *q)
{
    const size_t each = (size_t)a->levels * a->points;
    return (size_t)q->row * 3 * a->heads * each + (2 * (size_t)a->heads + q->head) * each;
}

static void deform_place(const tn_ref_deformable *a, const deform_query *q, int level, const tn_real *offset, deform_sample *s)
{
    const int h = a->h[level], w = a->w[level];
    const double px = (2 * q->x + 1) * w / (2.0 * a->w[q->level]) - 0.5 + offset[0];
    const double py = (2 * q->y + 1) * h / (2.0 * a->h[q->level]) - 0.5 + offset[1];
    const bool inside = px >= -1 && py >= -1 && px < w && py < h;
    const int x0 = inside ? (int)floor(px) : -2, y0 = inside ? (int)floor(py) : -2, n = deform_rows(a);
    int first = q->row / n * n;
    for (int l = 0; l < level; l++) first += a->h[l] * a->w[l];
    s->lx = inside ? px - x0 : 0, s->ly = inside ? py - y0 : 0;
    for (int k = 0; k < 4; k++) {
        const int x = x0 + k % 2, y = y0 + k / 2;
        s->row[k] = x < 0 || y < 0 || x >= w || y >= h ? -1 : first + y * w + x;
        s->weight[k] = (k % 2 ? s->lx : 1 - s->lx) * (k / 2 ? s->ly : 1 - s->ly);
    }
}

static void deform_samples(const tn_ref_deformable *a, const deform_query *q, deform_sample *s)
{
    const int n = a->levels * a->points;
    const tn_real *offset = a->samples + deform_offsets(a, q), *logit = a->samples + deform_logits(a, q);
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++) most = fmax(most, logit[i]);
    for (int i = 0; i < n; i++) sum += s[i].attention = exp(logit[i] - most);
    for (int i = 0; i < n; i++) {
        s[i].attention /= sum;
        deform_place(a, q, i / a->points, offset + 2 * (size_t)i, &s[i]);
    }
}

void tn_ref_deform(const tn_ref_deformable *a, tn_real *o)
{
    const int D = a->heads * a->width, rows = a->batch * deform_rows(a);
    deform_sample s[MOST];
    for (int i = 0; i < rows * a->heads; i++) {
        const deform_query q = deform_at(a, i / a->heads, i % a->heads);
        deform_samples(a, &q, s);
        for (int c = q.head * a->width; c < (q.head + 1) * a->width; c++) {
            double sum = 0;
            for (int j = 0; j < a->levels * a->points; j++)
                for (int k = 0; k < 4; k++)
                    if (s[j].row[k] >= 0) sum += s[j].attention * s[j].weight[k] * a->value[(size_t)s[j].row[k] * D + c];
            o[(size_t)q.row * D + c] = (tn_real)sum;
        }
    }
}

/* What d_o says of one sample: the slopes by its share of the softmax and by where it lies. Its cells get theirs. */
static double deform_slopes(const tn_ref_deformable *a, const deform_query *q, const deform_sample *s, const tn_real *d_o,
                            double *dvalue, tn_real *doffset)
{
    const size_t D = (size_t)a->heads * a->width, head = (size_t)q->head * a->width;
    double g[4] = {0}, by_share = 0;
    for (int k = 0; k < 4; k++) {
        for (int c = 0; s->row[k] >= 0 && c < a->width; c++) {
            const double d = d_o[q->row * D + head + c];
            g[k] += d * a->value[s->row[k] * D + head + c];
            dvalue[s->row[k] * D + head + c] += s->attention * s->weight[k] * d;
        }
        by_share += s->weight[k] * g[k];
    }
    doffset[0] = (tn_real)(s->attention * ((1 - s->ly) * (g[1] - g[0]) + s->ly * (g[3] - g[2])));
    doffset[1] = (tn_real)(s->attention * ((1 - s->lx) * (g[2] - g[0]) + s->lx * (g[3] - g[1])));
    return by_share;
}

void tn_ref_deform_backward(const tn_ref_deformable *a, const tn_real *d_o, tn_real *dvalue, tn_real *dsamples)
{
    const int rows = a->batch * deform_rows(a), n = a->levels * a->points;
    const size_t count = (size_t)rows * a->heads * a->width;
    double *sums = calloc(count, sizeof *sums), slope[MOST];
    deform_sample s[MOST];
    for (int i = 0; sums && i < rows * a->heads; i++) {
        const deform_query q = deform_at(a, i / a->heads, i % a->heads);
        tn_real *doffset = dsamples + deform_offsets(a, &q), *dlogit = dsamples + deform_logits(a, &q);
        double mean = 0;
        deform_samples(a, &q, s);
        for (int j = 0; j < n; j++) {
            slope[j] = deform_slopes(a, &q, &s[j], d_o, sums, doffset + 2 * (size_t)j);
            mean += s[j].attention * slope[j];
        }
        for (int j = 0; j < n; j++) dlogit[j] = (tn_real)(s[j].attention * (slope[j] - mean));
    }
    for (size_t i = 0; sums && i < count; i++) dvalue[i] = (tn_real)sums[i];
    free(sums);
}
