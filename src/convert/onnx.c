/* A heatmap model as ONNX, opset 17: the inference graph walked node by node. Tokens are [batch, positions, width]; patches, and
 * all that is made of maps, are [batch, channels, height, width]. Adapters are merged into the matrices. */
#include "adapter.h"
#include "export.h"
#include "onnx_deform.h"
#include "onnx_model.h"
#include "svd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    tn_engine *e;
    tn_onnx *o;
    tn_graph g;
    const char **name;   /* of each tensor of the graph */
    const char **q, **k; /* queries and keys of a qkv tensor once rotated: [batch, heads, positions, head width] */
    bool *image;         /* is the tensor channels-first? */
    float **rows;        /* values of tensors that hold none of the image */
    float *positions;    /* position rows for this image size */
    tn_error *err;
} emitter;

#define SLOT(e, i) (&(e)->e->model->slots[i])

static float *onnx_values(emitter *e, int slot)
{
    const tn_slot *s = SLOT(e, slot);
    float *v = malloc(sizeof *v * (size_t)s->rows * (size_t)s->cols + 4);
    if (!v) tn_oom(e->err);
    if (v && tn_store_get(e->e->session->store, slot, v, e->err)) {
        free(v);
        v = NULL;
    }
    return v;
}

static const char *onnx_constant(emitter *e, int slot, int n_dims, const int64_t *dims)
{
    float *v = onnx_values(e, slot);
    const char *name = v ? tn_onnx_floats(e->o, SLOT(e, slot)->name, v, n_dims, dims) : NULL;
    free(v);
    return name;
}

static const char *vector(emitter *e, int slot)
{
    return onnx_constant(e, slot, 1, (int64_t[]){(int64_t)SLOT(e, slot)->rows * SLOT(e, slot)->cols});
}

/* One value for each channel of a map. */
static const char *channels(emitter *e, int slot)
{
    return onnx_constant(e, slot, 3, (int64_t[]){(int64_t)SLOT(e, slot)->rows * SLOT(e, slot)->cols, 1, 1});
}

static const char *reshape(emitter *e, const char *x, int n, const int64_t *shape)
{
    return tn_onnx_reshape(e->o, x, n, shape);
}

static const char *transpose(emitter *e, const char *x, int n, const int64_t *perm)
{
    return tn_onnx_transpose(e->o, x, n, perm);
}

static const char *scalar(emitter *e, float v)
{
    return tn_onnx_floats(e->o, "c", &v, 0, NULL);
}

static const char *op2(emitter *e, const char *op, const char *a, const char *b)
{
    return tn_onnx_node(e->o, op, a, b, NULL, NULL);
}

static const char *slice(emitter *e, const char *x, int64_t axis, int64_t from, int64_t to)
{
    return tn_onnx_slice(e->o, x, axis, from, to);
}

/* ---- linear layers, adapters merged ---- */

static int merge_adapter(emitter *e, const tn_gpart *p, float *w, int out, int in)
{
    float *A = onnx_values(e, p->a), *B = A ? onnx_values(e, p->b) : NULL, *m = B && p->m >= 0 ? onnx_values(e, p->m) : NULL;
    int rc = B && (p->m < 0 || m) ? 0 : e->err->status;
    if (!rc) tn_matmul_add(w, p->scale, B, A, out, p->r, in);
    if (!rc && m) tn_rows_to_norms(w, m, out, in);
    free(A);
    free(B);
    free(m);
    return rc;
}

/* All parts' matrices below each other, [out, in], and their biases; *bias NULL where none has one. */
static int gather(emitter *e, const tn_gnode *n, float **weight, float **bias, int *out, int *in)
{
    *out = 0;
    *in = SLOT(e, n->part[0].w)->cols;
    bool any = false;
    for (int i = 0; i < n->n_parts; i++) *out += n->part[i].cols, any |= n->part[i].bias >= 0;
    *weight = calloc((size_t)*out * (size_t)*in, sizeof **weight);
    *bias = any ? calloc((size_t)*out, sizeof **bias) : NULL;
    if (!*weight || (any && !*bias)) return tn_oom(e->err);
    for (int i = 0, row = 0; i < n->n_parts; row += n->part[i++].cols) {
        const tn_gpart *p = &n->part[i];
        float *w = *weight + (size_t)row * (size_t)*in;
        TN_TRY(tn_store_get(e->e->session->store, p->w, w, e->err));
        if (p->a >= 0) TN_TRY(merge_adapter(e, p, w, p->cols, *in));
        if (p->bias >= 0) TN_TRY(tn_store_get(e->e->session->store, p->bias, *bias + row, e->err));
    }
    return 0;
}

/* [out, in] to [in, out]. */
static float *turned(const float *w, int out, int in)
{
    float *t = malloc(sizeof *t * (size_t)out * (size_t)in);
    for (int i = 0; t && i < out; i++)
        for (int c = 0; c < in; c++) t[(size_t)c * (size_t)out + (size_t)i] = w[(size_t)i * (size_t)in + (size_t)c];
    return t;
}

/* A DoRA layer's product has no bias; the node after it brings it, and merging makes both one. */
static const tn_gnode *dora_of(const tn_graph *g, const tn_gnode *n)
{
    for (int k = 0; k < g->n_n; k++)
        if (g->n[k].op == TN_OP_DORA && g->n[k].in[0] == n->out[0]) return &g->n[k];
    return NULL;
}

static int onnx_linear(emitter *e, const tn_gnode *n)
{
    const tn_gnode *dora = dora_of(&e->g, n), *parts = dora ? dora : n;
    float *w = NULL, *b = NULL;
    int out = 0, in = 0;
    const bool image = e->image[n->in[0]];
    const char *x = e->name[n->in[0]], *y = NULL, *module = SLOT(e, parts->part[0].w)->name;
    int rc = gather(e, parts, &w, &b, &out, &in);
    const int64_t bias[] = {out}, kernel[] = {out, in, 1, 1}, matrix[] = {in, out};
    if (!rc && image) {
        const char *wn = tn_onnx_floats(e->o, module, w, 4, kernel);
        y = tn_onnx_node(e->o, "Conv", x, wn, b ? tn_onnx_floats(e->o, "bias", b, 1, bias) : NULL, NULL);
    } else if (!rc) {
        float *t = turned(w, out, in);
        if (t) y = op2(e, "MatMul", x, tn_onnx_floats(e->o, module, t, 2, matrix));
        if (t && b) y = op2(e, "Add", y, tn_onnx_floats(e->o, "bias", b, 1, bias));
        if (!t) rc = tn_oom(e->err);
        free(t);
    }
    free(w);
    free(b);
    e->name[n->out[0]] = y;
    e->image[n->out[0]] = image;
    return rc;
}

/* ---- tokens ---- */

/* A map whose channels are the pixels of a patch. */
static int onnx_patchify(emitter *e, const tn_gnode *n)
{
    const tn_attr_patchify *a = &n->a.patchify;
    const int64_t p = a->patch, gh = a->height / p, gw = a->width / p, channels = 3 * (int64_t)a->frames;
    const char *x = "pixel_values";
    if (a->height % p) x = slice(e, x, 2, 0, gh * p);
    if (a->width % p) x = slice(e, x, 3, 0, gw * p);
    x = transpose(e, reshape(e, x, 6, (int64_t[]){-1, channels, gh, p, gw, p}), 6, (int64_t[]){0, 1, 3, 5, 2, 4});
    e->name[n->out[0]] = reshape(e, x, 4, (int64_t[]){-1, channels * p * p, gh, gw});
    e->image[n->out[0]] = true;
    return e->err->status;
}

/* Position rows for this image size, worked out here: R times the stored ones. */
static int onnx_positions(emitter *e, const tn_gnode *n)
{
    const tn_gtensor *R = &e->g.t[n->in[0]], *y = &e->g.t[n->out[0]];
    float *p = onnx_values(e, n->w[0]), *rows = p ? calloc((size_t)y->rows * (size_t)y->cols, sizeof *rows) : NULL;
    if (rows) tn_matmul_add(rows, 1, R->host, p, y->rows, R->cols, y->cols);
    free(p);
    free(e->positions);
    e->positions = rows;
    return rows ? 0 : e->err->status ? e->err->status : tn_oom(e->err);
}

static int onnx_tokens(emitter *e, const tn_gnode *n)
{
    const float *pos = n->in[1] >= 0 ? e->positions : NULL;
    const int D = e->g.t[n->in[0]].cols, R = n->a.tokens.registers, P = e->g.t[n->in[0]].rows;
    float *cls = onnx_values(e, n->w[0]), *reg = R && cls ? onnx_values(e, n->w[1]) : NULL;
    float *head = calloc((size_t)(1 + R) * (size_t)D, sizeof *head);
    int rc = cls && head && (!R || reg) ? 0 : tn_oom(e->err);
    for (int c = 0; !rc && c < D; c++) head[c] = cls[c] + (pos ? pos[c] : 0);
    if (!rc && R) memcpy(head + D, reg, sizeof *reg * (size_t)R * (size_t)D);
    if (!rc) {
        const char *x = transpose(e, reshape(e, e->name[n->in[0]], 3, (int64_t[]){0, D, P}), 3, (int64_t[]){0, 2, 1});
        if (pos) x = op2(e, "Add", x, tn_onnx_floats(e->o, "positions", pos + D, 2, (int64_t[]){P, D}));
        const char *batch = tn_onnx_node(e->o, "Shape", x, NULL, NULL, NULL);
        tn_onnx_int(e->o, "start", 0);
        tn_onnx_int(e->o, "end", 1);
        const char *shape = op2(e, "Concat", batch, tn_onnx_ints(e->o, "prefix", (int64_t[]){1 + R, D}, 2));
        tn_onnx_int(e->o, "axis", 0);
        const char *prefix = op2(e, "Expand", tn_onnx_floats(e->o, "tokens", head, 3, (int64_t[]){1, 1 + R, D}), shape);
        e->name[n->out[0]] = op2(e, "Concat", prefix, x);
        tn_onnx_int(e->o, "axis", 1);
    }
    free(cls);
    free(reg);
    free(head);
    return rc;
}

static int onnx_layernorm(emitter *e, const tn_gnode *n)
{
    const bool image = e->image[n->in[0]];
    const char *x = e->name[n->in[0]];
    if (image) x = transpose(e, x, 4, (int64_t[]){0, 2, 3, 1});
    x = tn_onnx_node(e->o, "LayerNormalization", x, vector(e, n->w[0]), vector(e, n->w[1]), NULL);
    tn_onnx_int(e->o, "axis", -1);
    tn_onnx_float(e->o, "epsilon", n->a.layernorm.eps);
    e->name[n->out[0]] = image ? transpose(e, x, 4, (int64_t[]){0, 3, 1, 2}) : x;
    e->image[n->out[0]] = image;
    return e->err->status;
}

/* Columns [part D, part D + D) of qkv as [batch, heads, positions, head width]. */
static const char *heads_of(emitter *e, int qkv, int part, int heads)
{
    const int64_t N = e->g.t[qkv].rows, D = e->g.t[qkv].cols / 3;
    const char *x = reshape(e, slice(e, e->name[qkv], 2, part * D, (part + 1) * D), 4, (int64_t[]){-1, N, heads, D / heads});
    return transpose(e, x, 4, (int64_t[]){0, 2, 1, 3});
}

static const char *rotated(emitter *e, const char *x, const char *cosine, const char *sine, int64_t width)
{
    const char *a = slice(e, x, 3, 0, width / 2), *b = slice(e, x, 3, width / 2, width);
    const char *turn = op2(e, "Concat", tn_onnx_node(e->o, "Neg", b, NULL, NULL, NULL), a);
    tn_onnx_int(e->o, "axis", 3);
    return op2(e, "Add", op2(e, "Mul", x, cosine), op2(e, "Mul", turn, sine));
}

static int onnx_rope(emitter *e, const tn_gnode *n)
{
    const int qkv = n->in[0], heads = n->a.rope.heads, skip = n->a.rope.skip, N = e->g.t[qkv].rows,
              w = e->g.t[qkv].cols / 3 / heads, h = w / 2;
    const float *table = e->g.t[n->in[1]].host; /* [positions][h][cos, sin] */
    float *t = malloc(sizeof *t * 2 * (size_t)N * (size_t)w);
    if (!t) return tn_oom(e->err);
    float *s = t + (size_t)N * (size_t)w;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < w; k++) {
            const float *at = table + ((size_t)(i - skip) * (size_t)h + (size_t)(k % h)) * 2;
            t[i * w + k] = i < skip ? 1 : at[0];
            s[i * w + k] = i < skip ? 0 : at[1];
        }
    const int64_t dims[] = {1, 1, N, w};
    const char *cosine = tn_onnx_floats(e->o, "cos", t, 4, dims), *sine = tn_onnx_floats(e->o, "sin", s, 4, dims);
    e->q[n->out[0]] = rotated(e, heads_of(e, qkv, 0, heads), cosine, sine, w);
    e->k[n->out[0]] = rotated(e, heads_of(e, qkv, 1, heads), cosine, sine, w);
    e->name[n->out[0]] = e->name[qkv];
    free(t);
    return 0;
}

static int onnx_attention(emitter *e, const tn_gnode *n)
{
    const int qkv = n->in[0], heads = n->a.attention.heads;
    const int64_t N = e->g.t[qkv].rows, D = e->g.t[qkv].cols / 3;
    const char *q = e->q[qkv] ? e->q[qkv] : heads_of(e, qkv, 0, heads), *k = e->k[qkv] ? e->k[qkv] : heads_of(e, qkv, 1, heads);
    const char *v = heads_of(e, qkv, 2, heads);
    q = op2(e, "Mul", q, scalar(e, 1.0f / sqrtf((float)(D / heads))));
    const char *s =
        tn_onnx_node(e->o, "Softmax", op2(e, "MatMul", q, transpose(e, k, 4, (int64_t[]){0, 1, 3, 2})), NULL, NULL, NULL);
    tn_onnx_int(e->o, "axis", -1);
    const char *y = transpose(e, op2(e, "MatMul", s, v), 4, (int64_t[]){0, 2, 1, 3});
    e->name[n->out[0]] = reshape(e, y, 3, (int64_t[]){-1, N, D});
    return e->err->status;
}

/* ---- features of several levels ---- */

static int onnx_levels_join(emitter *e, const tn_gnode *n)
{
    const tn_levels *l = &n->a.levels_join;
    const char *x[TN_MAX_LEVELS];
    for (int i = 0; i < l->n; i++) {
        x[i] = e->name[n->in[i]];
        if (!e->image[n->in[i]]) continue;
        x[i] = reshape(e, x[i], 3, (int64_t[]){-1, e->g.t[n->in[i]].cols, (int64_t)l->h[i] * l->w[i]});
        x[i] = transpose(e, x[i], 3, (int64_t[]){0, 2, 1});
    }
    e->name[n->out[0]] = tn_onnx_concat(e->o, x, l->n, 1);
    return e->err->status;
}

/* Positions and the levels' rows, added up here. */
static int onnx_level_positions(emitter *e, const tn_gnode *n)
{
    const tn_levels *l = &n->a.level_positions;
    const tn_gtensor *pos = &e->g.t[n->in[0]];
    const size_t D = (size_t)pos->cols;
    float *embed = onnx_values(e, n->w[0]), *sum = embed ? malloc(sizeof *sum * (size_t)pos->rows * D) : NULL, *to = sum;
    if (embed && !sum) tn_oom(e->err);
    for (int i = 0; sum && i < l->n; i++)
        for (size_t k = 0; k < (size_t)(l->h[i] * l->w[i]) * D; k++, to++) *to = pos->host[to - sum] + embed[(size_t)i * D + k % D];
    if (sum) e->name[n->out[0]] = tn_onnx_floats(e->o, "positions", sum, 2, (int64_t[]){pos->rows, pos->cols});
    free(embed);
    free(sum);
    return e->err->status;
}

static int onnx_add_positions(emitter *e, const tn_gnode *n)
{
    e->name[n->out[0]] = op2(e, "Add", e->name[n->in[0]], e->name[n->in[1]]);
    return e->err->status;
}

static int onnx_deform_attention(emitter *e, const tn_gnode *n)
{
    const tn_attr_deform *a = &n->a.deform_attention;
    const char *o = tn_onnx_deform(e->o, a, e->g.t[n->in[0]].cols, e->name[n->in[0]], e->name[n->in[1]]);
    e->name[n->out[0]] = o;
    return o ? e->err->status : tn_oom(e->err);
}

/* ---- both ---- */

static const char *activated(emitter *e, tn_fn fn, const char *x)
{
    if (fn == TN_RELU) return tn_onnx_node(e->o, "Relu", x, NULL, NULL, NULL);
    if (fn == TN_SIGMOID) return tn_onnx_node(e->o, "Sigmoid", x, NULL, NULL, NULL);
    if (fn == TN_SILU) return op2(e, "Mul", x, tn_onnx_node(e->o, "Sigmoid", x, NULL, NULL, NULL));
    const char *erf = tn_onnx_node(e->o, "Erf", op2(e, "Mul", x, scalar(e, 0.70710678118654752f)), NULL, NULL, NULL);
    return op2(e, "Mul", op2(e, "Mul", x, scalar(e, 0.5f)), op2(e, "Add", erf, scalar(e, 1)));
}

static int onnx_act(emitter *e, const tn_gnode *n)
{
    e->name[n->out[0]] = activated(e, n->a.act.fn, e->name[n->in[0]]);
    e->image[n->out[0]] = e->image[n->in[0]];
    return e->err->status;
}

static int onnx_glu(emitter *e, const tn_gnode *n)
{
    const int64_t c = e->g.t[n->out[0]].cols;
    const char *u = e->name[n->in[0]];
    e->name[n->out[0]] = op2(e, "Mul", activated(e, n->a.glu.fn, slice(e, u, 2, 0, c)), slice(e, u, 2, c, 2 * c));
    e->image[n->out[0]] = e->image[n->in[0]];
    return e->err->status;
}

static int onnx_residual(emitter *e, const tn_gnode *n)
{
    const char *y = e->name[n->in[1]];
    if (n->w[0] >= 0) y = op2(e, "Mul", y, e->image[n->in[1]] ? channels(e, n->w[0]) : vector(e, n->w[0]));
    e->name[n->out[0]] = op2(e, "Add", e->name[n->in[0]], y);
    e->image[n->out[0]] = e->image[n->in[0]];
    return e->err->status;
}

/* ---- images ---- */

static int onnx_grid(emitter *e, const tn_gnode *n)
{
    const int64_t C = e->g.t[n->out[0]].cols, gh = n->a.grid.h, gw = n->a.grid.w;
    const char *x = slice(e, e->name[n->in[0]], 1, n->a.grid.skip, n->a.grid.skip + gh * gw);
    e->name[n->out[0]] = transpose(e, reshape(e, x, 4, (int64_t[]){-1, gh, gw, C}), 4, (int64_t[]){0, 3, 1, 2});
    e->image[n->out[0]] = true;
    return e->err->status;
}

/* What Resize multiplies a side by; never so little that it rounds down to fewer than `out`. */
static float factor_of(int in, int out)
{
    float f = (float)out / (float)in;
    while ((int)floor((double)in * (double)f) < out) f = nextafterf(f, INFINITY);
    return f;
}

static int onnx_bilinear(emitter *e, const tn_gnode *n)
{
    const tn_attr_resize *a = &n->a.bilinear;
    const float f[] = {1, 1, factor_of(a->in_h, a->out_h), factor_of(a->in_w, a->out_w)};
    e->name[n->out[0]] =
        tn_onnx_node(e->o, "Resize", e->name[n->in[0]], "", tn_onnx_floats(e->o, "scales", f, 1, (int64_t[]){4}), NULL);
    tn_onnx_string(e->o, "mode", "linear");
    tn_onnx_string(e->o, "coordinate_transformation_mode", "half_pixel");
    e->image[n->out[0]] = true;
    return e->err->status;
}

/* The adapter beside a convolution's weight as a part of a linear layer has it; a -1: there is none. */
static tn_gpart adapter_of(const tn_model *m, int weight)
{
    const tn_slot *s = &m->slots[weight];
    tn_gpart p = {.w = weight, .bias = tn_model_beside(m, s, "bias"), .a = tn_model_beside(m, s, "lora_A.weight")};
    if (p.a < 0) return p;
    p.b = tn_model_beside(m, s, "lora_B.weight"), p.m = tn_model_beside(m, s, "lora_magnitude_vector");
    p.r = m->slots[p.a].rows, p.scale = m->slots[p.a].lora_scale;
    return p;
}

/* Is the slot an adapter's that has gone into the weight beside it? Not beside a convolution of several groups. */
static bool went_into_weight(const emitter *e, int slot)
{
    char name[200];
    const char *part = strstr(SLOT(e, slot)->name, ".lora_");
    if (!part) return false;
    snprintf(name, sizeof name, "%.*s.weight", (int)(part - SLOT(e, slot)->name), SLOT(e, slot)->name);
    return tn_slot_groups(SLOT(e, tn_model_slot(e->e->model, name))) == 1;
}

/* The kernel with its adapter in it, and the bias that a DoRA node would bring. */
static const char *merged_kernel(emitter *e, const tn_gpart *p, const int64_t *dims, int *bias)
{
    const tn_slot *s = SLOT(e, p->w);
    float *v = onnx_values(e, p->w);
    const char *name = v && !merge_adapter(e, p, v, s->rows, s->cols) ? tn_onnx_floats(e->o, s->name, v, 4, dims) : NULL;
    free(v);
    *bias = p->bias;
    return name;
}

/* Does a Resize of opset 17 (asymmetric, floor), which divides by the factor, take each of `out` from the pixel that PyTorch does,
 * which multiplies by s? */
static bool same_nearest(int in, int out, float s)
{
    const float factor = factor_of(in, out);
    bool same = true;
    for (int i = 0; i < out; i++)
        same &= TN_MIN((int)floorf((float)i * s), in - 1) == TN_MIN((int)floorf((float)i / factor), in - 1);
    return same;
}

/* x by an index for each of `out` along an axis. */
static const char *gathered(emitter *e, const char *x, int axis, int in, int out, float s)
{
    int64_t *from = malloc(sizeof *from * (size_t)out);
    if (!from) tn_oom(e->err);
    for (int i = 0; from && i < out; i++) from[i] = TN_MIN((int)floorf((float)i * s), in - 1);
    const char *y = from ? op2(e, "Gather", x, tn_onnx_ints(e->o, "nearest", from, out)) : "";
    if (from) tn_onnx_int(e->o, "axis", axis);
    free(from);
    return y;
}

static int onnx_upsample_add(emitter *e, const tn_gnode *n)
{
    const tn_attr_resize *a = &n->a.upsample_add;
    const float f[] = {1, 1, factor_of(a->in_h, a->out_h), factor_of(a->in_w, a->out_w)};
    const char *z = e->name[n->in[1]];
    if (same_nearest(a->in_h, a->out_h, a->sy) && same_nearest(a->in_w, a->out_w, a->sx)) {
        z = tn_onnx_node(e->o, "Resize", z, "", tn_onnx_floats(e->o, "scales", f, 1, (int64_t[]){4}), NULL);
        tn_onnx_string(e->o, "mode", "nearest");
        tn_onnx_string(e->o, "coordinate_transformation_mode", "asymmetric");
        tn_onnx_string(e->o, "nearest_mode", "floor");
    } else {
        z = gathered(e, z, 2, a->in_h, a->out_h, a->sy);
        z = gathered(e, z, 3, a->in_w, a->out_w, a->sx);
    }
    e->name[n->out[0]] = op2(e, "Add", e->name[n->in[0]], z);
    e->image[n->out[0]] = true;
    return e->err->status;
}

static int onnx_conv(emitter *e, const tn_gnode *n)
{
    if (went_into_weight(e, n->w[0])) return 0;
    const tn_slot *s = SLOT(e, n->w[0]);
    const tn_attr_conv *a = &n->a.conv;
    const int64_t dims[] = {s->shape[0], s->shape[1], s->shape[2], s->shape[3]}, p = a->pad;
    const tn_gpart beside = adapter_of(e->e->model, n->w[0]);
    int b = n->w[1];
    const char *w = beside.a >= 0 && a->groups == 1 ? merged_kernel(e, &beside, dims, &b) : onnx_constant(e, n->w[0], 4, dims);
    e->name[n->out[0]] = tn_onnx_node(e->o, "Conv", e->name[n->in[0]], w, b >= 0 ? vector(e, b) : NULL, NULL);
    tn_onnx_list(e->o, "pads", (int64_t[]){p, p, p, p}, 4);
    tn_onnx_list(e->o, "kernel_shape", (int64_t[]){a->kernel, a->kernel}, 2);
    tn_onnx_list(e->o, "strides", (int64_t[]){a->stride, a->stride}, 2);
    tn_onnx_int(e->o, "group", a->groups);
    e->image[n->out[0]] = true;
    return e->err->status;
}

/* y + (scale B) t where the adapter stands beside, else y. */
static int onnx_adapt(emitter *e, const tn_gnode *n)
{
    const tn_gpart *p = &n->part[0];
    const tn_slot *b = SLOT(e, p->b);
    const char *y = e->name[n->in[0]];
    if (!went_into_weight(e, p->b)) {
        float *v = onnx_values(e, p->b);
        for (int i = 0; v && i < b->rows * b->cols; i++) v[i] *= p->scale;
        const char *w = v ? tn_onnx_floats(e->o, b->name, v, 4, (int64_t[]){b->rows, b->cols, 1, 1}) : NULL;
        free(v);
        const char *up = tn_onnx_node(e->o, "Conv", e->name[n->in[1]], w, NULL, NULL);
        tn_onnx_int(e->o, "group", n->a.adapt.groups);
        y = op2(e, "Add", y, up);
    }
    e->name[n->out[0]] = y;
    e->image[n->out[0]] = true;
    return e->err->status;
}

/* Rows through an affine map, worked out here. */
static int onnx_affine_rows(emitter *e, const tn_gnode *n)
{
    const tn_attr_rows *a = &n->a.affine_rows;
    const tn_slot *s = SLOT(e, n->w[0]);
    const bool slots = n->in[0] < 0;
    const int rows = e->g.t[n->out[0]].rows, K = s->cols, ld = slots ? SLOT(e, n->w[2])->cols : e->g.t[n->in[0]].cols;
    float *v = slots ? onnx_values(e, n->w[2]) : e->rows[n->in[0]], *k = slots ? onnx_values(e, n->w[3]) : NULL;
    float *w = onnx_values(e, n->w[0]), *b = n->w[1] >= 0 ? onnx_values(e, n->w[1]) : NULL;
    float *out = e->rows[n->out[0]] = calloc((size_t)rows * ((size_t)K + 1), sizeof *out);
    if (!e->err->status && !out) tn_oom(e->err);
    for (int i = 0; !e->err->status && i < rows; i++) {
        const float *from = v + (size_t)i * (size_t)ld + a->first;
        float *to = out + (size_t)i * ((size_t)K + 1);
        tn_matmul_add(to, 1, from, w, 1, s->rows, K);
        if (b) tn_matmul_add(to + K, 1, from, b, 1, s->rows, 1);
        if (a->constant) to[K] += slots ? k[i] : v[(size_t)(i + 1) * (size_t)ld - 1];
    }
    if (slots) free(v);
    free(k);
    free(w);
    free(b);
    return e->err->status;
}

/* The product of two layers' matrices, worked out here. */
static int onnx_slots_product(emitter *e, const tn_gnode *n)
{
    const tn_slot *a = SLOT(e, n->w[0]), *b = SLOT(e, n->w[1]);
    float *left = onnx_values(e, n->w[0]), *right = onnx_values(e, n->w[1]);
    float *out = e->rows[n->out[0]] = calloc((size_t)a->rows * (size_t)b->cols, sizeof *out);
    if (!e->err->status && !out) tn_oom(e->err);
    for (int i = 0; !e->err->status && i < a->rows; i++)
        tn_matmul_add(out + (size_t)i * (size_t)b->cols, 1, left + (size_t)i * (size_t)a->cols, right, 1, a->cols, b->cols);
    free(left);
    free(right);
    return e->err->status;
}

static int onnx_linear_by(emitter *e, const tn_gnode *n)
{
    const tn_gtensor *m = &e->g.t[n->in[1]];
    const char *w = tn_onnx_floats(e->o, "joined", e->rows[n->in[1]], 4, (int64_t[]){m->rows, m->cols, 1, 1});
    e->name[n->out[0]] = op2(e, "Add", e->name[n->in[2]], tn_onnx_node(e->o, "Conv", e->name[n->in[0]], w, NULL, NULL));
    e->image[n->out[0]] = true;
    return e->err->status;
}

/* x through rows of kernels and the constants that lie behind them. */
static int onnx_rows(emitter *e, const char *x, const tn_gnode *n, int channels, int kernel_size, int64_t p)
{
    const tn_gtensor *rows = &e->g.t[n->in[1]];
    const int64_t O = rows->rows, dims[] = {O, channels, kernel_size, kernel_size};
    const size_t K = (size_t)rows->cols - 1;
    float *kernel = malloc(sizeof *kernel * (size_t)O * (K + 1)), *constant = kernel ? kernel + (size_t)O * K : NULL;
    if (!kernel) return tn_oom(e->err);
    for (size_t i = 0; i < (size_t)O; i++) {
        const float *row = e->rows[n->in[1]] + i * (K + 1);
        memcpy(kernel + i * K, row, K * sizeof *row);
        constant[i] = row[K];
    }
    const char *w = tn_onnx_floats(e->o, "rows", kernel, 4, dims), *b = tn_onnx_floats(e->o, "bias", constant, 1, &O);
    free(kernel);
    e->name[n->out[0]] = tn_onnx_node(e->o, "Conv", x, w, b, NULL);
    tn_onnx_list(e->o, "pads", (int64_t[]){p, p, p, p}, 4);
    e->image[n->out[0]] = true;
    return e->err->status;
}

static int onnx_conv_few(emitter *e, const tn_gnode *n)
{
    const tn_attr_conv *a = &n->a.conv_few;
    return onnx_rows(e, e->name[n->in[0]], n, e->g.t[n->in[0]].cols, a->kernel, a->pad);
}

/* GroupNorm is an instance norm over groups (GroupNormalization itself came with opset 18). */
static const char *group_norm(emitter *e, const tn_gnode *n)
{
    const int64_t G = n->a.norm2d.groups;
    float ones[64], zeros[64] = {0};
    for (int i = 0; i < 64; i++) ones[i] = 1;
    const char *x = e->name[n->in[0]], *shape = tn_onnx_node(e->o, "Shape", x, NULL, NULL, NULL);
    const char *y = reshape(e, x, 3, (int64_t[]){0, G, -1});
    y = tn_onnx_node(e->o, "InstanceNormalization", y, tn_onnx_floats(e->o, "ones", ones, 1, &G),
                     tn_onnx_floats(e->o, "zeros", zeros, 1, &G), NULL);
    tn_onnx_float(e->o, "epsilon", 1e-5f);
    y = op2(e, "Reshape", y, shape);
    return op2(e, "Add", op2(e, "Mul", y, channels(e, n->w[0])), channels(e, n->w[1]));
}

static const char *image_norm(emitter *e, const tn_gnode *n)
{
    if (n->a.norm2d.stats != TN_STATS_RUNNING) return group_norm(e, n);
    const char *x = e->name[n->in[0]],
               *y = tn_onnx_node(e->o, "BatchNormalization", x, vector(e, n->w[0]), vector(e, n->w[1]), vector(e, n->w[2]));
    tn_onnx_input(e->o, vector(e, n->w[3]));
    tn_onnx_float(e->o, "epsilon", 1e-5f);
    return y;
}

static int onnx_norm2d(emitter *e, const tn_gnode *n)
{
    e->name[n->out[0]] = image_norm(e, n);
    e->image[n->out[0]] = true;
    return e->err->status;
}

static int onnx_norm2d_few(emitter *e, const tn_gnode *n)
{
    return onnx_rows(e, activated(e, n->a.norm2d_few.fn, image_norm(e, n)), n, e->g.t[n->in[0]].cols, 1, 0);
}

static int onnx_grn(emitter *e, const tn_gnode *n)
{
    const char *x = e->name[n->in[0]], *norm = tn_onnx_node(e->o, "ReduceL2", x, NULL, NULL, NULL);
    tn_onnx_list(e->o, "axes", (int64_t[]){2, 3}, 2);
    tn_onnx_int(e->o, "keepdims", 1);
    const char *mean = tn_onnx_node(e->o, "ReduceMean", norm, NULL, NULL, NULL);
    tn_onnx_list(e->o, "axes", (int64_t[]){1}, 1);
    tn_onnx_int(e->o, "keepdims", 1);
    const char *beside = op2(e, "Div", norm, op2(e, "Add", mean, scalar(e, 1e-6f)));
    const char *y = op2(e, "Add", op2(e, "Mul", op2(e, "Mul", x, beside), channels(e, n->w[0])), channels(e, n->w[1]));
    e->name[n->out[0]] = op2(e, "Add", y, x);
    e->image[n->out[0]] = true;
    return e->err->status;
}

static int onnx_sample_mean(emitter *e, const tn_gnode *n)
{
    e->name[n->out[0]] = tn_onnx_node(e->o, "ReduceMean", e->name[n->in[0]], NULL, NULL, NULL);
    tn_onnx_list(e->o, "axes", (int64_t[]){2, 3}, 2);
    tn_onnx_int(e->o, "keepdims", 1);
    e->image[n->out[0]] = true;
    return e->err->status;
}

static int onnx_scale_channels(emitter *e, const tn_gnode *n)
{
    e->name[n->out[0]] = op2(e, "Mul", e->name[n->in[0]], e->name[n->in[1]]);
    e->image[n->out[0]] = true;
    return e->err->status;
}

/* ---- the whole ---- */

/* What the adapters and magnitudes make is in the matrices already. */
static int merged(emitter *e, const tn_gnode *n)
{
    (void)n;
    return e->err->status;
}

static int onnx_dora(emitter *e, const tn_gnode *n)
{
    if (tn_slot_groups(SLOT(e, n->part[0].w)) > 1)
        return tn_fail(e->err, TN_ERR_ARGUMENT, "DoRA beside '%s', a convolution of several groups, has no ONNX form",
                       SLOT(e, n->part[0].w)->name);
    e->name[n->out[0]] = e->name[n->in[0]];
    e->image[n->out[0]] = e->image[n->in[0]];
    return e->err->status;
}

/* Operations of training have no place in the file. */
static int not_in_onnx(emitter *e, const tn_gnode *n)
{
    return tn_fail(e->err, TN_ERR_ARGUMENT, "operation %s has no ONNX form", tn_opcode_name(n->op));
}

#define onnx_linear_t     merged
#define onnx_dropout_bits merged
#define onnx_row_sums     not_in_onnx
#define onnx_dora_scale   merged
#define onnx_dropout      not_in_onnx
#define onnx_dropout2d    not_in_onnx
#define onnx_target       not_in_onnx
#define onnx_loss         not_in_onnx

static int emit(emitter *e, const tn_gnode *n)
{
#define TN_OPERATION_EXPORTER(ID, name, ...) [TN_OP_##ID] = onnx_##name,
    static int (*const table[TN_OP_COUNT])(emitter *, const tn_gnode *) = {TN_FORWARD_OPERATIONS(TN_OPERATION_EXPORTER)};
    return table[n->op] ? table[n->op](e, n) : not_in_onnx(e, n);
}

static void properties(emitter *e)
{
    const tn_settings *s = e->e->s;
    tn_onnx_property(e->o, "normalize", s->data.normalize ? "imagenet" : "none");
    tn_onnx_property(e->o, "input",
                     "pixel_values: RGB / 255, resized as Pillow's BILINEAR, then (x - mean) / std with mean 0.485 0.456 "
                     "0.406 and std 0.229 0.224 0.225 where normalize is imagenet");
    char frames[160];
    const int n = e->e->model->frames;
    const char *heats = e->e->model->heats > 1 ? "all of them" : "the last";
    if (n > 1)
        snprintf(frames, sizeof frames, "%d of a clip side by side in the channels, the oldest first; heatmap: of %s", n, heats);
    tn_onnx_property(e->o, "frames", n > 1 ? frames : "1");
    tn_onnx_property(e->o, "output", tn_loss_logits(s->training.loss) ? "heatmap: logits" : "heatmap: peak 1 at the ball");
}

static int export_graph(emitter *e, const char *path)
{
    const tn_model *m = e->e->model;
    tn_pass pass = {.batch = 1, .act = TN_F32, .heat = true};
    TN_TRY(tn_model_graph(&e->g, m, &pass, e->err));
    const size_t n = (size_t)e->g.n_t + 1;
    e->name = calloc(n, sizeof *e->name);
    e->q = calloc(n, sizeof *e->q);
    e->k = calloc(n, sizeof *e->k);
    e->image = calloc(n, 1);
    e->rows = calloc(n, sizeof *e->rows);
    e->o = tn_onnx_new();
    if (!e->name || !e->q || !e->k || !e->image || !e->rows || !e->o) return tn_oom(e->err);
    tn_onnx_port(e->o, true, "pixel_values", 4, (int64_t[]){-1, 3 * (int64_t)m->frames, m->image_h, m->image_w});
    int rc = 0;
    for (int i = 0; !rc && i < e->g.n_n; i++) {
        rc = tn_watch_tell(&e->e->watch, TN_PHASE_EXPORTING, tn_opcode_name(e->g.n[i].op), i, e->g.n_n, e->err);
        if (!rc) rc = emit(e, &e->g.n[i]);
    }
    TN_TRY(rc);
    tn_onnx_rename(e->o, e->name[e->g.heat], "heatmap");
    tn_onnx_port(e->o, false, "heatmap", 4, (int64_t[]){-1, m->heats, m->heat_h, m->heat_w});
    properties(e);
    return tn_onnx_write(e->o, path, e->err);
}

int tn_export_onnx(tn_engine *engine, const char *path, tn_error *err)
{
    err->status = 0; /* the emitter looks at it */
    emitter e = {.e = engine, .err = err};
    int rc = export_graph(&e, path);
    tn_onnx_free(e.o);
    for (int i = 0; e.rows && i < e.g.n_t; i++) free(e.rows[i]);
    free(e.rows);
    tn_graph_free(&e.g);
    free(e.name);
    free(e.q);
    free(e.k);
    free(e.image);
    free(e.positions);
    return rc;
}
