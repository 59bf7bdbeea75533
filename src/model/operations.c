/* The row table of the operations, and what each costs. */
#include "autodiff.h"

static double elements(const tn_graph *g, int t)
{
    return t < 0 ? 0 : (double)g->t[t].rows * g->t[t].cols;
}

static double rows_of(const tn_graph *g, int t)
{
    return t < 0 ? 0 : g->t[t].rows;
}

static double cols_of(const tn_graph *g, int t)
{
    return t < 0 ? 0 : g->t[t].cols;
}

/* Every tensor once. */
static double traffic(const tn_graph *g, const tn_gnode *n)
{
    double b = n->onto >= 0 ? (double)tn_gtensor_bytes(&g->t[n->onto]) : 0;
    for (int k = 0; k < TN_NODE_IN; k++) b += n->in[k] < 0 ? 0 : (double)tn_gtensor_bytes(&g->t[n->in[k]]);
    for (int k = 0; k < TN_NODE_OUT; k++) b += n->out[k] < 0 ? 0 : (double)tn_gtensor_bytes(&g->t[n->out[k]]);
    return b;
}

/* Flops for each element of the first output, or of the first input where there is none. */
static tn_cost by_element(const tn_graph *g, const tn_gnode *n, double flops)
{
    return (tn_cost){flops * elements(g, n->out[0] >= 0 ? n->out[0] : n->in[0]), traffic(g, n)};
}

static tn_cost cost_moves(const tn_graph *g, const tn_gnode *n)
{
    return by_element(g, n, 0);
}

static tn_cost cost_few(const tn_graph *g, const tn_gnode *n)
{
    return by_element(g, n, 2);
}

static tn_cost cost_function(const tn_graph *g, const tn_gnode *n)
{
    return by_element(g, n, 10);
}

static tn_cost cost_norm(const tn_graph *g, const tn_gnode *n)
{
    if (n->op == TN_OP_NORM2D_BACK && n->a.norm2d_back.act) return by_element(g, n, 48);
    return by_element(g, n, n->op == TN_OP_NORM2D && n->a.norm2d.act ? 18 : 8);
}

/* The function, or it and its slope, by element of what is normalised, and the products with the rows. */
static tn_cost cost_norm_few(const tn_graph *g, const tn_gnode *n)
{
    const bool back = n->op == TN_OP_NORM2D_FEW_BACK;
    const double outs = rows_of(g, n->in[back ? 2 : 1]);
    return (tn_cost){elements(g, n->in[0]) * (back ? 40 + 4 * outs : 18 + 2 * outs), traffic(g, n)};
}

static tn_cost cost_reduce(const tn_graph *g, const tn_gnode *n)
{
    return (tn_cost){2 * elements(g, n->in[0]), traffic(g, n)};
}

/* Four taps for each pixel of the larger image. */
static tn_cost cost_resize(const tn_graph *g, const tn_gnode *n)
{
    const double large = elements(g, n->in[0]), out = elements(g, n->out[0]);
    return (tn_cost){8 * (large > out ? large : out), traffic(g, n)};
}

/* A matrix [out, in] is read once, in the activations' storage. */
static tn_cost product(const tn_graph *g, const tn_gnode *n, double rows, double out, double in)
{
    const int like = n->in[0] >= 0 ? n->in[0] : n->in[1];
    return (tn_cost){2 * rows * out * in, traffic(g, n) + out * in * (double)tn_dtype_size(g->t[like].dtype)};
}

static double part_cols(const tn_gnode *n)
{
    double c = 0;
    for (int i = 0; i < n->n_parts; i++) c += n->part[i].cols;
    return c;
}

/* Sum over the adapted parts of columns times rank: what multiplies by B. */
static double part_ranks(const tn_gnode *n)
{
    double c = 0;
    for (int i = 0; i < n->n_parts; i++) c += n->part[i].b >= 0 ? (double)n->part[i].cols * n->part[i].r : 0;
    return c;
}

static tn_cost cost_linear(const tn_graph *g, const tn_gnode *n)
{
    tn_cost c = product(g, n, rows_of(g, n->in[0]), part_cols(n), cols_of(g, n->in[0]));
    if (n->in[1] >= 0) c.flops += 2 * rows_of(g, n->in[0]) * part_ranks(n);
    return c;
}

static tn_cost cost_linear_dx(const tn_graph *g, const tn_gnode *n)
{
    tn_cost c = product(g, n, rows_of(g, n->in[0]), part_cols(n), cols_of(g, n->out[0]));
    if (n->in[1] >= 0) c.flops += 2 * rows_of(g, n->in[0]) * cols_of(g, n->in[1]) * cols_of(g, n->out[0]);
    return c;
}

static tn_cost cost_linear_dt(const tn_graph *g, const tn_gnode *n)
{
    return (tn_cost){(n->in[1] >= 0 ? 4 : 2) * rows_of(g, n->in[0]) * part_ranks(n), traffic(g, n)};
}

static tn_cost cost_linear_grad(const tn_graph *g, const tn_gnode *n)
{
    tn_cost c = n->in[0] >= 0 ? product(g, n, rows_of(g, n->in[1]), part_cols(n), cols_of(g, n->in[0])) : cost_moves(g, n);
    if (n->in[2] >= 0) c.flops += 2 * rows_of(g, n->in[1]) * part_ranks(n);
    return c;
}

/* x [rows, in] and t [rows, ranks], whichever of them is read or written. */
static tn_cost cost_linear_t(const tn_graph *g, const tn_gnode *n)
{
    double ranks = 0, width = 0;
    for (int i = 0; i < n->n_parts; i++) ranks += n->part[i].a >= 0 ? n->part[i].r : 0;
    const int ids[] = {n->in[0], n->in[1], n->out[0]};
    for (int k = 0; k < 3; k++) width = cols_of(g, ids[k]) > width ? cols_of(g, ids[k]) : width;
    return (tn_cost){2 * rows_of(g, n->in[0]) * ranks * width, traffic(g, n)};
}

/* Twice as much where both slots' gradients are wanted. */
static tn_cost cost_slots_product(const tn_graph *g, const tn_gnode *n)
{
    const bool back = n->op == TN_OP_SLOTS_PRODUCT_GRAD;
    const double out = elements(g, back ? n->in[0] : n->out[0]), rows = rows_of(g, back ? n->in[0] : n->out[0]);
    return (tn_cost){(back ? 4 : 2) * out * rows, traffic(g, n)}; /* as square as a decoder's are */
}

/* Between [rows, K] and [rows, O], of whichever two of the three are matrices of rows. */
static tn_cost cost_linear_by(const tn_graph *g, const tn_gnode *n)
{
    const int wide = n->op == TN_OP_LINEAR_BY_GRAD ? n->in[1] : n->in[0];
    const int other = n->op == TN_OP_LINEAR_BY_GRAD ? n->in[0] : n->out[0];
    return (tn_cost){2 * elements(g, wide) * cols_of(g, other), traffic(g, n)};
}

/* The adapters' product beside it reads no more than it writes. */
static tn_cost cost_layernorm(const tn_graph *g, const tn_gnode *n)
{
    tn_cost c = cost_norm(g, n);
    if (n->out[2] >= 0) c.flops += 2 * elements(g, n->out[2]) * cols_of(g, n->out[0]);
    return c;
}

static tn_cost cost_positions(const tn_graph *g, const tn_gnode *n)
{
    const int y = n->out[0] >= 0 ? n->out[0] : n->in[1];
    return (tn_cost){2 * elements(g, n->in[0]) * cols_of(g, y), traffic(g, n)};
}

/* `products` of [N, N] by the width, for each sample. */
static tn_cost attention_products(const tn_graph *g, const tn_gnode *n, double products)
{
    const double rows = rows_of(g, n->in[0]), width = cols_of(g, n->in[0]) / 3;
    return (tn_cost){2 * products * rows * (rows / g->batch) * width, traffic(g, n)};
}

static tn_cost cost_attention(const tn_graph *g, const tn_gnode *n)
{
    return attention_products(g, n, 2);
}

static tn_cost cost_attention_back(const tn_graph *g, const tn_gnode *n)
{
    return attention_products(g, n, 7);
}

/* Each sample multiplies four cells by their parts; `columns` wide. */
static tn_cost deform_samples(const tn_graph *g, const tn_gnode *n, int samples, int columns)
{
    const tn_attr_deform *a = &n->a.deform_attention;
    const double each = elements(g, samples) / 3;
    return (tn_cost){8 * each * cols_of(g, columns) / a->heads, traffic(g, n)};
}

static tn_cost cost_deform(const tn_graph *g, const tn_gnode *n)
{
    return deform_samples(g, n, n->in[1], n->in[0]);
}

/* Lists of four numbers a sample are written and read. */
static tn_cost cost_deform_dvalue(const tn_graph *g, const tn_gnode *n)
{
    tn_cost c = deform_samples(g, n, n->in[0], n->in[1]);
    c.bytes += 2 * 4.0 * (double)sizeof(float) * elements(g, n->in[0]) / 3;
    return c;
}

/* One product of as many rows as y has with the kernel [O, C/groups * k * k], and as cost_resize where x is enlarged. */
static tn_cost convolution(const tn_graph *g, const tn_gnode *n, int x, int y)
{
    const tn_attr_conv *a = &n->a.conv;
    tn_cost c = product(g, n, rows_of(g, y), cols_of(g, y), cols_of(g, x) / a->groups * a->kernel * a->kernel);
    if (a->doubled) c.flops += 8 * elements(g, y);
    return c;
}

static tn_cost cost_conv(const tn_graph *g, const tn_gnode *n)
{
    return convolution(g, n, n->in[0], n->out[0]);
}

static tn_cost cost_conv_dx(const tn_graph *g, const tn_gnode *n)
{
    return convolution(g, n, n->out[0], n->in[0]);
}

static tn_cost cost_conv_grad(const tn_graph *g, const tn_gnode *n)
{
    if (n->in[0] < 0) return (tn_cost){elements(g, n->in[1]), traffic(g, n)};
    tn_cost c = convolution(g, n, n->in[0], n->in[1]);
    if (n->out[0] >= 0) c.flops *= 2;
    return c;
}

static tn_cost cost_conv_few_back(const tn_graph *g, const tn_gnode *n)
{
    tn_cost c = convolution(g, n, n->in[0] >= 0 ? n->in[0] : n->out[0], n->in[2]);
    c.flops *= (n->out[0] >= 0) + (n->out[1] >= 0);
    return c;
}

/* B A of each part with a magnitude, and the norms of what it makes with W. */
static tn_cost cost_dora_scale(const tn_graph *g, const tn_gnode *n)
{
    tn_cost c = {0, traffic(g, n)};
    for (int i = 0; i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        if (p->m < 0) continue;
        c.flops += ((double)p->r + 2) * 2 * p->cols * p->in;
        c.bytes += 3.0 * (double)sizeof(float) * p->cols * p->in;
    }
    return c;
}

const tn_operation tn_operations[TN_OP_COUNT] = {
#define TN_OPERATION_ROW(ID, name, attributes, n_in, n_out, cost, backward, again, overwrites, flags)                              \
    [TN_OP_##ID] = {#name, n_in, n_out, cost_##cost, tn_back_##backward, TN_AGAIN_##again, overwrites, flags},
    TN_OPERATIONS(TN_OPERATION_ROW)};

tn_attr_conv tn_conv_attributes(int in_h, int in_w, int kernel, int stride, int pad, int groups)
{
    const int out_h = tn_conv_size(in_h, kernel, stride, pad), out_w = tn_conv_size(in_w, kernel, stride, pad);
    return (tn_attr_conv){in_h, in_w, out_h, out_w, kernel, stride, pad, groups, false, 0};
}

tn_cost tn_node_cost(const tn_graph *g, const tn_gnode *n)
{
    return tn_operations[n->op].cost(g, n);
}

tn_cost tn_layer_cost(const tn_graph *g, int layer, bool backward)
{
    tn_cost sum = {0};
    for (int i = 0; i < g->n_n; i++) {
        if (g->n[i].layer != layer || g->n[i].backward != backward) continue;
        const tn_cost c = tn_node_cost(g, &g->n[i]);
        sum.flops += c.flops;
        sum.bytes += c.bytes;
    }
    return sum;
}
