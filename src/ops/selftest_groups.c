/* Adapters beside convolutions of several groups. */
#include "ref.h"
#include "selftest.h"

#define ACT (t->act)
#define ERR (t->err)

static int groups_one(tn_trial *t, int rows, int each, int groups)
{
    tn_tensor *b, *wide, *sum, *d;
    float *hb, *hs, *hd, *want = tn_trial_host(t, (size_t)(rows * each * groups));
    TN_TRY(tn_trial_in(t, ACT, rows, each, &b, &hb));
    TN_TRY(tn_trial_in(t, TN_F32, rows, each * groups, &sum, &hs));
    TN_TRY(tn_trial_in(t, TN_F32, rows, each, &d, &hd));
    TN_TRY(tn_trial_out(t, ACT, rows, each * groups, &wide));
    if (!want) return tn_oom(ERR);
    TN_TRY(tn_groups_spread(t->c, b, groups, wide, ERR));
    tn_ref_groups_spread(hb, rows, each, groups, want);
    TN_TRY(tn_trial_compare(t, wide, want));
    TN_TRY(tn_groups_collect(t->c, sum, groups, d, ERR));
    tn_ref_groups_collect(hs, rows, each, groups, hd);
    return tn_trial_compare(t, d, hd);
}

static int groups(tn_trial *t)
{
    static const int shapes[3][3] = {{6, 3, 2}, {35, 1, 35}, {96, 4, 8}}; /* rows, columns of a group, groups */
    TN_TRY(groups_one(t, shapes[t->size][0], shapes[t->size][1], shapes[t->size][2]));
    return groups_one(t, 5, 7, 1);
}

const tn_case tn_cases_groups[] = {
    {"adapters of groups", groups, false, {NULL}},
    {0},
};
