/* One piece of hardware through two platforms. */
#include "select.h"

#include <string.h>

/* The word behind `key` in the hardware's description; 0 long where it is not there. */
static const char *told(const tn_device_info *d, const char *key, size_t *length)
{
    const char *s = strstr(d->hardware, key);
    if (s) s += strlen(key);
    *length = s ? strcspn(s, " ") : 0;
    return s;
}

/* 1 the same, 0 not, -1: one of the two drivers does not tell. */
static int agree(const tn_device_info *a, const tn_device_info *b, const char *key)
{
    size_t n, m;
    const char *s = told(a, key, &n), *t = told(b, key, &m);
    return n && m ? n == m && !memcmp(s, t, n) : -1;
}

bool tn_device_is_same(const tn_device_info *a, const tn_device_info *b)
{
    const bool together = !strcmp(a->platform, b->platform);
    if (a->type != b->type) return false;
    if (a->type == TN_DEVICE_CPU) return !together; /* a platform may cut a processor into several devices */
    const int place = agree(a, b, "pci "), id = agree(a, b, "uuid ");
    if (place >= 0) return place;
    if (id >= 0) return id;
    if (together) return false; /* a platform lists what it has once */
    const bool named = tn_has_nocase(a->name, b->name) || tn_has_nocase(b->name, a->name);
    return named && a->compute_units == b->compute_units;
}

/* The platforms that a vendor makes for its own GPUs. */
static const struct {
    const char *vendor, *platform;
} own[] = {{"NVIDIA", "NVIDIA"}, {"Advanced Micro", "AMD"}, {"AMD", "AMD"}, {"Intel", "Intel"}, {"Apple", "Apple"}};

static bool is_own(const tn_device_info *d)
{
    for (size_t i = 0; i < TN_COUNT(own); i++)
        if (tn_has_nocase(d->vendor, own[i].vendor) && tn_has_nocase(d->platform, own[i].platform)) return true;
    return false;
}

/* The order of platforms, for drivers that are not measured or as good as equal: a GPU's own vendor's, Mesa's old one last; on
 * processors PoCL. */
static int standing(const tn_device_info *d)
{
    if (tn_has_nocase(d->platform, "Clover") || tn_has_nocase(d->platform, "Oclgrind")) return 0;
    if (d->type == TN_DEVICE_CPU)
        return tn_has_nocase(d->platform, "Portable Computing Language") ? 3 : tn_has_nocase(d->platform, "rusticl") ? 1 : 2;
    return is_own(d) ? 3 : tn_has_nocase(d->platform, "rusticl") ? 1 : 2;
}

/* Of a product and a copy in about the proportion in which a step of training has them; 0: not measured. */
static double seconds_of(const tn_device_info *d)
{
    return d->product_rate > 0 && d->copy_rate > 0 ? 1.5e8 / d->product_rate + 4e6 / d->copy_rate : 0;
}

/* What the fastest of those that are the hardware of device i takes; 0 where one of them is not measured. */
static double least_seconds(tn_device_info *const *v, int n, int i)
{
    double least = seconds_of(v[i]);
    for (int k = 0; k < n; k++)
        if (tn_device_is_same(v[k], v[i])) least = TN_MIN(least, seconds_of(v[k]));
    return least;
}

#define ALIKE 1.1 /* what is not slower than that is as good: a measurement of milliseconds is no better */

int tn_device_twin(tn_device_info *const *v, int n, int i)
{
    const double least = least_seconds(v, n, i);
    int best = -1;
    for (int k = 0; k < n; k++) {
        if (k != i && !tn_device_is_same(v[k], v[i])) continue;
        if (least > 0 && seconds_of(v[k]) > ALIKE * least) continue;
        if (best < 0 || standing(v[k]) > standing(v[best])) best = k;
    }
    return best == i ? -1 : best;
}
