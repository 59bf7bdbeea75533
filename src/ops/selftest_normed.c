/* A layer norm in two norm_halves, and products that take one in or leave its sums behind. */
#include "selftest_product.h"

#define ACT (t->act)
#define ERR (t->err)
#define EPS 1e-5f

static int blocks_of(int cols)
{
    return cols / (int)TN_SUM_COLUMNS;
}

/* Normal values around a number of the row's own, as stored. */
static int shifted(tn_trial *t, tn_dtype type, int rows, int cols, tn_tensor **x, float **host)
{
    tn_tensor *own;
    TN_TRY(tn_trial_in(t, type, rows, cols, &own, host));
    for (int i = 0; !t->c->dry && i < rows * cols; i++) (*host)[i] = tn_rounded((*host)[i] + (float)(i / cols % 5 - 2), type);
    return tn_trial_put(t, type, rows, cols, *host, x);
}

/* Rows as a norm without vectors makes them. */
static float *normed(tn_trial *t, const float *x, int rows, int cols)
{
    const size_t n = (size_t)rows * (size_t)cols;
    float *y = tn_trial_host(t, n), *one = tn_trial_host(t, (size_t)cols), *none = tn_trial_host(t, (size_t)cols);
    if (!y || !one || !none) return NULL;
    for (int c = 0; c < cols; c++) one[c] = 1, none[c] = 0;
    if (!t->c->dry) tn_ref_layernorm(&(tn_ref_norm){.x = x, .gamma = one, .beta = none, .eps = EPS, .rows = rows, .cols = cols}, y);
    return y;
}

static float *sums_of(tn_trial *t, const float *x, int rows, int cols)
{
    float *sums = tn_trial_host(t, (size_t)rows * (size_t)blocks_of(cols) * 2);
    if (sums && !t->c->dry) tn_ref_row_sums(x, rows, cols, TN_SUM_COLUMNS, sums);
    return sums;
}

static int norm_halves(tn_trial *t)
{
    const int rows = t->size == 0 ? 5 : t->size == 1 ? 67 : 581, cols = (1 + 2 * t->size) * TN_SUM_COLUMNS;
    tn_tensor *x, *sums, *y;
    float *host;
    TN_TRY(shifted(t, ACT, rows, cols, &x, &host));
    TN_TRY(tn_trial_out(t, TN_F32, blocks_of(cols), 2 * rows, &sums));
    TN_TRY(tn_trial_out(t, ACT, rows, cols, &y));
    const float *want_sums = sums_of(t, host, rows, cols), *want = normed(t, host, rows, cols);
    if (!want_sums || !want) return tn_oom(ERR);
    TN_TRY(tn_row_sums(t->c, x, sums, ERR));
    TN_TRY(tn_row_norm(t->c, x, sums, EPS, y, ERR));
    TN_TRY(tn_trial_compare(t, sums, want_sums));
    return tn_trial_compare(t, y, want);
}

/** A product; turned: its q and k are. */
typedef struct {
    tn_product_case p;
    bool norm, sums, turned;
} normed_case;

enum { HEADS = 2, SKIP = 5, WIDTH = 64 };

/* A becomes another, whose rows have means, and m->ref has it normed. */
static int take_in(tn_trial *t, tn_product *m)
{
    const int M = m->g.M, N = m->g.N, K = m->g.K;
    tn_tensor *x, *sums, *columns;
    float *host, *u = tn_trial_host(t, (size_t)N);
    TN_TRY(shifted(t, m->y.a, M, K, &x, &host));
    float *all = sums_of(t, host, M, K);
    if (!u || !all || !(m->ref.A = normed(t, host, M, K))) return tn_oom(ERR);
    for (int n = 0; !t->c->dry && n < N; n++) {
        double sum = 0;
        for (int k = 0; k < K; k++) sum += (double)m->ref.B[m->g.tb ? n * m->ref.ldb + k : k * m->ref.ldb + n];
        u[n] = (float)sum;
    }
    TN_TRY(tn_trial_put(t, TN_F32, blocks_of(K), 2 * M, all, &sums));
    TN_TRY(tn_trial_put(t, TN_F32, 1, N, u, &columns));
    m->ref.lda = K;
    m->g.A = *x;
    m->g.e.norm = (tn_normed){*sums, columns->mem, EPS};
    return 0;
}

static int normed_check(tn_trial *t, const normed_case *k, tn_product *m, const float *turns)
{
    const tn_turn *turn = &m->g.e.turn;
    float *want = tn_trial_host(t, tn_tensor_count(m->C));
    if (!want) return tn_oom(ERR);
    if (!t->c->dry) tn_ref_gemm(&m->ref, want);
    if (!t->c->dry && k->turned) tn_ref_rope(want, turns, turn->batch, SKIP + turn->table.rows, HEADS, WIDTH, SKIP, 1);
    TN_TRY(tn_trial_poison(t, m->C));
    TN_TRY(tn_gemm_run(t->c, &m->g, ERR));
    TN_TRY(tn_trial_compare(t, m->C, want));
    if (!k->sums) return 0;
    const float *sums = sums_of(t, want, m->g.M, m->g.N);
    return sums ? tn_trial_compare_as(t, &m->g.e.sums, sums, m->y.c) : tn_oom(ERR); /* of values that are rounded, or not yet */
}

static int normed_one(tn_trial *t, const normed_case *k)
{
    const int mark = t->n, rows = k->p.M / 2 - SKIP;
    tn_tensor *sums, *table;
    float *turns = NULL;
    tn_product m;
    TN_TRY(tn_product_make(t, &k->p, &m));
    if (k->norm) TN_TRY(take_in(t, &m));
    if (k->sums) {
        TN_TRY(tn_trial_out(t, TN_F32, blocks_of(m.g.N), 2 * m.g.M, &sums));
        m.g.e.sums = *sums;
    }
    if (k->turned) {
        TN_TRY(tn_trial_turns(t, rows, WIDTH, &table, &turns));
        m.g.e.turn = (tn_turn){*table, HEADS, SKIP, 2};
    }
    const int rc = tn_trial_wants(t, &tn_gemm_normed_op, &m.g) ? normed_check(t, k, &m, turns) : 0;
    tn_trial_rewind(t, mark);
    return rc;
}

/* Of the kind that is checked: less rows than a tile has, some, and several tiles. */
static int normed_alike(tn_trial *t)
{
    static const int sizes[3][3] = {{2 * (SKIP + 3), 64, 64}, {2 * (SKIP + 96), 192, 128}, {2 * (SKIP + 1300), 832, 384}};
    const tn_gemm_args *g = t->like;
    const tn_epilogue *e = &g->e;
    const normed_case k = {.norm = e->norm.sums.rows > 0,
                           .sums = e->sums.rows > 0,
                           .turned = e->turn.heads > 0,
                           .p = {.tb = g->tb,
                                 .alpha = 1,
                                 .beta = g->beta != 0,
                                 .bias = e->bias != NULL,
                                 .scale = e->scale != NULL,
                                 .residual = e->residual.rows > 0,
                                 .pre = e->pre.rows > 0,
                                 .act = e->has_act ? 1 + (int)e->act : 0,
                                 .M = sizes[t->size][0],
                                 .N = e->turn.heads ? 3 * HEADS * WIDTH : sizes[t->size][1],
                                 .K = (g->K >= TN_LONG_SUM ? TN_LONG_SUM : 0) + sizes[t->size][2]}};
    return ACT == TN_F32 ? normed_one(t, &k) : 0; /* the kind's types are one and the same each time */
}

static int normed_products(tn_trial *t)
{
    const int M = 2 * (t->size == 0 ? SKIP + 3 : 67 * t->size), K = (1 + 5 * t->size) * TN_SUM_COLUMNS;
    const normed_case all[] = {
        {.norm = true, .p = {.tb = true, .bias = true, .act = 1 + TN_GELU, .alpha = 1, .M = M, .N = 136, .K = K}},
        {.norm = true, .turned = true, .p = {.tb = true, .bias = true, .alpha = 1, .M = M, .N = 3 * HEADS * WIDTH, .K = K}},
        {.norm = true, .p = {.M = M - 1, .N = 72, .K = K}},
        {.sums = true, .p = {.tb = true, .bias = true, .scale = true, .residual = true, .alpha = 1, .M = M - 1, .N = 192, .K = 72}},
        {.norm = true, .sums = true, .p = {.tb = true, .residual = true, .M = M, .N = 64, .K = K}},
    };
    /* more tiles than a device has units */
    const normed_case many = {.norm = true, .p = {.tb = true, .bias = true, .alpha = 1, .M = 2600, .N = 904, .K = TN_SUM_COLUMNS}};
    for (size_t i = 0; !t->like && i < TN_COUNT(all); i++)
        if (!tn_trial_repeats(t, (int)i)) TN_TRY(normed_one(t, &all[i]));
    if (!t->like && t->size == 1 && t->c->dev->caps & TN_CAP_NV_WGMMA) TN_TRY(normed_one(t, &many));
    return t->like ? normed_alike(t) : 0;
}

const tn_case tn_cases_normed[] = {
    {"row sums and norms", norm_halves, false, {NULL}},
    {"gemm with a norm", normed_products, false, {&tn_gemm_normed_op}},
    {0},
};
