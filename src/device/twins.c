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

/* Which of two drivers is taken: a GPU's own vendor's, Mesa's old one last; on processors PoCL, whose steps are a fifth faster than
 * those of Intel's runtime (docs/devices.md). */
static int standing(const tn_device_info *d)
{
    if (tn_has_nocase(d->platform, "Clover") || tn_has_nocase(d->platform, "Oclgrind")) return 0;
    if (d->type == TN_DEVICE_CPU)
        return tn_has_nocase(d->platform, "Portable Computing Language") ? 3 : tn_has_nocase(d->platform, "rusticl") ? 1 : 2;
    return is_own(d) ? 3 : tn_has_nocase(d->platform, "rusticl") ? 1 : 2;
}

int tn_device_twin(tn_device_info *const *v, int n, int i)
{
    int best = i;
    for (int k = 0; k < n; k++) {
        if (k == i || !tn_device_is_same(v[k], v[i])) continue;
        const int more = standing(v[k]) - standing(v[best]);
        if (more > 0 || (!more && k < best)) best = k;
    }
    return best == i ? -1 : best;
}
