#include "quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const tn_qformat tn_qformats[TN_Q_TYPES] = {
    /* Dettmers et al., QLoRA, 2023: quantiles of a normal distribution */
    [TN_Q_NF4] = {"nf4",
                  {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
                   -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
                   0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
                   0.7229568362236023f, 1.0f},
                  32, 4096, 64, 0.1520},
    /* bitsandbytes' own 4-bit float, twelfths; not E2M1 */
    [TN_Q_FP4] = {"fp4",
                  {0.0f, 0.0625f / 12, 8.0f / 12, 1.0f, 4.0f / 12, 6.0f / 12, 2.0f / 12, 3.0f / 12, -0.0f,
                   -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -6.0f / 12, -2.0f / 12, -3.0f / 12},
                  32, 4096, 64, 0.1667},
};

int tn_qtype_find(tn_qtype *out, const char *name, tn_error *err)
{
    for (int i = 0; i < TN_Q_TYPES; i++)
        if (!strcmp(tn_qformats[i].name, name)) {
            *out = (tn_qtype)i;
            return 0;
        }
    return tn_fail(err, TN_ERR_CONFIG, "quant_type '%s' is not known; nf4 and fp4 are", name);
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

void tn_dynamic_map(float map[256])
{
    int n = 0;
    for (int i = 0; i < 7; i++)
        for (int k = 0; k < 1 << i; k++) {
            double v = pow(10, i - 6) * (0.1 + 0.9 * (2 * k + 1) / (double)(1 << (i + 1)));
            map[n++] = (float)v;
            map[n++] = (float)-v;
        }
    map[n++] = 0;
    map[n++] = 1;
    qsort(map, (size_t)n, sizeof *map, by_value);
}

/* Codes sorted by value with the midpoints between neighbours; the upper one is taken only above the midpoint. */
typedef struct {
    uint8_t code[16];
    float mid[15];
} ladder;

static ladder ladder_of(const tn_qformat *f)
{
    ladder l;
    for (int i = 0; i < 16; i++) l.code[i] = (uint8_t)i;
    for (int i = 1; i < 16; i++)
        for (int j = i; j > 0 && f->code[l.code[j]] < f->code[l.code[j - 1]]; j--) {
            uint8_t t = l.code[j];
            l.code[j] = l.code[j - 1];
            l.code[j - 1] = t;
        }
    for (int i = 0; i < 15; i++) l.mid[i] = (f->code[l.code[i]] + f->code[l.code[i + 1]]) / 2;
    return l;
}

static uint8_t nearest4(const ladder *l, float u)
{
    int lo = 0, hi = 15;
    while (lo < hi) {
        int m = (lo + hi) / 2;
        if (u > l->mid[m])
            lo = m + 1;
        else
            hi = m;
    }
    return l->code[lo];
}

static uint8_t nearest_map(const float map[256], float u)
{
    int lo = 0, hi = 255;
    while (lo < hi) {
        int m = (lo + hi) / 2;
        if (u > (map[m] + map[m + 1]) / 2)
            lo = m + 1;
        else
            hi = m;
    }
    return (uint8_t)lo;
}

static int quantize_scales(tn_qmatrix *q, const float *absmax, tn_error *err)
{
    const size_t nb = q->n_blocks, nn = TN_CEIL_DIV(nb, (size_t)TN_NESTED_BLOCK);
    q->absmax_q = malloc(nb);
    q->nested_absmax = malloc(nn * sizeof(float));
    if (!q->absmax_q || !q->nested_absmax) return tn_oom(err);
    float map[256];
    tn_dynamic_map(map);
    double sum = 0;
    for (size_t i = 0; i < nb; i++) sum += absmax[i];
    q->offset = (float)(sum / (double)nb);
    for (size_t b = 0; b < nn; b++) {
        size_t end = TN_MIN((b + 1) * TN_NESTED_BLOCK, nb);
        float top = 0;
        for (size_t i = b * TN_NESTED_BLOCK; i < end; i++) top = fmaxf(top, fabsf(absmax[i] - q->offset));
        q->nested_absmax[b] = top;
        for (size_t i = b * TN_NESTED_BLOCK; i < end; i++)
            q->absmax_q[i] = nearest_map(map, top > 0 ? (absmax[i] - q->offset) / top : 0);
    }
    return 0;
}

/* One block's scale and codes. */
static void quantize_block(tn_qmatrix *q, const ladder *l, const float *w, size_t first, size_t end, float *absmax)
{
    float top = 0;
    for (size_t i = first; i < end; i++) top = fmaxf(top, fabsf(w[i]));
    *absmax = top;
    const float inv = top > 0 ? 1.0f / top : 0;
    for (size_t i = first; i < end; i++) {
        uint8_t code = nearest4(l, end - first == (size_t)q->block ? w[i] * inv : top > 0 ? w[i] / top : 0);
        q->packed[i / 2] |= (uint8_t)(i % 2 ? code : code << 4);
    }
}

int tn_quantize(tn_qmatrix *q, const float *w, int rows, int cols, tn_qtype type, int block, bool nested,
                const char *name, tn_error *err)
{
    const tn_qformat *f = &tn_qformats[type];
    *q = (tn_qmatrix){.type = type, .rows = rows, .cols = cols, .block = block, .nested = nested};
    if (block < f->min_block || block > f->max_block || (block & (block - 1)))
        return tn_fail(err, TN_ERR_CONFIG, "%s: block size %d; %s takes powers of two from %d to %d", name, block, f->name,
                       f->min_block, f->max_block);
    const size_t n = (size_t)rows * (size_t)cols;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(w[i]))
            return tn_fail(err, TN_ERR_NUMERIC, "%s: element %zu is %f and cannot be quantised; the weights are damaged", name,
                           i, (double)w[i]);
    q->n_blocks = TN_CEIL_DIV(n, (size_t)block);
    float *absmax = malloc(q->n_blocks * sizeof *absmax);
    q->packed = calloc((n + 1) / 2 + 1, 1);
    int rc = absmax && q->packed ? 0 : tn_oom(err);
    const ladder l = ladder_of(f);
    for (size_t b = 0; !rc && b < q->n_blocks; b++)
        quantize_block(q, &l, w, b * (size_t)block, TN_MIN((b + 1) * (size_t)block, n), &absmax[b]);
    if (!rc && n % 2) q->packed[n / 2] |= nearest4(&l, 0);
    if (!rc && nested) rc = quantize_scales(q, absmax, err);
    if (!rc && !nested) {
        q->absmax = absmax;
        absmax = NULL;
    }
    free(absmax);
    if (rc) tn_qmatrix_free(q);
    return rc;
}

void tn_qmatrix_free(tn_qmatrix *q)
{
    free(q->packed);
    free(q->absmax);
    free(q->absmax_q);
    free(q->nested_absmax);
    *q = (tn_qmatrix){0};
}

float tn_qmatrix_scale(const tn_qmatrix *q, const float map[256], size_t b)
{
    if (!q->nested) return q->absmax[b];
    return map[q->absmax_q[b]] * q->nested_absmax[b / TN_NESTED_BLOCK] + q->offset;
}

void tn_dequantize(const tn_qmatrix *q, float *w)
{
    const size_t n = (size_t)q->rows * (size_t)q->cols;
    const float *code = tn_qformats[q->type].code;
    float scale = 0, map[256];
    tn_dynamic_map(map);
    for (size_t i = 0; i < n; i++) {
        if (i % (size_t)q->block == 0) scale = tn_qmatrix_scale(q, map, i / (size_t)q->block);
        int nibble = i % 2 ? q->packed[i / 2] & 15 : q->packed[i / 2] >> 4;
        w[i] = code[nibble] * scale;
    }
}

size_t tn_qmatrix_bytes(const tn_qmatrix *q)
{
    const size_t n = (size_t)q->rows * (size_t)q->cols;
    size_t scales = q->nested ? q->n_blocks + 4 * TN_CEIL_DIV(q->n_blocks, (size_t)TN_NESTED_BLOCK) : 4 * q->n_blocks;
    return (n + 1) / 2 + scales;
}
