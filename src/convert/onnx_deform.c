/* A head of deformable attention is a sample of its own: [B*heads, width of a head, h, w], which GridSample (opset 16) reads at
 * [B*heads, N, points, 2]. */
#include "onnx_deform.h"

#include <stdlib.h>

#define INTS(...) ((const int64_t[]){__VA_ARGS__})

/* Where each query looks from in every level, from -1 at one border to 1 at the other: [N, 1, 2]. */
static const char *references(tn_onnx *o, const tn_levels *l, int cells)
{
    float *v = malloc(sizeof *v * 2 * (size_t)cells), *at = v;
    if (!v) return NULL;
    for (int i = 0; i < l->n; i++)
        for (int c = 0; c < l->h[i] * l->w[i]; c++) {
            *at++ = (float)((2.0 * (c % l->w[i]) + 1) / l->w[i] - 1);
            *at++ = (float)((2.0 * (c / l->w[i]) + 1) / l->h[i] - 1);
        }
    const char *name = tn_onnx_floats(o, "references", v, 3, INTS(cells, 1, 2));
    free(v);
    return name;
}

/* [B, N, heads*n*k], columns [from, from + heads*n*k) of samples, -> [B*heads, N, n, k]. */
static const char *of_heads(tn_onnx *o, const char *samples, int64_t from, int64_t heads, int64_t cells, int64_t n, int64_t k)
{
    const char *x = tn_onnx_slice(o, samples, 2, from, from + heads * n * k);
    x = tn_onnx_transpose(o, tn_onnx_reshape(o, x, 5, INTS(-1, cells, heads, n, k)), 5, INTS(0, 2, 1, 3, 4));
    return tn_onnx_reshape(o, x, 4, INTS(-1, cells, n, k));
}

/* What the points of one level see: [B*heads, width of a head, N, points]. offsets [B*heads, N, all samples, 2]. */
static const char *level_seen(tn_onnx *o, const tn_attr_deform *a, int i, int64_t hd, const char *value, const char *offsets,
                              const char *reference)
{
    const int64_t first = tn_levels_rows(&a->levels, i), h = a->levels.h[i], w = a->levels.w[i], points = a->points;
    const float pixel[] = {2.0f / (float)w, 2.0f / (float)h};
    const char *x = tn_onnx_slice(o, value, 1, first, first + h * w);
    x = tn_onnx_transpose(o, tn_onnx_reshape(o, x, 4, INTS(-1, h * w, a->heads, hd)), 4, INTS(0, 2, 3, 1));
    x = tn_onnx_reshape(o, x, 4, INTS(-1, hd, h, w));
    const char *grid = tn_onnx_slice(o, offsets, 2, i * points, (i + 1) * points);
    grid = tn_onnx_node(o, "Mul", grid, tn_onnx_floats(o, "pixel", pixel, 1, INTS(2)), NULL, NULL);
    grid = tn_onnx_node(o, "Add", grid, reference, NULL, NULL);
    const char *seen = tn_onnx_node(o, "GridSample", x, grid, NULL, NULL);
    tn_onnx_string(o, "mode", "bilinear");
    tn_onnx_string(o, "padding_mode", "zeros");
    tn_onnx_int(o, "align_corners", 0);
    return seen;
}

const char *tn_onnx_deform(tn_onnx *o, const tn_attr_deform *a, int width, const char *value, const char *samples)
{
    const int cells = tn_levels_rows(&a->levels, a->levels.n);
    const int64_t each = (int64_t)a->levels.n * a->points, heads = a->heads;
    const char *reference = references(o, &a->levels, cells), *seen[TN_MAX_LEVELS];
    if (!reference) return NULL;
    const char *offsets = of_heads(o, samples, 0, heads, cells, each, 2);
    const char *share = of_heads(o, samples, 2 * heads * each, heads, cells, each, 1);
    share = tn_onnx_node(o, "Softmax", tn_onnx_reshape(o, share, 4, INTS(-1, 1, cells, each)), NULL, NULL, NULL);
    tn_onnx_int(o, "axis", -1);
    for (int i = 0; i < a->levels.n; i++) seen[i] = level_seen(o, a, i, width / heads, value, offsets, reference);
    const char *all = tn_onnx_concat(o, seen, a->levels.n, 3);
    all = tn_onnx_node(o, "Mul", all, share, NULL, NULL);
    all = tn_onnx_node(o, "ReduceSum", all, tn_onnx_ints(o, "axes", INTS(3), 1), NULL, NULL);
    tn_onnx_int(o, "keepdims", 0);
    return tn_onnx_transpose(o, tn_onnx_reshape(o, all, 3, INTS(-1, width, cells)), 3, INTS(0, 2, 1));
}
