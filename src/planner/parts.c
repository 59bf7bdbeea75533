#include "search.h"
#include "numeric.h"

#include <math.h>
#include <stdlib.h>

enum { FEW = 4, FEW_KINDS = 2, MANY_MICRO = 16 };
/* What a stage may lose by the search with more devices than few. */
#define NEAR 0.01

/* ---- what is tried ---- */

bool tn_is_few(const tn_search *s)
{
    return s->p->n_devices <= (s->kinds.n <= FEW_KINDS ? 2 * FEW : FEW);
}

/* Every size to 16, then steps of an eighth; with many devices powers of two and what lies half-way. */
static void find_micros(tn_search *s)
{
    const tn_planner_problem *p = s->p;
    const int last = p->max_micro > 0 ? TN_MIN(p->max_micro, p->batch) : p->batch;
    for (int m = 1, step = 1; m < last && s->n_micros < TN_MOST_MICROS - 1; m += step) {
        s->micro[s->n_micros++] = m;
        if (tn_is_few(s)) step = TN_MAX(1, m / 8);
        else step = m < 2 ? 1 : m & (m - 1) ? m / 3 : m / 2;
    }
    s->micro[s->n_micros++] = last;
}

int tn_stock_weight(const tn_kinds *k, int kind)
{
    int n = 1;
    for (int i = 0; i < kind; i++) n *= k->kind[i].n + 1;
    return n;
}

static int stocks_of(const tn_kinds *k)
{
    double n = 1;
    for (int i = 0; i < k->n; i++) n *= k->kind[i].n + 1;
    return n < 1 << 20 ? (int)n : -1;
}

tn_part *tn_part_at(const tn_search *s, int choice, int images)
{
    return &s->part[(size_t)choice * (size_t)(s->p->batch + 1) + (size_t)images];
}

/* ---- replicas ---- */

static void take_part(tn_search *s, int choice, int images, int micro, bool alone, double seconds)
{
    tn_part *best = tn_part_at(s, choice, images);
    if (micro < s->p->min_micro && micro < images) return;
    if (seconds < best->seconds) *best = (tn_part){seconds, TN_MIN(micro, images), alone};
}

/* From the costs at hand, which are those of a micro-batch with others behind it, or of one alone. */
static void take_parts(tn_search *s, int micro, bool alone)
{
    const int batch = s->p->batch;
    for (int choice = 1; choice < s->choices; choice++) {
        if (alone) {
            const double t = tn_pipeline_seconds(s->pipes, choice, 1);
            for (int n = 1; n <= TN_MIN(micro, batch); n++) take_part(s, choice, n, micro, true, t);
        }
        for (int n = micro + 1, micros = 2; !alone && n <= batch; micros++) {
            const double t = tn_pipeline_seconds(s->pipes, choice, micros);
            for (; n <= TN_MIN(micros * micro, batch); n++) take_part(s, choice, n, micro, false, t);
        }
    }
}

/* Is the micro-batch tried in pipelines? With many devices those near the one of the best plan so far (0: there is none). */
static bool in_pipelines(const tn_search *s, int micro, int near)
{
    const bool power = !(micro & (micro - 1));
    if (tn_is_few(s)) return micro <= MANY_MICRO || power || micro == s->p->max_micro;
    near = TN_MIN(near, MANY_MICRO);
    return micro <= MANY_MICRO && power && (!near || (micro <= near && 4 * micro >= near));
}

static int cost_parts(tn_search *s, int depth, int near, tn_error *err)
{
    for (int i = 0; i < s->n_micros; i++) {
        bool short_of;
        const int m = s->micro[i], d = in_pipelines(s, m, near) ? depth : 1;
        TN_TRY(tn_pipelines_at(s->pipes, m, false, d, &short_of, err));
        take_parts(s, m, false);
        if (short_of && (tn_is_few(s) || d == 1 || s->desperate)) TN_TRY(tn_pipelines_at(s->pipes, m, true, d, NULL, err));
        take_parts(s, m, true);
    }
    return 0;
}

static bool is_within(const tn_search *s, int less, int more)
{
    for (int i = 0; i < s->kinds.n; i++)
        if (tn_choice_count(&s->kinds, less, i) > tn_choice_count(&s->kinds, more, i)) return false;
    return true;
}

static bool beats(const tn_search *s, int a, int b)
{
    const double near = tn_is_few(s) ? 1 : 1 + NEAR;
    if (s->exchange[a] > s->exchange[b]) return false;
    for (int n = s->p->batch; n >= 1; n--)
        if (tn_part_at(s, a, n)->seconds > tn_part_at(s, b, n)->seconds * near) return false;
    return true;
}

static bool is_useful(const tn_search *s, int choice)
{
    if (!isfinite(tn_part_at(s, choice, 1)->seconds)) return false;
    for (int i = 0; i < s->n_useful; i++)
        if (is_within(s, s->useful[i], choice) && beats(s, s->useful[i], choice)) return false;
    return true;
}

/* A choice within another has the smaller number. */
static void find_useful(tn_search *s)
{
    s->n_useful = 0;
    for (int c = 1; c < s->choices; c++)
        if (is_useful(s, c)) s->useful[s->n_useful++] = c;
}

static double with_exchange(const tn_search *s, int choice, int images)
{
    return tn_part_at(s, choice, images)->seconds + s->exchange[choice];
}

/* The largest of those that are near each other: in each a plan fits that fits in one of the others. */
static void thin_times(tn_search *s)
{
    int n = 0;
    for (int i = 0; i < s->n_times; i++) {
        if (i + 1 < s->n_times && n && s->times[i + 1] <= s->times[n - 1] * (1 + NEAR / 2)) continue;
        s->times[n++] = s->times[i];
    }
    s->n_times = n;
}

static void find_times(tn_search *s)
{
    s->n_times = 0;
    for (int i = 0; i < s->n_useful; i++)
        for (int n = 1; n <= s->p->batch; n++) {
            const double t = with_exchange(s, s->useful[i], n);
            if (isfinite(t)) s->times[s->n_times++] = t;
        }
    tn_sort_doubles(s->times, (size_t)s->n_times);
    if (!tn_is_few(s)) thin_times(s);
}

int tn_find_parts(tn_search *s, int depth, int near, tn_error *err)
{
    TN_TRY(cost_parts(s, depth, near, err));
    find_useful(s);
    find_times(s);
    return 0;
}

/* ---- what a stock does within a time ---- */

/* Seconds grow with the images. */
int tn_images_within(const tn_search *s, int choice, double seconds)
{
    int low = 0, high = s->p->batch;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (with_exchange(s, choice, middle) <= seconds) low = middle;
        else high = middle - 1;
    }
    return low;
}

static bool stock_has(const tn_search *s, int stock, int choice)
{
    for (int i = 0; i < s->kinds.n; i++)
        if (s->holds[stock * s->kinds.n + i] < tn_choice_count(&s->kinds, choice, i)) return false;
    return true;
}

/* What the useful choices take within a time; 0 for those that a part of their devices does as well. */
static void fill_within(tn_search *s, double seconds)
{
    for (int i = 0; i < s->n_useful; i++) s->within[i] = tn_images_within(s, s->useful[i], seconds);
    for (int i = s->n_useful - 1; i >= 0; i--)
        for (int k = 0; k < i && s->within[i]; k++)
            if (s->within[k] >= s->within[i] && is_within(s, s->useful[k], s->useful[i])) s->within[i] = 0;
}

/* Stocks within another have smaller numbers; those that are not within `last` are filled too, and not asked for. */
void tn_fill_stocks(tn_search *s, int last, double seconds)
{
    fill_within(s, seconds);
    for (int stock = 0; stock <= last; stock++) s->best[stock] = (tn_most){0, 0};
    for (int i = 0; i < s->n_useful; i++) {
        const int c = s->useful[i], n = s->within[i], takes = s->stock_of[c];
        for (int stock = takes; n && stock <= last; stock++) {
            const int images = n + s->best[stock - takes].images;
            if (images > s->best[stock].images && stock_has(s, stock, c)) s->best[stock] = (tn_most){images, c};
        }
    }
}

/* The most images of a plan with devices of a kind in it (-1: any), when the stocks are filled. */
static int images_with(const tn_search *s, int stock, int kind)
{
    int images = 0;
    if (kind < 0) return s->best[stock].images;
    for (int i = 0; i < s->n_useful; i++) {
        const int c = s->useful[i];
        if (tn_choice_count(&s->kinds, c, kind) && s->within[i] && stock_has(s, stock, c))
            images = TN_MAX(images, s->within[i] + s->best[stock - s->stock_of[c]].images);
    }
    return images;
}

/* How many of the times are below one. */
static int times_below(const tn_search *s, double seconds)
{
    int n = 0;
    while (n < s->n_times && s->times[n] < seconds) n++;
    return n;
}

/* The least time, below `bound`, in which the replicas of a stock take the batch; the stocks are filled for it. */
double tn_least_time(tn_search *s, int stock, int kind, double bound)
{
    const int end = times_below(s, bound);
    int low = 0, high = end;
    while (low < high) {
        const int middle = (low + high) / 2;
        tn_fill_stocks(s, stock, s->times[middle]);
        if (images_with(s, stock, kind) >= s->p->batch) high = middle;
        else low = middle + 1;
    }
    if (low == end) return INFINITY;
    tn_fill_stocks(s, stock, s->times[low]);
    return s->times[low];
}

/* ---- a search ---- */

static int search_room(tn_search *s, tn_error *err)
{
    const size_t choices = (size_t)s->choices, stocks = (size_t)s->stocks, batch = (size_t)s->p->batch + 1,
                 kinds = (size_t)s->kinds.n;
    s->part = calloc(choices * batch, sizeof *s->part);
    s->times = calloc(choices * batch, sizeof *s->times);
    s->useful = calloc(choices, sizeof *s->useful);
    s->within = calloc(choices, sizeof *s->within);
    s->exchange = calloc(choices, sizeof *s->exchange);
    s->stock_of = calloc(choices, sizeof *s->stock_of);
    s->holds = calloc(stocks * kinds, sizeof *s->holds);
    s->best = calloc(stocks, sizeof *s->best);
    return s->part && s->times && s->useful && s->within && s->exchange && s->stock_of && s->holds && s->best ? 0 : tn_oom(err);
}

/* What choices take of a stock and pay, and what stocks hold. */
static void know_choices(tn_search *s)
{
    const int kinds = s->kinds.n;
    for (int c = 1; c < s->choices; c++)
        for (int i = 0; i < kinds; i++) {
            const int n = tn_choice_count(&s->kinds, c, i);
            s->stock_of[c] += n * tn_stock_weight(&s->kinds, i);
            if (n) s->exchange[c] = fmax(s->exchange[c], tn_cost_of_exchange(&s->costs, i));
        }
    for (int i = 0; i < kinds; i++)
        for (int stock = 0; stock < s->stocks; stock++)
            s->holds[stock * kinds + i] = stock / tn_stock_weight(&s->kinds, i) % (s->kinds.kind[i].n + 1);
}

int tn_search_new(tn_search *s, const tn_planner_problem *p, const double *slower, tn_error *err)
{
    *s = (tn_search){.p = p};
    TN_TRY(tn_kinds_new(&s->kinds, p, slower, err));
    s->choices = s->kinds.choices;
    s->stocks = stocks_of(&s->kinds);
    if (s->stocks < 0)
        return tn_fail(err, TN_ERR_ARGUMENT, "%d devices of %d kinds are more than can be planned with", p->n_devices, s->kinds.n);
    find_micros(s);
    TN_TRY(search_room(s, err));
    TN_TRY(tn_costs_new(&s->costs, p, s->kinds.kind, s->kinds.n, err));
    know_choices(s);
    return tn_pipelines_new(&s->pipes, &s->kinds, &s->costs, tn_is_few(s) ? 0 : NEAR, err);
}

void tn_search_free(tn_search *s)
{
    tn_pipelines_free(s->pipes);
    tn_costs_free(&s->costs);
    free(s->part);
    free(s->times);
    free(s->useful);
    free(s->within);
    free(s->exchange);
    free(s->stock_of);
    free(s->holds);
    free(s->best);
    tn_kinds_free(&s->kinds);
}
