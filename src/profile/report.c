/* The report as data, and its entries taken together by kernel, operation or layer. */
#include "prof.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    tn_profile_report r; /* first: what the caller sees */
    tn_strs strings;
} owned;

int tn_prof_report_new(tn_profile_report **out, tn_error *err)
{
    owned *o = calloc(1, sizeof *o);
    *out = o ? &o->r : NULL;
    return o ? 0 : tn_oom(err);
}

void tn_profile_free(tn_profile_report *r)
{
    if (!r) return;
    owned *o = (owned *)r;
    tn_strs_free(&o->strings);
    free(r->entries);
    free(o);
}

/* Equal strings are one, so that names can be compared by address. */
const char *tn_prof_keep(tn_profile_report *r, const char *text)
{
    tn_strs *s = &((owned *)r)->strings;
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->v[i], text)) return s->v[i];
    return tn_strs_add(s, text) ? s->v[s->n - 1] : NULL;
}

static int keep_entry(tn_profile_report *r, tn_profile_entry *e, const char *kernel, const tn_note *note, tn_error *err)
{
    if (tn_starts(kernel, "a ")) kernel += 2; /* "a fill" reads well in a sentence only */
    e->layer = tn_prof_keep(r, note->layer ? note->layer : "");
    e->operation = tn_prof_keep(r, note->op ? note->op : "");
    e->kernel = tn_prof_keep(r, kernel);
    if (note->variant) e->variant = tn_prof_keep(r, note->variant);
    return e->layer && e->operation && e->kernel && (!note->variant || e->variant) ? 0 : tn_oom(err);
}

int tn_prof_add_tape(tn_profile_report *r, const tn_tape *t, const double *seconds, tn_error *err)
{
    const int n = tn_tape_count(t);
    tn_profile_entry *v = realloc(r->entries, sizeof *v * (size_t)(r->n + n + 1));
    if (!v) return tn_oom(err);
    r->entries = v;
    for (int i = 0; i < n; i++) {
        const tn_note *note;
        const char *kernel = tn_tape_entry(t, i, &note);
        tn_profile_entry *e = &v[r->n];
        *e = (tn_profile_entry){.node = note->node, .seconds = seconds[i], .flops = note->flops, .bytes = note->bytes};
        TN_TRY(keep_entry(r, e, kernel, note, err));
        r->n++;
        r->seconds += e->seconds;
    }
    return 0;
}

/* Entries [i, end) are one node's; false when its costs are not known. Those of no node (-1) cost nothing. */
static bool node_costs(const tn_profile_report *r, int i, int *end, double *flops, double *bytes)
{
    *flops = *bytes = 0;
    for (*end = i; *end < r->n && r->entries[*end].node == r->entries[i].node; ++*end) {
        *flops += r->entries[*end].flops;
        *bytes += r->entries[*end].bytes;
    }
    return r->entries[i].node < 0 || *flops > 0 || *bytes > 0;
}

void tn_prof_sum_costs(tn_profile_report *r)
{
    double flops, bytes;
    bool known = true;
    r->flops = r->bytes = 0;
    for (int i = 0, end; i < r->n; i = end) {
        known &= node_costs(r, i, &end, &flops, &bytes);
        r->flops += flops;
        r->bytes += bytes;
    }
    if (!known) r->flops = r->bytes = 0;
}

/* ---- rows ---- */

static tn_profile_row key_of(const tn_profile_entry *e, tn_profile_by by)
{
    tn_profile_row k = {0};
    const bool entry = by == TN_BY_ENTRY;
    if (entry || by == TN_BY_LAYER) k.layer = e->layer;
    if (entry || by == TN_BY_OPERATION) k.operation = e->operation;
    if (entry || by == TN_BY_KERNEL) k.kernel = e->kernel, k.variant = e->variant;
    return k;
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static int row_of(tn_profile_row *rows, int *n, const tn_profile_entry *e, tn_profile_by by)
{
    const tn_profile_row k = key_of(e, by);
    for (int i = 0; i < *n && by != TN_BY_ENTRY; i++)
        if (same(k.layer, rows[i].layer) && same(k.operation, rows[i].operation) && same(k.kernel, rows[i].kernel) &&
            same(k.variant, rows[i].variant))
            return i;
    rows[*n] = k;
    return (*n)++;
}

/* A node's flops and bytes say nothing of a row that has only some of its entries: such rows give them up. */
static void add_costs(const tn_profile_report *r, tn_profile_row *rows, const int *of, bool *part)
{
    double flops, bytes;
    for (int i = 0, end; i < r->n; i = end) {
        bool whole = node_costs(r, i, &end, &flops, &bytes);
        for (int k = i; k < end; k++) whole &= of[k] == of[i];
        for (int k = i; k < end; k++) part[of[k]] |= !whole;
        rows[of[i]].flops += flops;
        rows[of[i]].bytes += bytes;
    }
}

static void finish_row(const tn_profile_report *r, tn_profile_row *w, bool part)
{
    if (part) w->flops = w->bytes = 0;
    w->share = r->seconds > 0 ? w->seconds / r->seconds : 0;
    const double by_flops = r->peak > 0 ? w->flops / r->peak : 0, by_bytes = r->bandwidth > 0 ? w->bytes / r->bandwidth : 0;
    w->roofline = w->seconds > 0 ? TN_MAX(by_flops, by_bytes) / w->seconds : 0;
}

static int by_time(const void *a, const void *b)
{
    const double x = ((const tn_profile_row *)a)->seconds, y = ((const tn_profile_row *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

int tn_profile_rows(const tn_profile_report *r, tn_profile_by by, tn_profile_row **rows, int *n, tn_error *err)
{
    tn_profile_row *v = calloc((size_t)r->n + 1, sizeof *v);
    int *of = calloc((size_t)r->n + 1, sizeof *of);
    bool *part = calloc((size_t)r->n + 1, sizeof *part);
    const int rc = v && of && part ? 0 : tn_oom(err);
    *rows = NULL;
    *n = 0;
    for (int i = 0; !rc && i < r->n; i++) {
        of[i] = row_of(v, n, &r->entries[i], by);
        v[of[i]].entries++;
        v[of[i]].seconds += r->entries[i].seconds;
    }
    if (!rc) add_costs(r, v, of, part);
    for (int i = 0; !rc && i < *n; i++) finish_row(r, &v[i], part[i]);
    if (!rc) qsort(v, (size_t)*n, sizeof *v, by_time);
    free(of);
    free(part);
    if (rc) free(v);
    else *rows = v;
    return rc;
}
