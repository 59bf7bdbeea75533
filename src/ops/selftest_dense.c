#include "quant.h"
#include "ref.h"
#include "selftest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ACT (t->c->act)
#define ERR (t->err)

static int layernorm(tn_trial *t)
{
    static const int sizes[3][2] = {{3, 20}, {37, 96}, {11, 384}};
    const int R = sizes[t->size][0], C = sizes[t->size][1];
    tn_tensor *x, *g, *b, *dy, *y, *st, *dx, *dg, *db;
    float *hx, *hg, *hb, *hdy, *hdg, *hdb, *want = tn_trial_host(t, (size_t)R * (size_t)C);
    TN_TRY(tn_trial_in(t, ACT, R, C, &x, &hx));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &g, &hg));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &b, &hb));
    TN_TRY(tn_trial_in(t, ACT, R, C, &dy, &hdy));
    TN_TRY(tn_trial_out(t, ACT, R, C, &y));
    TN_TRY(tn_trial_out(t, TN_F32, R, 2, &st));
    TN_TRY(tn_trial_out(t, ACT, R, C, &dx));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &dg, &hdg));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &db, &hdb));
    if (!want) return tn_oom(ERR);
    TN_TRY(tn_layernorm_forward(t->c, x, g, b, 1e-5f, y, st, ERR));
    tn_ref_layernorm(hx, hg, hb, 1e-5f, R, C, want);
    TN_TRY(tn_trial_compare(t, y, want));
    TN_TRY(tn_layernorm_backward(t->c, x, g, st, dy, dx, false, ERR));
    TN_TRY(tn_layernorm_grad(t->c, x, st, dy, dg, db, ERR));
    tn_ref_layernorm_backward(hx, hg, 1e-5f, hdy, R, C, want, hdg, hdb);
    TN_TRY(tn_trial_compare(t, dx, want));
    TN_TRY(tn_trial_compare(t, dg, hdg));
    TN_TRY(tn_trial_compare(t, db, hdb));
    TN_TRY(tn_layernorm_backward(t->c, x, g, st, dy, dx, true, ERR));
    for (int i = 0; i < R * C; i++) want[i] *= 2;
    return tn_trial_compare(t, dx, want);
}

static int attention(tn_trial *t)
{
    static const int sizes[3][4] = {{2, 21, 3, 12}, {1, 45, 2, 48}, {2, 70, 2, 64}}; /* batch, n, heads, width */
    const int B = sizes[t->size][0], N = sizes[t->size][1], H = sizes[t->size][2], W = sizes[t->size][3], D = H * W;
    tn_tensor *qkv, *d_o, *o, *lse, *delta, *dqkv;
    float *hq, *hd, *want = tn_trial_host(t, (size_t)B * (size_t)N * 3 * (size_t)D);
    TN_TRY(tn_trial_in(t, ACT, B * N, 3 * D, &qkv, &hq));
    TN_TRY(tn_trial_in(t, ACT, B * N, D, &d_o, &hd));
    TN_TRY(tn_trial_out(t, ACT, B * N, D, &o));
    TN_TRY(tn_trial_out(t, TN_F32, B * H, N, &lse));
    TN_TRY(tn_trial_out(t, TN_F32, B * H, N, &delta));
    TN_TRY(tn_trial_out(t, ACT, B * N, 3 * D, &dqkv));
    if (!want) return tn_oom(ERR);
    TN_TRY(tn_attention_forward(t->c, qkv, B, H, o, lse, ERR));
    tn_ref_attention(hq, B, N, H, W, want, NULL);
    TN_TRY(tn_trial_compare(t, o, want));
    TN_TRY(tn_attention_backward(t->c, qkv, o, lse, d_o, B, H, delta, dqkv, ERR));
    tn_ref_attention_backward(hq, hd, B, N, H, W, want);
    return tn_trial_compare(t, dqkv, want);
}

static int rope(tn_trial *t)
{
    const int B = 2, N = 7 + t->size, H = 3, W = 16, skip = 3, D = H * W;
    tn_tensor *qkv, *table;
    float *h, *ht;
    TN_TRY(tn_trial_in(t, ACT, B * N, 3 * D, &qkv, &h));
    TN_TRY(tn_trial_in(t, TN_F32, N - skip, W, &table, &ht));
    for (int dir = 1; dir >= -1; dir -= 2) {
        TN_TRY(tn_rope(t->c, qkv, table, B, H, skip, dir, ERR));
        tn_ref_rope(h, ht, B, N, H, W, skip, dir);
        TN_TRY(tn_trial_compare(t, qkv, h));
    }
    return 0;
}

static int activations(tn_trial *t)
{
    static const int cols[3] = {7, 20, 48};
    const int R = 5, C = cols[t->size], n = R * C;
    for (int f = TN_GELU; f <= TN_SIGMOID; f++) {
        tn_tensor *x, *dy, *y;
        float *hx, *hdy, *want = tn_trial_host(t, (size_t)n);
        TN_TRY(tn_trial_in(t, ACT, R, C, &x, &hx));
        TN_TRY(tn_trial_in(t, ACT, R, C, &dy, &hdy));
        TN_TRY(tn_trial_out(t, ACT, R, C, &y));
        if (!want) return tn_oom(ERR);
        TN_TRY(tn_act_forward(t->c, (tn_fn)f, x, y, ERR));
        for (int i = 0; i < n; i++) want[i] = (float)tn_ref_act(f, hx[i]);
        TN_TRY(tn_trial_compare(t, y, want));
        TN_TRY(tn_act_backward(t->c, (tn_fn)f, x, dy, dy, ERR));
        for (int i = 0; i < n; i++) want[i] = (float)(hdy[i] * tn_ref_act_slope(f, hx[i]));
        TN_TRY(tn_trial_compare(t, dy, want));
    }
    return 0;
}

static int glu(tn_trial *t)
{
    static const int cols[3] = {7, 20, 48};
    const int R = 5, C = cols[t->size];
    tn_tensor *u, *dy, *y, *du;
    float *hu, *hdy, *want = tn_trial_host(t, (size_t)R * (size_t)C), *wd = tn_trial_host(t, (size_t)R * (size_t)C * 2);
    TN_TRY(tn_trial_in(t, ACT, R, 2 * C, &u, &hu));
    TN_TRY(tn_trial_in(t, ACT, R, C, &dy, &hdy));
    TN_TRY(tn_trial_out(t, ACT, R, C, &y));
    TN_TRY(tn_trial_out(t, ACT, R, 2 * C, &du));
    if (!want || !wd) return tn_oom(ERR);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) {
            const double g = hu[r * 2 * C + c], up = hu[r * 2 * C + C + c], d = hdy[r * C + c];
            want[r * C + c] = (float)(tn_ref_act(2, g) * up);
            wd[r * 2 * C + c] = (float)(d * up * tn_ref_act_slope(2, g));
            wd[r * 2 * C + C + c] = (float)(d * tn_ref_act(2, g));
        }
    TN_TRY(tn_glu_forward(t->c, TN_SILU, u, y, ERR));
    TN_TRY(tn_trial_compare(t, y, want));
    TN_TRY(tn_glu_backward(t->c, TN_SILU, u, dy, du, ERR));
    return tn_trial_compare(t, du, wd);
}

static int simple(tn_trial *t)
{
    static const int cols[3] = {7, 20, 48};
    const int B = 3, S = 5, R = B * S, C = cols[t->size], n = R * C;
    tn_tensor *x, *y, *s, *z, *o, *sums, *col;
    float *hx, *hy, *hs, *hz, *hcol, *want = tn_trial_host(t, (size_t)n), *small = tn_trial_host(t, (size_t)(B * C));
    TN_TRY(tn_trial_in(t, ACT, R, C, &x, &hx));
    TN_TRY(tn_trial_in(t, ACT, R, C, &y, &hy));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &s, &hs));
    TN_TRY(tn_trial_in(t, TN_F32, B, C, &z, &hz));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &col, &hcol));
    TN_TRY(tn_trial_out(t, ACT, R, C, &o));
    TN_TRY(tn_trial_out(t, TN_F32, B, C, &sums));
    if (!want || !small) return tn_oom(ERR);
    TN_TRY(tn_residual(t->c, x, y, s, o, ERR));
    for (int i = 0; i < n; i++) want[i] = hx[i] + hs[i % C] * hy[i];
    TN_TRY(tn_trial_compare(t, o, want));
    TN_TRY(tn_residual(t->c, x, y, NULL, o, ERR));
    for (int i = 0; i < n; i++) want[i] = hx[i] + hy[i];
    TN_TRY(tn_trial_compare(t, o, want));
    TN_TRY(tn_scale_cols(t->c, x, s, o, ERR));
    for (int i = 0; i < n; i++) want[i] = hx[i] * hs[i % C];
    TN_TRY(tn_trial_compare(t, o, want));
    TN_TRY(tn_scale_channels(t->c, x, z, S, o, ERR));
    for (int i = 0; i < n; i++) want[i] = hx[i] * hz[i / C / S * C + i % C];
    TN_TRY(tn_trial_compare(t, o, want));
    TN_TRY(tn_colsum(t->c, x, y, col, ERR));
    for (int i = 0; i < n; i++) hcol[i % C] += hx[i] * hy[i];
    TN_TRY(tn_trial_compare(t, col, hcol));
    TN_TRY(tn_sample_sum(t->c, x, NULL, S, 0.5f, sums, ERR));
    memset(small, 0, sizeof *small * (size_t)(B * C));
    for (int i = 0; i < n; i++) small[i / C / S * C + i % C] += 0.5f * hx[i];
    TN_TRY(tn_trial_compare(t, sums, small));
    TN_TRY(tn_add_into(t->c, x, y, ERR));
    for (int i = 0; i < n; i++) want[i] = hx[i] + hy[i];
    TN_TRY(tn_trial_compare(t, x, want));
    TN_TRY(tn_add_channels(t->c, y, z, 0.25f, S, ERR));
    for (int i = 0; i < n; i++) want[i] = hy[i] + 0.25f * hz[i / C / S * C + i % C];
    return tn_trial_compare(t, y, want);
}

/* The masks are those of the host's generator, and drop about the share asked for. */
static int dropout(tn_trial *t)
{
    const int B = 4, S = 9, R = B * S, C = 33, n = R * C;
    const float p = 0.3f;
    const uint32_t threshold = (uint32_t)(p * 4294967296.0);
    tn_tensor *x, *y;
    float *hx, *hy, *want = tn_trial_host(t, (size_t)n);
    TN_TRY(tn_trial_in(t, ACT, R, C, &x, &hx));
    TN_TRY(tn_trial_in(t, ACT, R, C, &y, &hy));
    if (!want) return tn_oom(ERR);
    const uint32_t seed = tn_hash_u32(TN_TRIAL_SEED, 5);
    int kept = 0;
    for (int i = 0; i < n; i++) {
        const bool keep = tn_hash_u32(seed, (uint32_t)i) >= threshold;
        kept += keep;
        want[i] = hy[i] + (keep ? hx[i] / (1 - p) : 0);
    }
    if (fabs(kept / (double)n - 0.7) > 0.06) t->worst = NAN;
    TN_TRY(tn_dropout(t->c, x, y, p, 5, true, false, ERR));
    TN_TRY(tn_trial_compare(t, y, want));
    for (int i = 0; i < n; i++) want[i] = tn_hash_u32(seed, (uint32_t)(i / C / S * C + i % C)) >= threshold ? hx[i] / (1 - p) : 0;
    TN_TRY(tn_dropout2d(t->c, x, y, p, 5, S, ERR));
    return tn_trial_compare(t, y, want);
}

/* Every variant's values are the host's, rounded to the storage, to the bit. */
static int unpack_each(tn_trial *t, const tn_qtensor *q, tn_tensor *out, const float *want)
{
    for (int v = 0; v < TN_QV_COUNT; v++) {
        bool can;
        TN_TRY(tn_trial_poison(t, out));
        TN_TRY(tn_unpack_with(t->c, (tn_qvariant)v, q, out, &can, ERR));
        if (can) TN_TRY(tn_trial_compare(t, out, want));
        if (t->worst > 0) t->worst = NAN;
    }
    return 0;
}

/* Quantised on the device: the host's bytes, and the host's values when unpacked. */
static int quant_one(tn_trial *t, tn_qtype type, bool nested, int rows, int cols)
{
    tn_qshape s = {.type = type, .rows = rows, .cols = cols, .nested = nested && tn_qformats[type].nestable};
    if (!tn_qdivides(type, 0, cols)) return 0;
    const int mark = t->n;
    const size_t n = (size_t)rows * (size_t)cols;
    float *w = tn_trial_host(t, n), *want = tn_trial_host(t, n);
    tn_tensor *out;
    if (!w || !want) return tn_oom(ERR);
    for (size_t i = 0; i < n; i++) w[i] = (float)tn_rng_normal(&t->rng);
    TN_TRY(tn_qblock(&s.block, type, 0, cols, "w", ERR));
    TN_TRY(tn_trial_out(t, ACT, rows, cols, &out));
    tn_qmatrix q;
    tn_qtensor d;
    TN_TRY(tn_quantize(&q, w, &s, "w", ERR));
    tn_dequantize(&q, want);
    for (size_t i = 0; i < n; i++) want[i] = tn_rounded(want[i], ACT);
    int rc = tn_qtensor_new(&d, t->c->dev, &s, NULL, ERR);
    if (!rc && t->c->dev->untouched) rc = tn_qtensor_set(&d, t->c->dev, &q, ERR); /* host writes would hide kernels' */
    else if (!rc && !t->c->dry) rc = tn_qtensor_quantize(t->c, &d, w, "w", ERR);
    if (!rc) rc = unpack_each(t, &d, out, want);
    tn_qmatrix made = {0};
    if (!rc && !t->c->dry) rc = tn_qtensor_get(&d, t->c->dev, &made, ERR);
    if (!rc && !t->c->dry && memcmp(made.packed, q.packed, tn_qpacked_bytes(&s))) t->worst = NAN;
    tn_qmatrix_free(&made);
    tn_qtensor_free(&d, t->c->dev);
    tn_qmatrix_free(&q);
    tn_trial_rewind(t, mark);
    return rc;
}

/* The fused product against the reference on unpacked weights. */
static int qgemv_one(tn_trial *t, tn_qtype type, int rows)
{
    static const int sizes[3][2] = {{7, 64}, {33, 192}, {65, 1536}};
    const int N = sizes[t->size][0], K = sizes[t->size][1], mark = t->n;
    tn_qshape s = {.type = type, .rows = N, .cols = K, .nested = tn_qformats[type].nestable};
    float *hx, *hb, *w = tn_trial_host(t, (size_t)N * (size_t)K), *want = tn_trial_host(t, (size_t)N * TN_QGEMV_ROWS);
    tn_tensor *x, *b, *y;
    if (!w || !want) return tn_oom(ERR);
    for (int i = 0; i < N * K; i++) w[i] = (float)tn_rng_normal(&t->rng);
    TN_TRY(tn_trial_in(t, ACT, rows, K, &x, &hx));
    TN_TRY(tn_trial_in(t, TN_F32, 1, N, &b, &hb));
    TN_TRY(tn_trial_out(t, ACT, rows, N, &y));
    TN_TRY(tn_qblock(&s.block, type, 0, K, "w", ERR));
    tn_qmatrix q;
    tn_qtensor d;
    TN_TRY(tn_quantize(&q, w, &s, "w", ERR));
    tn_dequantize(&q, w);
    int rc = tn_qtensor_new(&d, t->c->dev, &s, NULL, ERR);
    if (!rc) rc = tn_qtensor_set(&d, t->c->dev, &q, ERR);
    if (!rc && !t->c->dry) tn_ref_gemm(false, true, rows, N, K, 1, hx, K, w, K, 0, want, N, hb);
    for (int v = 0; !rc && v < TN_QV_COUNT; v++) {
        bool can;
        rc = tn_trial_poison(t, y);
        if (!rc) rc = tn_qgemv_with(t->c, (tn_qvariant)v, x, &d, b->mem, *y, &can, ERR);
        if (!rc && can) rc = tn_trial_compare(t, y, want);
    }
    tn_qtensor_free(&d, t->c->dev);
    tn_qmatrix_free(&q);
    tn_trial_rewind(t, mark);
    return rc;
}

/* Every number of tokens is a program of its own: the ends for each format, one between them for one. */
static int qgemv(tn_trial *t)
{
    for (int k = 0; k < TN_Q_TYPES; k++) {
        TN_TRY(qgemv_one(t, (tn_qtype)k, 1));
        TN_TRY(qgemv_one(t, (tn_qtype)k, TN_QGEMV_ROWS));
    }
    return qgemv_one(t, TN_Q_NF4, 3);
}

static int quant(tn_trial *t)
{
    static const int sizes[3][3][2] = {
        {{5, 23}, {3, 64}, {2, 96}}, {{33, 67}, {31, 128}, {9, 32}}, {{130, 517}, {257, 384}, {64, 1536}}};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 2 * TN_Q_TYPES; k++)
            TN_TRY(quant_one(t, (tn_qtype)(k / 2), k % 2, sizes[t->size][i][0], sizes[t->size][i][1]));
    return 0;
}

const tn_case tn_cases_dense[] = {
    {"layernorm", layernorm, false},
    {"attention", attention, false},
    {"rope", rope, false},
    {"activations", activations, false},
    {"glu", glu, false},
    {"element-wise", simple, false},
    {"dropout", dropout, false},
    {"quantised weights", quant, false},
    {"quantised product", qgemv, false},
    {0},
};
