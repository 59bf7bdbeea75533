/* Features of several levels, and deformable attention over them. */
#include "ref.h"
#include "selftest.h"

#include <math.h>
#include <string.h>

#define ACT (t->act)
#define ERR (t->err)

/* Rows of a level put into the rows of all and taken out of them, and the sum of what is put to what is there. */
static int level_rows(tn_trial *t, const tn_levels *l, int B, int D)
{
    const int N = tn_levels_rows(l, l->n), first = tn_levels_rows(l, 1), rows = l->h[1] * l->w[1];
    tn_tensor *all, *level, *out, *wide;
    float *h, *hl, *want = tn_trial_host(t, (size_t)(B * N * D));
    TN_TRY(tn_trial_in(t, ACT, B * N, D, &all, &h));
    TN_TRY(tn_trial_in(t, ACT, B * rows, D, &level, &hl));
    TN_TRY(tn_trial_out(t, ACT, B * rows, D, &out));
    TN_TRY(tn_trial_out(t, ACT, B * N, D, &wide));
    if (!want) return tn_oom(ERR);
    TN_TRY(tn_grid_forward(t->c, all, B, first, out, ERR));
    for (int i = 0; i < B * rows * D; i++) want[i] = h[(i / D / rows * N + first + i / D % rows) * D + i % D];
    TN_TRY(tn_trial_compare(t, out, want));
    TN_TRY(tn_grid_backward(t->c, level, B, first, wide, ERR));
    memset(want, 0, sizeof *want * (size_t)(B * N * D));
    for (int i = 0; i < B * rows * D; i++) want[(i / D / rows * N + first + i / D % rows) * D + i % D] = hl[i];
    TN_TRY(tn_trial_compare(t, wide, want));
    TN_TRY(tn_grid_put(t->c, level, B, first, true, all, ERR));
    for (int i = 0; i < B * N * D; i++) want[i] += h[i];
    TN_TRY(tn_trial_compare(t, all, want));
    TN_TRY(tn_grid_put(t->c, level, B, first, false, all, ERR));
    for (int i = 0; i < B * rows * D; i++) want[(i / D / rows * N + first + i / D % rows) * D + i % D] = hl[i];
    return tn_trial_compare(t, all, want);
}

static int level_of(const tn_levels *l, int cell)
{
    int level = 0;
    while (cell >= tn_levels_rows(l, level + 1)) level++;
    return level;
}

static int level_positions(tn_trial *t, const tn_levels *l, int B, int D)
{
    const int N = tn_levels_rows(l, l->n);
    tn_tensor *x, *pos, *embed, *all, *y, *dpos, *sums;
    float *hx, *hp, *he, *hd, *hs, *want = tn_trial_host(t, (size_t)(B * N * D)), *places = tn_trial_host(t, (size_t)(N * D));
    TN_TRY(tn_trial_in(t, ACT, B * N, D, &x, &hx));
    TN_TRY(tn_trial_in(t, TN_F32, N, D, &pos, &hp));
    TN_TRY(tn_trial_in(t, TN_F32, l->n, D, &embed, &he));
    TN_TRY(tn_trial_in(t, TN_F32, N, D, &dpos, &hd));
    TN_TRY(tn_trial_in(t, TN_F32, l->n, D, &sums, &hs));
    TN_TRY(tn_trial_out(t, TN_F32, N, D, &all));
    TN_TRY(tn_trial_out(t, ACT, B * N, D, &y));
    if (!want || !places) return tn_oom(ERR);
    TN_TRY(tn_level_positions(t->c, l, pos, embed, all, ERR));
    for (int i = 0; i < N * D; i++) places[i] = hp[i] + he[level_of(l, i / D) * D + i % D];
    TN_TRY(tn_trial_compare(t, all, places));
    TN_TRY(tn_add_positions(t->c, x, pos, y, ERR));
    for (int i = 0; i < B * N * D; i++) want[i] = hx[i] + hp[i % (N * D)];
    TN_TRY(tn_trial_compare(t, y, want));
    TN_TRY(tn_token_grad(t->c, x, B, 0, N, dpos, ERR));
    for (int i = 0; i < B * N * D; i++) hd[i % (N * D)] += hx[i];
    TN_TRY(tn_trial_compare(t, dpos, hd));
    TN_TRY(tn_level_grad(t->c, pos, l, sums, ERR));
    for (int i = 0; i < N * D; i++) hs[level_of(l, i / D) * D + i % D] += hp[i];
    return tn_trial_compare(t, sums, hs);
}

static int levels(tn_trial *t)
{
    static const tn_levels sizes[3] = {
        {2, {2, 1}, {3, 2}}, {3, {9, 5, 3}, {11, 6, 3}}, {8, {13, 7, 4, 2, 1, 1, 2, 1}, {9, 5, 3, 2, 1, 3, 1, 1}}};
    static const int columns[3] = {5, 12, 32};
    TN_TRY(level_rows(t, &sizes[t->size], 2, columns[t->size]));
    tn_trial_rewind(t, 0);
    return level_positions(t, &sizes[t->size], 3, columns[t->size]);
}

typedef struct {
    int batch, heads, width, points;
    tn_levels levels;
} deform_shape;

/* Offsets of some pixels, every fifth one whole, so that samples lie on cells, and every seventh far outside. */
static int deform_spread(tn_trial *t, tn_tensor *samples, float *h)
{
    const int offsets = samples->cols / 3 * 2;
    if (t->c->dry) return 0;
    for (int i = 0; i < samples->rows * samples->cols; i++) {
        if (i % samples->cols >= offsets) continue;
        h[i] *= i % 7 == 6 ? 1e4f : 2;
        if (i % 5 == 4) h[i] = rintf(h[i]);
    }
    TN_TRY(tn_tensor_set(t->c->dev, samples, h, ERR));
    return tn_tensor_get(t->c->dev, samples, h, ERR);
}

/* The same gradient once more must be the same bits. */
static int deform_again(tn_trial *t, const tn_deform *f, const tn_tensor *d_o, const tn_tensor *dvalue)
{
    const size_t n = tn_tensor_count(dvalue);
    float *once = tn_trial_host(t, n), *twice = tn_trial_host(t, n);
    tn_tensor again = *dvalue;
    if (!once || !twice) return tn_oom(ERR);
    if (!t->c->dry) TN_TRY(tn_tensor_get(t->c->dev, dvalue, once, ERR));
    TN_TRY(tn_trial_poison(t, &again));
    TN_TRY(tn_deform_dvalue(t->c, f, d_o, &again, ERR));
    if (t->c->dry) return 0;
    TN_TRY(tn_tensor_get(t->c->dev, dvalue, twice, ERR));
    if (memcmp(once, twice, sizeof *once * n)) t->worst = NAN;
    return 0;
}

static int deform_one(tn_trial *t, const deform_shape *s)
{
    const tn_levels *l = &s->levels;
    const int R = s->batch * tn_levels_rows(l, l->n), D = s->heads * s->width, S = 3 * s->heads * l->n * s->points;
    tn_tensor *value, *samples, *d_o, *o, *dvalue, *dsamples;
    float *hv, *hs, *hd, *want = tn_trial_host(t, (size_t)(R * D)), *slopes = tn_trial_host(t, (size_t)(R * S));
    TN_TRY(tn_trial_in(t, ACT, R, D, &value, &hv));
    TN_TRY(tn_trial_in(t, ACT, R, S, &samples, &hs));
    TN_TRY(tn_trial_in(t, ACT, R, D, &d_o, &hd));
    TN_TRY(tn_trial_out(t, ACT, R, D, &o));
    TN_TRY(tn_trial_out(t, ACT, R, D, &dvalue));
    TN_TRY(tn_trial_out(t, ACT, R, S, &dsamples));
    if (!want || !slopes) return tn_oom(ERR);
    TN_TRY(deform_spread(t, samples, hs));
    const tn_deform f = {value, samples, l, s->heads, s->points};
    const tn_ref_deformable ref = {hv, hs, s->batch, s->heads, s->width, l->n, s->points, l->h, l->w};
    TN_TRY(tn_deform_forward(t->c, &f, o, ERR));
    tn_ref_deform(&ref, want);
    TN_TRY(tn_trial_compare(t, o, want));
    TN_TRY(tn_deform_dsamples(t->c, &f, d_o, dsamples, ERR));
    TN_TRY(tn_deform_dvalue(t->c, &f, d_o, dvalue, ERR));
    tn_ref_deform_backward(&ref, hd, want, slopes);
    TN_TRY(tn_trial_compare(t, dsamples, slopes));
    TN_TRY(tn_trial_compare(t, dvalue, want));
    return deform_again(t, &f, d_o, dvalue);
}

/* Heads of odd widths and of whole vectors; samples of a head that are less than a vector of 16, one, and more. */
static int deformable(tn_trial *t)
{
    static const deform_shape shapes[3][2] = {
        {{2, 2, 5, 2, {2, {3, 2}, {4, 2}}}},
        {{1, 3, 16, 3, {3, {7, 3, 2}, {5, 3, 1}}}, {2, 2, 12, 1, {1, {6}, {9}}}},
        {{2, 2, 32, 4, {4, {20, 10, 5, 3}, {13, 7, 4, 2}}}, {1, 2, 48, 5, {4, {9, 5, 3, 2}, {17, 9, 5, 3}}}}};
    for (int i = 0; i < 2 && shapes[t->size][i].batch; i++) {
        TN_TRY(deform_one(t, &shapes[t->size][i]));
        tn_trial_rewind(t, 0);
    }
    return 0;
}

const tn_case tn_cases_deform[] = {
    {"levels", levels, false, {NULL}},
    {"deformable attention", deformable, false, {NULL}},
    {0},
};
