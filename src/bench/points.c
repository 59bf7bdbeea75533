#include "points.h"
#include "fail.h"
#include "jsonio.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    char kernels[200], operations[200];
    int entries;
    double seconds, flops, bytes;
} point;

/* Appends a name to "a + b" unless it is among them; what is too long is cut at a name. */
static void add_name(char *list, size_t size, const char *name)
{
    const size_t used = strlen(list), n = strlen(name);
    for (const char *s = list; *s;) {
        const char *end = strstr(s, " + ");
        const size_t len = end ? (size_t)(end - s) : strlen(s);
        if (len == n && !strncmp(s, name, n)) return;
        s += len + (end ? 3 : 0);
    }
    if (used + n + 4 > size) return;
    if (used) strcat(list, " + ");
    strcat(list, name);
}

/* Entries [i, end) of one node; those of none stand alone. */
static int gather(point *p, const tn_profile_report *r, int i)
{
    int end = i;
    *p = (point){.entries = 0};
    do {
        const tn_profile_entry *e = &r->entries[end++];
        add_name(p->kernels, sizeof p->kernels, e->kernel);
        add_name(p->operations, sizeof p->operations, e->operation);
        p->entries++;
        p->seconds += e->seconds;
        p->flops += e->flops;
        p->bytes += e->bytes;
    } while (end < r->n && r->entries[i].node >= 0 && r->entries[end].node == r->entries[i].node);
    return end;
}

static void join(point *to, const point *p)
{
    add_name(to->operations, sizeof to->operations, p->operations);
    to->entries += p->entries;
    to->seconds += p->seconds;
    to->flops += p->flops;
    to->bytes += p->bytes;
}

static int slower(const void *a, const void *b)
{
    const double x = ((const point *)a)->seconds, y = ((const point *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

static int all_points(point *v, const tn_profile_report *r)
{
    int n = 0;
    for (int i = 0; i < r->n;) {
        int k = 0;
        i = gather(&v[n], r, i);
        while (strcmp(v[k].kernels, v[n].kernels) != 0) k++;
        if (k < n) join(&v[k], &v[n]);
        else n++;
    }
    qsort(v, (size_t)n, sizeof *v, slower);
    return n;
}

json_t *tn_bench_points(const tn_profile_report *r)
{
    point *v = calloc((size_t)r->n + 1, sizeof *v);
    json_t *list = v ? json_array() : NULL;
    const int n = list ? all_points(v, r) : 0;
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:f, s:f, s:f}", "kernels", v[i].kernels, "operations",
                                              v[i].operations, "entries", v[i].entries, "seconds", v[i].seconds, "flops",
                                              v[i].flops, "bytes", v[i].bytes));
    free(v);
    return list;
}

int tn_bench_profile(json_t **out, const tn_profile_report *r, tn_error *err)
{
    char *text;
    TN_TRY(tn_profile_json(r, &text, err));
    const int rc = tn_json_parse(out, text, strlen(text), "a profile", err);
    free(text);
    TN_TRY(rc);
    json_object_del(*out, "entries");
    json_object_del(*out, "device");
    json_object_del(*out, "driver");
    json_t *points = tn_bench_points(r);
    if (points && !json_object_set_new(*out, "points", points)) return 0;
    json_decref(*out);
    return tn_oom(err);
}
