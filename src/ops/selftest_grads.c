/* Gradients of adapters, several at once. */
#include "grads.h"
#include "selftest.h"
#include "selftest_product.h"

#include <stdlib.h>

#define ERR (t->err)

/* thin_a: C [M, N] += A^T B with the thin A; else the thin one is B. */
typedef struct {
    bool thin_a;
    int thin, wide, more; /* more: columns of the wide operand's rows that are not of the product */
} grads_case;

static const grads_case grads_cases[] = {
    {true, 48, 136, 0}, {true, 16, 264, 8}, {false, 16, 392, 8}, {false, 8, 72, 0}, {true, 24, 128, 0},
};

typedef struct {
    tn_tensor *C;
    float *want;
} grads_result;

/* even: columns that bits have room for. */
static grads_case case_of(const tn_trial *t, int i, bool even)
{
    grads_case k = grads_cases[i];
    if (tn_trial_is_little(t)) k.wide = 40 + k.wide % 64;
    if (even && !k.more) k.wide = TN_ROUND_UP(k.wide, 32);
    return k;
}

/* The draws of every mask of K rows, one behind the other. */
static int draw_bits(tn_trial *t, tn_grads *l, int K, float p)
{
    tn_bits b = {.rows = K, .p = p};
    size_t words = 0;
    tn_tensor *out;
    for (int i = 0; i < l->n; i++) {
        if (l->g[i].mask_b.p <= 0) continue;
        b.cols[b.n] = l->g[i].B.cols, b.salt[b.n++] = l->g[i].mask_b.salt;
        l->g[i].bits_at = words;
        words += tn_bits_words(K, l->g[i].B.cols);
    }
    TN_TRY(tn_trial_out(t, TN_F32, 1, (int)words / 2, &out));
    for (int i = 0; i < l->n; i++)
        if (l->g[i].mask_b.p > 0) l->g[i].bits = out->mem, l->g[i].drawn = 1;
    return tn_dropout_bits(t->c, &b, out, ERR);
}

static int grads_one(tn_trial *t, const grads_case *k, int K, float p, tn_gemm_args *g, grads_result *r)
{
    tn_tensor *thin, *wide;
    float *thin_v, *wide_v, *c;
    const int M = k->thin_a ? k->thin : k->wide, N = k->thin_a ? k->wide : k->thin, ld = k->wide + k->more;
    TN_TRY(tn_trial_in(t, t->act, K, k->thin, &thin, &thin_v));
    TN_TRY(tn_trial_in(t, t->act, K, ld, &wide, &wide_v));
    TN_TRY(tn_trial_in(t, TN_F32, M, N, &r->C, &c));
    r->want = tn_trial_copy(t, c, (size_t)M * (size_t)N);
    if (!r->want) return tn_oom(ERR);
    const tn_tensor part = tn_cols(*wide, 0, k->wide);
    tn_gemm_args a = {
        .ta = true, .alpha = 0.5f, .beta = 1, .A = k->thin_a ? *thin : part, .B = k->thin_a ? part : *thin, .C = *r->C};
    if (k->thin_a && !k->more) a.mask_b = (tn_mask){p, 5};
    TN_TRY(tn_gemm_check(g, &a, ERR));
    if (t->c->dry) return 0;
    tn_product_drop(wide_v, K, ld, ld, a.mask_b);
    tn_ref_gemm(&(tn_ref_product){.ta = true,
                                  .M = M,
                                  .N = N,
                                  .K = K,
                                  .alpha = 0.5,
                                  .beta = 1,
                                  .A = k->thin_a ? thin_v : wide_v,
                                  .lda = k->thin_a ? k->thin : ld,
                                  .B = k->thin_a ? wide_v : thin_v,
                                  .ldb = k->thin_a ? ld : k->thin,
                                  .ldc = N},
                r->want);
    return 0;
}

static int grads_all(tn_trial *t, float p, bool bits)
{
    enum { CASES = TN_COUNT(grads_cases) };
    const int K = (const int[]){13, 300, 4100}[t->size], mark = t->n;
    grads_result r[CASES];
    tn_grads *l = calloc(1, sizeof *l);
    if (!l) return tn_oom(ERR);
    int rc = 0;
    for (; !rc && l->n < CASES; l->n++) {
        const grads_case k = case_of(t, l->n, bits);
        rc = grads_one(t, &k, K, p, &l->g[l->n], &r[l->n]);
    }
    if (!rc && bits) rc = draw_bits(t, l, K, p);
    const bool wanted = !rc && tn_trial_wants(t, &tn_grads_op, l);
    if (wanted) rc = tn_variant_run(t->c, &tn_grads_op, l, ERR);
    for (int i = 0; !rc && wanted && i < CASES; i++) rc = tn_trial_compare(t, r[i].C, r[i].want);
    free(l);
    tn_trial_rewind(t, mark);
    return rc;
}

static int grads(tn_trial *t)
{
    TN_TRY(grads_all(t, 0, false));
    TN_TRY(grads_all(t, 0.3f, false));
    return grads_all(t, 0.3f, true);
}

/* The words of masks of several widths, bit by bit. */
static int bits(tn_trial *t)
{
    const int rows = (const int[]){5, 37, 130}[t->size], cols[] = {32, 96, 160};
    const tn_bits b = {.rows = rows, .n = TN_COUNT(cols), .p = 0.3f, .cols = {32, 96, 160}, .salt = {3, 4, 9}};
    size_t words = 0, at = 0;
    tn_tensor *out;
    for (size_t i = 0; i < TN_COUNT(cols); i++) words += tn_bits_words(rows, cols[i]);
    TN_TRY(tn_trial_out(t, TN_F32, 1, (int)words / 2, &out));
    uint16_t *got = malloc(words * sizeof *got);
    if (!got) return tn_oom(ERR);
    int rc = tn_dropout_bits(t->c, &b, out, ERR);
    if (!rc && !t->c->dry) rc = tn_buffer_read(out->mem, 0, got, words * sizeof *got, ERR);
    for (size_t i = 0; !rc && !t->c->dry && i < TN_COUNT(cols); at += tn_bits_words(rows, cols[i++])) {
        const uint32_t seed = tn_hash_u32(TN_TRIAL_SEED, b.salt[i]), threshold = tn_drop_threshold(b.p);
        for (int e = 0; !rc && e < rows * cols[i]; e++) {
            const int r = e / cols[i], c = e % cols[i], lane = r % 8 * 4 + c % 8 / 2, pair = c % 32 / 8 * 2 + r % 16 / 8;
            const size_t word = at + (size_t)(r / 16 * (cols[i] / 32) + c / 32) * 32 + (size_t)lane;
            const bool kept = tn_keeps(seed, (uint32_t)e, threshold);
            if ((got[word] >> (pair + c % 2 * 8) & 1) != kept)
                rc = tn_fail(ERR, TN_ERR_DEVICE, "element %d of mask %zu is %s", e, i, kept ? "dropped" : "kept");
        }
    }
    free(got);
    return rc;
}

const tn_case tn_cases_grads[] = {
    {"gradients at once", grads, false, {&tn_grads_op}},
    {"bits of dropout", bits, false, {NULL}},
    {0},
};
