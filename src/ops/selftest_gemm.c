/* Products with their epilogues by every row. */
#include "ref.h"
#include "selftest_product.h"

#define ACT (t->act)
#define ERR (t->err)

static int products(tn_trial *t, const tn_product_case *p, size_t n)
{
    for (size_t i = 0; !t->like && i < n; i++)
        if (!tn_trial_repeats(t, (int)i)) TN_TRY(tn_product_one(t, &p[i]));
    return 0;
}

static int gemm_plain(tn_trial *t)
{
    static const tn_product_case all[] = {
        {.beta = 1},
        {.tb = true, .bias = true, .float_b = true},
        {.ta = true, .beta = 1, .bias = true, .padded = true},
        {.ta = true, .tb = true, .padded = true},
    };
    if (t->like) return tn_product_alike(t);
    return products(t, all, TN_COUNT(all));
}

static int gemm_epilogues(tn_trial *t)
{
    static const tn_product_case all[] = {
        {.tb = true, .bias = true, .act = 1 + TN_GELU, .pre = true, .padded = true},
        {.tb = true, .act = 1 + TN_RELU, .scale = true, .residual = true},
        {.act = 1 + TN_SILU, .slope = true, .beta = 1, .padded = true},
        {.tb = true,
         .bias = true,
         .act = 1 + TN_SIGMOID,
         .pre = true,
         .pre_slope = true,
         .scale = true,
         .residual = true,
         .beta = 1,
         .padded = true},
    };
    return products(t, all, TN_COUNT(all));
}

/* A right operand that is unpacked by the product: forward, and three matrices towards the input. */
static int gemm_quantised(tn_trial *t)
{
    const int k = 8 + 64 * t->size, M = tn_trial_is_little(t) ? 7 : 19;
    const tn_product_case all[] = {
        {.tb = true, .quantised = 1, .bias = true, .M = M, .N = 72, .K = k},
        {.quantised = 3, .nested = true, .beta = 1, .M = M, .N = 64 + k, .K = 3 * 40, .padded = true},
    };
    return products(t, all, TN_COUNT(all));
}

/* Adapters: three parts that fit the tiles, three that do not, one, and a gradient's. */
static int gemm_pairs(tn_trial *t)
{
    const bool little = tn_trial_is_little(t);
    const tn_product_case all[] = {
        {.tb = true, .bias = true, .parts = 1, .r = 5, .tb2 = true, .padded = true},
        {.tb = true,
         .bias = true,
         .parts = 3,
         .r = 5,
         .tb2 = true,
         .N = little ? 48 : 192,
         .act = 1 + TN_GELU,
         .pre = true,
         .residual = true},
        {.tb = true, .parts = 3, .r = 4, .tb2 = true, .float_b = true, .beta = 1},
        {.parts = 3, .r = 3, .drop_e = 0.3f, .act = 1 + TN_GELU, .slope = true, .ready = true, .padded = true},
        {.parts = 1, .r = 16, .float_b = true, .N = little ? 16 : 64},
        {.parts = 2, .r = 9, .drop_e = 0.3f, .N = little ? 42 : 106, .padded = true},
    };
    return products(t, all, TN_COUNT(all));
}

static int gemm_masks(tn_trial *t)
{
    static const tn_product_case all[] = {
        {.tb = true, .drop_a = 0.3f, .float_b = true},
        {.ta = true, .drop_b = 0.4f, .beta = 1},
        {.ta = true, .tb = true, .drop_a = 0.2f, .drop_b = 0.5f, .padded = true},
        {.tb = true, .drop_a = 0.5f, .parts = 1, .r = 3, .tb2 = true, .drop_e = 0.5f},
    };
    return products(t, all, TN_COUNT(all));
}

/* Rows that begin at multiples of 16 bytes, as kernels for matrix units want them, with every end. The first size is little:
 * oclgrind runs it. */
static int tiles_of_every_end(tn_trial *t)
{
    const int M = t->size ? 67 + 64 * t->size : 5, k = t->size ? 9 : 3;
    const tn_product_case all[] = {
        {.tb = true, .alpha = 1, .M = M, .N = 136, .K = 16 * k},
        {.tb = true, .bias = true, .act = 1 + TN_GELU, .M = M, .N = 136, .K = 24 * k, .padded = true, .aligned = true},
        {.tb = true, .alpha = 1, .bias = true, .act = 1 + TN_GELU, .pre = true, .M = M, .N = 72, .K = 24 * k},
        {.tb = true, .bias = true, .scale = true, .residual = true, .M = M, .N = 264, .K = 16 * k, .padded = true, .aligned = true},
        {.tb = true, .alpha = 1, .bias = true, .scale = true, .residual = true, .M = M, .N = 264, .K = 16 * k},
        {.tb = true, .bias = true, .parts = 3, .r = 16, .tb2 = true, .M = M, .N = 384, .K = 16 * k},
        {.tb = true, .parts = 1, .r = 8, .tb2 = true, .M = M, .N = 72, .K = 8 * k, .residual = true},
        {.M = M, .N = 200, .K = 16 * k},
        {.beta = 1, .scale = true, .M = M, .N = 200, .K = 16 * k},
        {.act = 1 + TN_GELU, .slope = true, .M = M, .N = 200, .K = 16 * k},
        {.parts = 3, .r = 16, .drop_e = 0.3f, .M = M, .N = 264, .K = 8 * k},
        {.alpha = 1, .parts = 1, .r = 16, .drop_e = 0.1f, .act = 1 + TN_GELU, .slope = true, .M = M, .N = 136, .K = 8 * k},
        {.alpha = 1, .parts = 1, .r = 16, .drop_e = 0.3f, .bits = true, .M = M, .N = 160, .K = 8 * k},
        {.ta = true, .beta = 1, .M = 1, .N = 64, .K = 300 + 1111 * t->size},
        {.M = 67 + 700 * t->size, .N = 72, .K = 1, .float_b = true},
        {.M = 67 + 700 * t->size, .N = 24, .K = 1, .float_b = true},
    };
    return products(t, all, TN_COUNT(all));
}

/* And more tiles than a device has units. All for rows of GPUs' matrix units. */
static int gemm_tiles(tn_trial *t)
{
    const unsigned units =
        TN_CAP_NV_MMA80 | TN_CAP_DPAS8 | TN_CAP_DPAS16 | TN_CAP_WMMA11 | TN_CAP_WMMA12 | TN_CAP_MFMA90A | TN_CAP_MFMA942;
    static const tn_product_case many[] = {
        {.tb = true, .M = 2600, .N = 904, .K = 72},
        {.tb = true,
         .bias = true,
         .act = 1 + TN_GELU,
         .pre = true,
         .pre_slope = true,
         .alpha = 1,
         .parts = 1,
         .r = 16,
         .tb2 = true,
         .M = 2600,
         .N = 904,
         .K = 72},
        {.parts = 1, .r = 16, .drop_e = 0.1f, .act = 1 + TN_GELU, .slope = true, .ready = true, .M = 2600, .N = 904, .K = 72},
        {.M = 2600, .N = 904, .K = 136},
    };
    const bool little = tn_trial_is_little(t);
    const int M = little ? 19 : 67;
    const tn_product_case plain[] = {{.tb = true, .bias = true, .M = 5, .N = little ? 40 : 136, .K = 72},
                                     {.ta = true, .M = 1, .N = 64, .K = little ? 70 : 300},
                                     {.M = M, .N = 72, .K = 1, .float_b = true},
                                     {.M = M, .N = 24, .K = 1, .float_b = true}};
    if (!(t->c->dev->caps & units)) return products(t, plain, TN_COUNT(plain)); /* other cases have the ends */
    TN_TRY(tiles_of_every_end(t));
    return t->size == 1 ? products(t, many, TN_COUNT(many)) : 0;
}

/* q, k and v with the rotary embedding at the product's end. */
static int gemm_turns(tn_trial *t)
{
    enum { BATCH = 2, HEADS = 2, SKIP = 5 };
    const tn_gemm_args *like = t->like;
    const bool little = tn_trial_is_little(t);
    const int tokens = SKIP + (little ? 6 : 12) + 20 * t->size, width = like ? like->e.turn.table.cols : little ? 32 : 64;
    tn_product_case p = {.tb = true, .bias = true, .parts = 3, .r = 16, .tb2 = true, .K = little ? 24 : 72};
    tn_tensor *table;
    float *turns, *want;
    tn_product m;
    if (like && (ACT != TN_F32 || !like->e.turn.heads)) return 0;
    if (like || t->size == 1) p.alpha = 1;
    if (like) p.bias = like->e.bias != NULL, p.parts = like->e.parts, p.r = p.parts ? tn_gemm_rank(&like->e) : 0;
    p.M = BATCH * tokens, p.N = 3 * HEADS * width;
    TN_TRY(tn_product_make(t, &p, &m));
    TN_TRY(tn_trial_turns(t, tokens - SKIP, width, &table, &turns));
    m.g.e.turn = (tn_turn){*table, HEADS, SKIP, BATCH};
    if (!tn_trial_wants(t, &tn_gemm_op, &m.g)) return 0;
    if (!(want = tn_trial_copy(t, m.c, tn_tensor_count(m.C)))) return tn_oom(ERR);
    if (!t->c->dry) {
        tn_ref_gemm(&m.ref, want);
        tn_ref_rope(want, turns, BATCH, tokens, HEADS, width, SKIP, 1);
    }
    TN_TRY(tn_trial_poison(t, m.C));
    TN_TRY(tn_gemm_run(t->c, &m.g, ERR));
    return tn_trial_compare(t, m.C, want);
}

/* Products that are split along K: few outputs, a long sum; the epilogue stands behind the parts' sum. */
static int gemm_split(tn_trial *t)
{
    const int least = tn_trial_is_little(t) ? 516 : 2052; /* that gemm_portable.c splits */
    const int K = t->size == 0 ? least : t->size == 1 ? 5000 : 20000;
    const tn_product_case all[] = {
        {.ta = true, .M = 9, .N = 13, .K = K, .beta = 1, .drop_b = 0.1f},
        {.tb = true,
         .M = 9,
         .N = 16,
         .K = K,
         .bias = true,
         .act = 1 + TN_GELU,
         .pre = true,
         .residual = true,
         .parts = 1,
         .r = 3,
         .tb2 = true,
         .drop_e = 0.25f},
    };
    return products(t, all, TN_COUNT(all));
}

/* Thin on one side: few columns under a wide A, and few rows or columns as the sum over many. Rows in whole 16-byte pieces. */
static int gemm_thin(tn_trial *t)
{
    const bool little = tn_trial_is_little(t);
    const int more = t->size * 190, K = t->size == 0 ? 24 : t->size == 1 ? 392 : 1032, long_K = (t->size ? 6 : little ? 1 : 2) * K;
    const int wide = little ? 17 : 37 + more, thin = little ? 16 : 48;
    const tn_product_case all[] = {
        {.tb = true, .M = wide, .N = 16, .K = K, .pieces = true, .drop_a = 0.3f},
        {.tb = true, .M = wide, .N = 16, .K = 32 + K / 32 * 32, .pieces = true, .drop_a = 0.3f, .bits = true},
        {.tb = true, .M = wide, .N = thin, .K = 32 + K / 32 * 32, .pieces = true, .drop_a = 0.6f, .bits = true},
        {.tb = true, .M = wide, .N = thin, .K = K, .pieces = true, .bias = true, .padded = true},
        {.tb = true, .M = little ? 18 : 101, .N = 3, .K = 40, .pieces = true, .float_c = true, .drop_a = 0.1f, .padded = true},
        {.M = little ? 14 : 70 + more, .N = 16, .K = K, .pieces = true, .drop_a = 0.5f, .bias = true},
        {.M = wide, .N = little ? 27 : 59, .K = little ? 24 : 64, .pieces = true, .float_c = true},
        {.ta = true, .M = 16, .N = wide, .K = K + 5, .pieces = true, .float_c = true, .beta = 1, .drop_b = 0.3f},
        {.ta = true, .M = thin, .N = little ? 24 : 136, .K = long_K, .pieces = true, .beta = 1, .drop_b = 0.2f, .padded = true},
        {.ta = true, .M = little ? 19 : 133 + more, .N = 16, .K = long_K, .pieces = true, .float_c = true, .beta = 1},
        {.ta = true, .M = little ? 19 : 70, .N = little ? 21 : 141, .K = K, .pieces = true, .float_c = true, .bias = true},
        {.ta = true, .M = 20, .N = 3, .K = K, .pieces = true, .drop_b = 0.4f},
    };
    return products(t, all, TN_COUNT(all));
}

/* For rows of GPUs: what does not fill one, with whole and ragged tiles and depths. */
static int gemm_small(tn_trial *t)
{
    static const tn_product_case all[] = {
        {.M = 33, .N = 48, .K = 140, .beta = 1, .padded = true},
        {.tb = true, .M = 32, .N = 64, .K = 256, .beta = 1},
        {.ta = true, .M = 50, .N = 21, .K = 70, .beta = 1, .pieces = true},
        {.ta = true, .tb = true, .M = 16, .N = 35, .K = 129},
    };
    const bool once = ACT == TN_F32 && t->size == 1 && t->c->dev->info.type != TN_DEVICE_CPU;
    return once ? products(t, all, TN_COUNT(all)) : 0;
}

/* Three products at once, or two: parts of one matrix on either side, as the adapters of q, k and v have it. */
static int batch_one(tn_trial *t, const tn_product_case *p)
{
    const int batch = tn_trial_is_little(t) ? 2 : 3;
    const bool ta = p->ta, tb = p->tb;
    const float beta = p->beta;
    const tn_product_types y = tn_product_types_of(t, p);
    const int M = p->M ? p->M : 7, N = p->N ? p->N : 5 + 13 * t->size, K = p->K, mark = t->n;
    tn_tensor *A, *B, *C;
    float *a, *b, *c;
    TN_TRY(tn_trial_in(t, y.a, ta ? K : M, batch * (ta ? M : K), &A, &a));
    TN_TRY(tn_trial_in(t, y.b, batch * (tb ? N : K), tb ? K : N, &B, &b));
    TN_TRY(tn_trial_in(t, y.c, M, batch * N, &C, &c));
    float *want = tn_trial_copy(t, c, tn_tensor_count(C));
    if (!want) return tn_oom(ERR);
    const int wa = ta ? M : K, hb = tb ? N : K;
    tn_gemm_args g = {.ta = ta, .tb = tb, .alpha = 0.5f, .beta = beta, .M = M, .N = N, .K = K, .batch = batch};
    g.A = tn_cols(*A, 0, wa), g.B = tn_rows(*B, 0, hb), g.C = tn_cols(*C, 0, N);
    g.a_step = (size_t)wa, g.b_step = (size_t)hb * (size_t)B->cols, g.c_step = (size_t)N;
    for (int i = 0; i < batch && !t->c->dry; i++)
        tn_ref_gemm(&(tn_ref_product){.ta = ta,
                                      .tb = tb,
                                      .M = M,
                                      .N = N,
                                      .K = K,
                                      .alpha = 0.5,
                                      .beta = beta,
                                      .A = a + i * wa,
                                      .lda = batch * wa,
                                      .B = b + i * hb * B->cols,
                                      .ldb = B->cols,
                                      .ldc = batch * N},
                    want + i * N);
    if (tn_trial_wants(t, &tn_gemm_op, &g)) {
        bool tail;
        if (!t->c->dry) TN_TRY(tn_tensor_set(t->c->dev, C, c, ERR));
        TN_TRY(tn_gemm_run(t->c, &g, ERR));
        TN_TRY(tn_trial_compare(t, C, want));
        if (!t->c->dry) TN_TRY(tn_tensor_set(t->c->dev, C, c, ERR));
        TN_TRY(tn_product_tail(t, &g, &tail));
        if (tail) TN_TRY(tn_trial_compare(t, C, want));
    }
    tn_trial_rewind(t, mark);
    return 0;
}

static int batch_alike(tn_trial *t)
{
    const tn_gemm_args *like = t->like;
    tn_product_case p = {.ta = like->ta, .tb = like->tb, .beta = like->beta != 0};
    if (ACT != TN_F32 || like->batch <= 1) return 0;
    tn_product_sizes_alike(t, &p.M, &p.N, &p.K);
    if (t->size && like->ta) p.M = TN_ROUND_UP(p.M, 8); /* rows come in whole 16-byte pieces, as some kernels want them */
    return batch_one(t, &p);
}

static int gemm_batch(tn_trial *t)
{
    const bool little = tn_trial_is_little(t);
    const int K = t->size ? 4100 : little ? 19 : 37; /* the first size stays short: oclgrind takes minutes for the long one */
    const tn_product_case all[] = {
        {.K = 21, .float_b = true, .float_c = true},
        {.tb = true, .K = little ? 23 : 33, .beta = 1, .float_b = true, .float_c = true},
        {.ta = true, .tb = true, .K = 17, .float_b = true, .float_c = true},
        {.ta = true, .K = K, .beta = 1, .float_b = true, .float_c = true},
        {.M = little ? 19 : 37, .N = 16, .K = little ? 24 : 72}, /* from here on rows come in whole 16-byte pieces */
        {.tb = true, .M = little ? 19 : 37, .N = 16, .K = little ? 24 : 40, .float_c = true},
        {.ta = true, .M = little ? 24 : 136, .N = 16, .K = K, .beta = 1, .float_c = true},
    };
    if (t->like) return batch_alike(t);
    for (size_t i = 0; i < TN_COUNT(all); i++)
        if (!tn_trial_repeats(t, (int)i)) TN_TRY(batch_one(t, &all[i]));
    return 0;
}

const tn_case tn_cases_gemm[] = {
    {"gemm", gemm_plain, false, {&tn_gemm_op}},
    {"gemm epilogues", gemm_epilogues, false, {&tn_gemm_op}},
    {"gemm quantised", gemm_quantised, false, {&tn_gemm_op}},
    {"gemm second pair", gemm_pairs, false, {&tn_gemm_op}},
    {"gemm dropout", gemm_masks, false, {&tn_gemm_op}},
    {"gemm tiles", gemm_tiles, false, {&tn_gemm_op}},
    {"gemm turned", gemm_turns, false, {&tn_gemm_op}},
    {"gemm split along K", gemm_split, false, {&tn_gemm_op}},
    {"gemm thin", gemm_thin, false, {&tn_gemm_op}},
    {"gemm small", gemm_small, false, {&tn_gemm_op}},
    {"gemm batch", gemm_batch, false, {&tn_gemm_op}},
    {0},
};
