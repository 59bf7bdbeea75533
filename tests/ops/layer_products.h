/** A layer's products as tests ask for checks of them. */
#ifndef TN_LAYER_PRODUCTS_H
#define TN_LAYER_PRODUCTS_H
#include "args.h"
#include "gemm.h"

/* Products of a layer as they are trained in bfloat16. */
static const struct {
    const char *what;
    tn_gemm_args g; /* without its tensors */
    bool bias, scale, pre, slope, residual;
    int head; /* turned heads of this width */
    int parts, rank;
    tn_dtype c;
} layer_products[] = {
    {"patches", {.tb = true, .M = 2324, .N = 384, .K = 768}, .bias = true, .c = TN_BF16},
    {"qkv", {.tb = true, .M = 1162, .N = 1152, .K = 384}, .bias = true, .parts = 3, .rank = 16, .head = 64, .c = TN_BF16},
    {"out",
     {.tb = true, .M = 9, .N = 384, .K = 384},
     .bias = true,
     .scale = true,
     .residual = true,
     .parts = 1,
     .rank = 8,
     .c = TN_BF16},
    {"up",
     {.tb = true, .M = 2324, .N = 1536, .K = 384, .e.has_act = true},
     .bias = true,
     .pre = true,
     .parts = 1,
     .rank = 16,
     .c = TN_BF16},
    {"up, its slope kept",
     {.tb = true, .M = 2324, .N = 1536, .K = 384, .e.has_act = true, .e.pre_slope = true},
     .bias = true,
     .pre = true,
     .parts = 1,
     .rank = 16,
     .c = TN_BF16},
    {"to up's input", {.M = 2324, .N = 1536, .K = 384}, .slope = true, .parts = 1, .rank = 16, .c = TN_BF16},
    {"to qkv's input", {.M = 2324, .N = 384, .K = 1152, .e.mask.p = 0.1f}, .parts = 1, .rank = 48, .c = TN_BF16},
    {"an adapter's first half", {.tb = true, .M = 2324, .N = 48, .K = 384, .mask_a.p = 0.1f}, .c = TN_BF16},
    {"its gradient", {.ta = true, .M = 16, .N = 384, .K = 18592, .beta = 1, .mask_b.p = 0.1f}, .c = TN_F32},
    {"its gradient, few frames", {.ta = true, .M = 1536, .N = 16, .K = 581, .beta = 1}, .c = TN_F32},
    {"three at once", {.M = 2324, .N = 16, .K = 384, .batch = 3}, .c = TN_BF16},
    {"gradients of three at once", {.ta = true, .M = 384, .N = 16, .K = 18592, .beta = 1, .batch = 3}, .c = TN_F32},
    {"a bias's gradient", {.ta = true, .M = 1, .N = 384, .K = 18592, .beta = 1}, .c = TN_F32},
};

static tn_gemm_args layer_product(int i)
{
    static tn_buffer *const any; /* no check reads it */
    tn_gemm_args g = layer_products[i].g;
    tn_epilogue *e = &g.e;
    const int parts = layer_products[i].parts, r = layer_products[i].rank, M = g.M, N = g.N, K = g.K, batch = TN_MAX(g.batch, 1);
    const tn_tensor wide = tn_view(any, layer_products[i].c, M, N);
    g.alpha = 1;
    g.A = g.ta ? tn_cols(tn_view(any, TN_BF16, K, M * batch), 0, M) : tn_cols(tn_view(any, TN_BF16, M, K * batch), 0, K);
    g.B = g.tb   ? tn_view(any, TN_BF16, N, K)
          : g.ta ? tn_cols(tn_view(any, TN_BF16, K, N * batch), 0, N)
                 : tn_view(any, TN_BF16, K, N);
    if (batch > 1)
        g.a_step = (size_t)(g.ta ? M : K), g.b_step = (size_t)(g.ta ? 1 : K) * (size_t)N, g.c_step = (size_t)M * (size_t)N;
    g.C = wide;
    if (layer_products[i].bias) e->bias = (tn_buffer *)&any;
    if (layer_products[i].scale) e->scale = (tn_buffer *)&any;
    if (layer_products[i].pre) e->pre = wide;
    if (layer_products[i].slope) e->slope = wide;
    if (layer_products[i].residual) e->residual = wide;
    if (layer_products[i].head) e->turn = (tn_turn){tn_view(any, TN_F32, 576, layer_products[i].head), N / 192, 5, M / 581};
    if (!parts) return g;
    e->parts = parts, e->tb2 = g.tb, e->alpha2 = 1;
    e->A2 = tn_view(any, TN_BF16, M, parts * r);
    e->B2 = g.tb ? tn_view(any, TN_BF16, N, r) : tn_view(any, TN_BF16, r, N);
    return g;
}
#endif
