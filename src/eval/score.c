#include "score.h"

#include <stdlib.h>

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static void score_one(tn_eval_result *r, const tn_sighting *s, float threshold)
{
    const bool found = s->confidence >= threshold;
    if (s->visible) *(!found ? &r->fn : s->near ? &r->tp : &r->fp1) += 1;
    else *(found ? &r->fp2 : &r->tn) += 1;
}

void tn_score(tn_eval_result *r, const tn_sighting *s, int n, float threshold)
{
    r->tp = r->fp1 = r->fp2 = r->tn = r->fn = 0;
    for (int i = 0; i < n; i++) score_one(r, &s[i], threshold);
    r->threshold = threshold;
    r->accuracy = ratio(r->tp + r->tn, n);
    r->precision = ratio(r->tp, r->tp + r->fp1 + r->fp2);
    r->recall = ratio(r->tp, r->tp + r->fn);
    r->f1 = ratio(2 * r->precision * r->recall, r->precision + r->recall);
}

/* The most confident first. */
static int by_confidence(const void *a, const void *b)
{
    const float x = ((const tn_sighting *)a)->confidence, y = ((const tn_sighting *)b)->confidence;
    return (x < y) - (x > y);
}

/* F1 as a fraction, so that equal ones are equal. */
typedef struct {
    long long part, whole;
} score_f1;

static int compare(score_f1 a, score_f1 b)
{
    const long long x = a.part * b.whole, y = b.part * a.whole;
    return (x > y) - (x < y);
}

typedef struct {
    score_f1 f1;
    float low, high; /* thresholds above low, up to high */
} score_range;

static bool better(const score_range *a, const score_range *b)
{
    const int c = compare(a->f1, b->f1);
    return c > 0 || (c == 0 && a->high - a->low > b->high - b->low);
}

float tn_best_threshold(tn_sighting *s, int n)
{
    score_range best = {.f1 = {0, 1}}, now = {{0, 1}, 0, 1};
    long long tp = 0, fn = 0;
    for (int i = 0; i < n; i++) fn += s[i].visible;
    qsort(s, (size_t)n, sizeof *s, by_confidence);
    for (int k = 1; k <= n; k++) { /* with the first k found */
        tp += s[k - 1].near;
        fn -= s[k - 1].visible;
        if (k < n && s[k].confidence == s[k - 1].confidence) continue;
        const score_f1 f1 = {2 * tp, tp + k + fn}; /* 2 TP / (2 TP + FP + FN) */
        if (compare(f1, now.f1)) now = (score_range){f1, 0, s[k - 1].confidence};
        now.low = k < n ? s[k].confidence : 0;
        if (better(&now, &best)) best = now;
    }
    if (!compare(now.f1, best.f1)) return 0; /* as good with all of them */
    const float middle = best.low + (best.high - best.low) / 2;
    return middle > best.low ? middle : best.high;
}
