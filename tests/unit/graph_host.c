#include "graph_host.h"
#include "ops.h"
#include "ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t host_count(const tn_graph *g, int t)
{
    return (size_t)g->t[t].rows * (size_t)g->t[t].cols;
}

size_t host_slot_count(const tn_model *m, int s)
{
    return (size_t)m->slots[s].rows * (size_t)m->slots[s].cols;
}

static double *drawn(size_t n, double scale, double middle, tn_rng *r)
{
    double *v = malloc(sizeof *v * (n + 1));
    for (size_t i = 0; i < n; i++) v[i] = (double)(float)(middle + scale * tn_rng_normal(r));
    return v;
}

/* Weights that keep activations near 1; vectors of ones and zeros are stirred. */
static double *slot_values(const tn_slot *s, size_t n, tn_rng *r)
{
    const double scale = s->ndim > 1 ? 1 / sqrt((double)s->cols) : 0.2;
    return drawn(n, scale, s->init == TN_INIT_ONE ? 1 : 0, r);
}

void host_new(host_pass *h, const tn_graph *g, const tn_model *m, uint64_t seed)
{
    tn_rng r = tn_rng_named(seed, "values");
    *h = (host_pass){.g = g, .m = m, .step_seed = 77, .inv_mask = 0.05};
    h->t = calloc((size_t)g->n_t + 1, sizeof *h->t);
    h->slot = calloc((size_t)m->n_slots + 1, sizeof *h->slot);
    for (int i = 0; i < g->n_t; i++) {
        h->t[i] = drawn(host_count(g, i), 1, 0, &r);
        for (size_t k = 0; g->t[i].kind == TN_G_CONST && k < host_count(g, i); k++) h->t[i][k] = g->t[i].host[k];
    }
    for (size_t k = 2; g->labels >= 0 && k < host_count(g, g->labels); k += 3) h->t[g->labels][k] = 1;
    for (size_t k = 0; g->mask >= 0 && k < host_count(g, g->mask); k++) h->t[g->mask][k] = 1;
    for (int i = 0; i < m->n_slots; i++) h->slot[i] = slot_values(&m->slots[i], host_slot_count(m, i), &r);
}

void host_free(host_pass *h, const tn_model *m)
{
    for (int i = 0; i < h->g->n_t; i++) free(h->t[i]);
    for (int i = 0; i < m->n_slots; i++) free(h->slot[i]);
    free(h->t);
    free(h->slot);
}

/* ---- operations ---- */

typedef struct {
    host_pass *h;
    const tn_gnode *n;
    const double *in[TN_NODE_IN], *w[TN_NODE_SLOTS];
    double *out[TN_NODE_OUT];
    int rows, cols;             /* of the first input */
    int B, out_cols, slot_rows; /* slot_rows: of the first slot */
    size_t count;               /* elements of the first output */
} host_call;

static double mask(const host_call *k, float p, uint32_t salt, size_t i)
{
    const uint32_t seed = tn_hash_u32(k->h->step_seed, salt), threshold = tn_drop_threshold((float)p);
    return tn_keeps(seed, (uint32_t)i, threshold) ? (double)(1.0f / (1.0f - p)) : 0;
}

static void host_patchify(const host_call *k)
{
    const tn_attr_patchify *a = &k->n->a.patchify;
    tn_ref_patchify(&(tn_ref_patches){k->B, a->frames, a->height, a->width, a->patch}, k->in[0], k->out[0]);
}

/* Columns from `at` on of the output: A B^T of dense rows. */
static void host_product(const host_call *k, const tn_ref_product *given, int at)
{
    tn_ref_product p = *given;
    p.tb = true, p.M = k->rows, p.ldb = p.K, p.ldc = k->out_cols;
    tn_ref_gemm(&p, k->out[0] + at);
}

/* Who reads them knows the draws by itself here. */
static void host_dropout_bits(const host_call *k)
{
    (void)k;
}

/* Of passes that nothing here makes. */
static void host_row_sums(const host_call *k)
{
    (void)k;
}

static void host_linear_t(const host_call *k)
{
    const tn_attr_lora *a = &k->n->a.linear_t;
    const size_t n = (size_t)k->rows * (size_t)k->cols;
    double *x = malloc(sizeof *x * n);
    for (size_t i = 0; i < n; i++) x[i] = k->in[0][i] * (a->dropout > 0 ? mask(k, a->dropout, a->salt, i) : 1);
    for (int i = 0, at = 0; i < k->n->n_parts; at += k->n->part[i++].r)
        if (k->n->part[i].a >= 0)
            host_product(
                k,
                &(tn_ref_product){
                    .N = k->n->part[i].r, .K = k->cols, .alpha = 1, .A = x, .lda = k->cols, .B = k->h->slot[k->n->part[i].a]},
                at);
    free(x);
}

static void host_linear(const host_call *k)
{
    int ranks = 0;
    for (int i = 0; i < k->n->n_parts; i++) ranks += k->n->part[i].r;
    for (int i = 0, col = 0, at = 0; i < k->n->n_parts; at += k->n->part[i].r, col += k->n->part[i++].cols) {
        const tn_gpart *p = &k->n->part[i];
        host_product(k,
                     &(tn_ref_product){.N = p->cols,
                                       .K = k->cols,
                                       .alpha = 1,
                                       .A = k->in[0],
                                       .lda = k->cols,
                                       .B = k->h->slot[p->w],
                                       .bias = p->bias >= 0 ? k->h->slot[p->bias] : NULL},
                     col);
        if (k->n->in[1] >= 0 && p->b >= 0)
            host_product(
                k,
                &(tn_ref_product){
                    .N = p->cols, .K = p->r, .alpha = p->scale, .beta = 1, .A = k->in[1] + at, .lda = ranks, .B = k->h->slot[p->b]},
                col);
    }
}

static void host_slots_product(const host_call *k)
{
    const int N = k->h->m->slots[k->n->w[0]].cols;
    tn_ref_gemm(&(tn_ref_product){.M = (int)k->count / k->out_cols,
                                  .N = k->out_cols,
                                  .K = N,
                                  .alpha = 1,
                                  .A = k->w[0],
                                  .lda = N,
                                  .B = k->w[1],
                                  .ldb = k->out_cols,
                                  .ldc = k->out_cols},
                k->out[0]);
}

static void host_linear_by(const host_call *k)
{
    memcpy(k->out[0], k->in[2], sizeof *k->out[0] * (size_t)k->count);
    tn_ref_gemm(&(tn_ref_product){.tb = true,
                                  .M = k->rows,
                                  .N = k->out_cols,
                                  .K = k->cols,
                                  .alpha = 1,
                                  .beta = 1,
                                  .A = k->in[0],
                                  .lda = k->cols,
                                  .B = k->in[1],
                                  .ldb = k->cols,
                                  .ldc = k->out_cols},
                k->out[0]);
}

static void host_positions(const host_call *k)
{
    tn_ref_gemm(&(tn_ref_product){.M = k->rows,
                                  .N = k->out_cols,
                                  .K = k->cols,
                                  .alpha = 1,
                                  .A = k->in[0],
                                  .lda = k->cols,
                                  .B = k->w[0],
                                  .ldb = k->out_cols,
                                  .ldc = k->out_cols},
                k->out[0]);
}

static void host_tokens(const host_call *k)
{
    const int R = k->n->a.tokens.registers, D = k->out_cols, P = k->rows / k->B, N = 1 + R + P;
    const double *pos = k->n->in[1] >= 0 ? k->in[1] : NULL;
    for (size_t i = 0; i < k->count; i++) {
        const int n = (int)(i / (size_t)D) % N, c = (int)(i % (size_t)D), b = (int)(i / (size_t)D) / N;
        const double base = n == 0 ? k->w[0][c] : n <= R ? k->w[1][(n - 1) * D + c] : k->in[0][(b * P + n - 1 - R) * D + c];
        k->out[0][i] = base + (!pos || (n > 0 && n <= R) ? 0 : pos[(n ? n - R : 0) * D + c]);
    }
}

static void host_layernorm(const host_call *k)
{
    tn_ref_layernorm(&(tn_ref_norm){k->in[0], k->w[0], k->w[1], (double)k->n->a.layernorm.eps, k->rows, k->cols, 0, 0}, k->out[0]);
}

static void host_rope(const host_call *k)
{
    const tn_attr_rope *a = &k->n->a.rope;
    memcpy(k->out[0], k->in[0], sizeof(double) * k->count);
    tn_ref_rope(k->out[0], k->in[1], k->B, k->rows / k->B, a->heads, k->cols / 3 / a->heads, a->skip, 1);
}

static void host_attention(const host_call *k)
{
    const int heads = k->n->a.attention.heads;
    tn_ref_attention(k->in[0], k->B, k->rows / k->B, heads, k->cols / 3 / heads, k->out[0], NULL);
}

static void host_levels_join(const host_call *k)
{
    const tn_levels *l = &k->n->a.levels_join;
    const int N = tn_levels_rows(l, l->n), D = k->out_cols;
    for (int i = 0; i < l->n; i++)
        for (int b = 0, rows = l->h[i] * l->w[i]; b < k->B; b++)
            memcpy(k->out[0] + (b * N + tn_levels_rows(l, i)) * D, k->in[i] + b * rows * D, sizeof(double) * (size_t)(rows * D));
}

static void host_level_positions(const host_call *k)
{
    const tn_levels *l = &k->n->a.level_positions;
    for (size_t i = 0; i < k->count; i++) {
        const int cell = (int)i / k->cols;
        int level = 0;
        while (cell >= tn_levels_rows(l, level + 1)) level++;
        k->out[0][i] = k->in[0][i] + k->w[0][level * k->cols + (int)i % k->cols];
    }
}

static void host_add_positions(const host_call *k)
{
    const size_t all = host_count(k->h->g, k->n->in[1]);
    for (size_t i = 0; i < k->count; i++) k->out[0][i] = k->in[0][i] + k->in[1][i % all];
}

static void host_deform_attention(const host_call *k)
{
    const tn_attr_deform *a = &k->n->a.deform_attention;
    const tn_levels *l = &a->levels;
    tn_ref_deform(&(tn_ref_deformable){k->in[0], k->in[1], k->B, a->heads, k->cols / a->heads, l->n, a->points, l->h, l->w},
                  k->out[0]);
}

static void host_residual(const host_call *k)
{
    for (size_t i = 0; i < k->count; i++) k->out[0][i] = k->in[0][i] + (k->w[0] ? k->w[0][i % (size_t)k->cols] : 1) * k->in[1][i];
}

static void host_act(const host_call *k)
{
    for (size_t i = 0; i < k->count; i++) k->out[0][i] = tn_ref_act((int)k->n->a.act.fn, k->in[0][i]);
}

static void host_glu(const host_call *k)
{
    const size_t c = (size_t)k->out_cols;
    for (size_t i = 0; i < k->count; i++) {
        const double *u = &k->in[0][i / c * 2 * c + i % c];
        k->out[0][i] = tn_ref_act((int)k->n->a.glu.fn, u[0]) * u[c];
    }
}

static void host_grid(const host_call *k)
{
    const tn_attr_map *a = &k->n->a.grid;
    const int N = k->rows / k->B, D = k->cols, n = a->h * a->w * D;
    for (int b = 0; b < k->B; b++) memcpy(k->out[0] + b * n, k->in[0] + (b * N + a->skip) * D, sizeof(double) * (size_t)n);
}

static void host_bilinear(const host_call *k)
{
    const tn_attr_resize *a = &k->n->a.bilinear;
    tn_ref_bilinear(&(tn_ref_resize){k->B, a->in_h, a->in_w, a->out_h, a->out_w, k->cols, a->sy, a->sx}, k->in[0], k->out[0]);
}

static void host_upsample_add(const host_call *k)
{
    const tn_attr_resize *a = &k->n->a.upsample_add;
    tn_ref_upsample_add(&(tn_ref_resize){k->B, a->in_h, a->in_w, a->out_h, a->out_w, k->cols, a->sy, a->sx}, k->in[0], k->in[1],
                        k->out[0]);
}

static void host_conv(const host_call *k)
{
    const tn_attr_conv *a = &k->n->a.conv;
    const tn_ref_conv v = {k->in[0], k->w[0], k->w[1],     k->B,      a->in_h,   a->in_w, a->out_h,
                           a->out_w, k->cols, k->out_cols, a->kernel, a->stride, a->pad,  a->groups};
    tn_ref_convolve(&v, k->out[0]);
}

/* Output o of a group reads that group's columns of t. */
static void host_adapt(const host_call *k)
{
    const tn_gpart *p = &k->n->part[0];
    const int groups = k->n->a.adapt.groups, each = p->r / groups, outs = p->cols / groups;
    for (int i = 0; i < k->rows * p->cols; i++) {
        const int row = i / p->cols, o = i % p->cols;
        double s = 0;
        for (int q = 0; q < each; q++) s += k->in[1][row * p->r + o / outs * each + q] * k->h->slot[p->b][o * each + q];
        k->out[0][i] = k->in[0][i] + (double)p->scale * s;
    }
}

static void host_affine_rows(const host_call *k)
{
    const tn_attr_rows *a = &k->n->a.affine_rows;
    const bool slots = k->n->in[0] < 0;
    const int ld = slots ? k->h->m->slots[k->n->w[2]].cols : k->cols;
    const double *v = slots ? k->w[2] : k->in[0], *constants = slots ? k->w[3] : k->in[0] + k->cols - 1;
    const tn_ref_rows_map r = {.v = v + a->first,
                               .k = a->constant ? constants : NULL,
                               .w = k->w[0],
                               .b = k->w[1],
                               .rows = (int)k->count / k->out_cols,
                               .ld = ld,
                               .k_step = slots ? 1 : ld,
                               .n = k->slot_rows,
                               .m = k->out_cols - 1};
    tn_ref_rows(&r, k->out[0]);
}

/* A channel for each row, between the others' of the same pixel. */
static void host_conv_few(const host_call *k)
{
    const tn_attr_conv *a = &k->n->a.conv_few;
    const int length = k->cols * a->kernel * a->kernel, O = k->out_cols, pixels = (int)k->count / O;
    for (int o = 0; o < O; o++) {
        const double *row = k->in[1] + o * (length + 1);
        double *y = malloc(sizeof *y * (size_t)pixels);
        const tn_ref_conv v = {k->in[0], row, row + length, k->B,      a->in_h, a->in_w,  a->out_h, a->out_w,
                               k->cols,  1,   a->kernel,    a->stride, a->pad,  a->groups};
        tn_ref_convolve(&v, y);
        for (int i = 0; i < pixels; i++) k->out[0][i * O + o] = y[i];
        free(y);
    }
}

static void host_norm2d(const host_call *k)
{
    const tn_attr_norm2d *a = &k->n->a.norm2d;
    tn_ref_norm2d(&(tn_ref_norm){k->in[0], k->w[0], k->w[1], (double)1e-5f, k->rows, k->cols, a->unit_rows, a->groups}, k->out[0]);
}

static void host_norm2d_few(const host_call *k)
{
    const tn_attr_norm2d *a = &k->n->a.norm2d_few;
    const tn_ref_norm n = {k->in[0], k->w[0], k->w[1], (double)1e-5f, k->rows, k->cols, a->unit_rows, a->groups};
    tn_ref_norm_few(&n, (int)a->fn, k->in[1], k->out_cols, k->out[0]);
}

static void host_grn(const host_call *k)
{
    tn_ref_grn(&(tn_ref_norm){k->in[0], k->w[0], k->w[1], (double)1e-6f, k->rows, k->cols, k->n->a.grn.rows, 0}, k->out[0]);
}

static void host_sample_mean(const host_call *k)
{
    const size_t S = (size_t)k->n->a.sample_mean.rows, C = (size_t)k->cols;
    memset(k->out[0], 0, sizeof(double) * k->count);
    for (size_t i = 0; i < (size_t)k->rows * C; i++) k->out[0][i / C / S * C + i % C] += k->in[0][i] / (double)S;
}

static void host_scale_channels(const host_call *k)
{
    const size_t S = (size_t)k->n->a.scale_channels.rows, C = (size_t)k->cols;
    for (size_t i = 0; i < k->count; i++) k->out[0][i] = k->in[0][i] * k->in[1][i / C / S * C + i % C];
}

static void host_dropout2d(const host_call *k)
{
    const tn_attr_dropout2d *a = &k->n->a.dropout2d;
    const size_t S = (size_t)a->rows, C = (size_t)k->cols;
    for (size_t i = 0; i < k->count; i++) k->out[0][i] = k->in[0][i] * mask(k, a->p, a->salt, i / C / S * C + i % C);
}

static void host_dropout(const host_call *k)
{
    const tn_attr_dropout *a = &k->n->a.dropout;
    for (size_t i = 0; i < k->count; i++) {
        const double v = k->in[0][i] * mask(k, a->p, a->salt, i);
        k->out[0][i] = a->rest ? k->in[0][i] - v : v;
    }
}

/* Beside a convolution of several groups A has as many columns as all groups together, and B A is PEFT's: B [cols, r / groups]
 * taken as rows of r, the product's values as the kernel's. */
static double dora_norm(const host_call *k, const tn_gpart *p, int row)
{
    const int wide = k->h->m->slots[p->a].cols;
    double s = 0;
    for (int c = 0; c < p->in; c++) {
        const int at = row * p->in + c;
        double v = k->h->slot[p->w][at];
        for (int r = 0; r < p->r; r++)
            v += (double)p->scale * k->h->slot[p->b][at / wide * p->r + r] * k->h->slot[p->a][r * wide + at % wide];
        s += v * v;
    }
    return sqrt(s);
}

static void host_dora_scale(const host_call *k)
{
    for (int i = 0, col = 0; i < k->n->n_parts; col += k->n->part[i++].cols)
        for (int c = 0; c < k->n->part[i].cols; c++) {
            const tn_gpart *p = &k->n->part[i];
            double *inv = &k->out[1][col + c];
            if (!k->h->hold_norms) *inv = p->m >= 0 ? 1 / dora_norm(k, p, c) : 1;
            k->out[0][col + c] = p->m >= 0 ? k->h->slot[p->m][c] * *inv : 1;
        }
}

static void host_dora(const host_call *k)
{
    for (int i = 0, col = 0; i < k->n->n_parts; col += k->n->part[i++].cols)
        for (int r = 0; r < k->rows; r++)
            for (int c = 0; c < k->n->part[i].cols; c++) {
                const int bias = k->n->part[i].bias, at = r * k->cols + col + c;
                k->out[0][at] = k->in[1][col + c] * k->in[0][at] + (k->n->in[2] >= 0 ? k->in[2][at] : 0) +
                                (bias >= 0 ? k->h->slot[bias][c] : 0);
            }
}

static void host_target(const host_call *k)
{
    const tn_attr_target *a = &k->n->a.target;
    const tn_ref_target t = {k->B, a->height, a->width, a->sigma, a->negative, k->h->g->t[k->n->out[1]].cols};
    tn_ref_heatmap_target(&t, k->in[0], k->out[0], k->out[1]);
}

static void host_loss(const host_call *k)
{
    const tn_ref_loss l = {.batch = k->B, .sample = k->rows / k->B, .inv_mask = k->h->inv_mask, .heats = k->cols};
    k->out[1][0] = tn_ref_heatmap_loss(&l, k->in[0], k->in[1], k->in[2], NULL);
}

double host_run(host_pass *h)
{
#define HOST_ROW(ID, name, ...) [TN_OP_##ID] = host_##name,
    static void (*const table[TN_OP_COUNT])(const host_call *) = {TN_FORWARD_OPERATIONS(HOST_ROW)};
    const tn_graph *g = h->g;
    for (int i = 0; i < g->n_forward; i++) {
        const tn_gnode *n = &g->n[i];
        host_call k = {.h = h, .n = n, .B = g->batch, .count = host_count(g, n->out[0]), .out_cols = g->t[n->out[0]].cols};
        for (int j = 0; j < TN_NODE_IN; j++) k.in[j] = n->in[j] >= 0 ? h->t[n->in[j]] : NULL;
        for (int j = 0; j < TN_NODE_OUT; j++) k.out[j] = n->out[j] >= 0 ? h->t[n->out[j]] : NULL;
        for (int j = 0; j < TN_NODE_SLOTS; j++) k.w[j] = n->w[j] >= 0 ? h->slot[n->w[j]] : NULL;
        if (n->w[0] >= 0) k.slot_rows = h->m->slots[n->w[0]].rows;
        if (n->in[0] >= 0) k.rows = g->t[n->in[0]].rows, k.cols = g->t[n->in[0]].cols;
        table[n->op](&k);
    }
    return h->t[g->loss][0];
}
