#include "sightings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int n;
    double resolution;
} head;

/* all [ranks][most] -> s [n]; gaps go. */
static void close_up(tn_sighting *s, int *n, const head *heads, const tn_sighting *all, int most, int ranks)
{
    *n = 0;
    for (int k = 0; k < ranks; k++) {
        memcpy(s + *n, all + (size_t)k * (size_t)most, sizeof *s * (size_t)heads[k].n);
        *n += heads[k].n;
    }
}

int tn_sightings_join(tn_sighting *s, int *n, int most, double *resolution, tn_ranks *r, tn_error *err)
{
    if (!r) return 0;
    const size_t ranks = (size_t)tn_ranks_count(r);
    const head mine = {*n, *resolution};
    head *heads = malloc(sizeof *heads * ranks);
    tn_sighting *own = calloc((size_t)most, sizeof *own), *all = malloc(sizeof *all * (size_t)most * ranks);
    int rc = heads && own && all ? 0 : tn_oom(err);
    if (!rc) memcpy(own, s, sizeof *s * (size_t)*n);
    if (!rc) rc = tn_ranks_collect(r, &mine, sizeof mine, heads, err);
    if (!rc) rc = tn_ranks_collect(r, own, sizeof *own * (size_t)most, all, err);
    if (!rc) close_up(s, n, heads, all, most, (int)ranks);
    for (size_t k = 0; !rc && k < ranks; k++) *resolution = fmax(*resolution, heads[k].resolution);
    free(heads);
    free(own);
    free(all);
    return rc;
}
