#include "select.h"
#include "entry.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static int pick_default(tn_device_info *const *v, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++) {
        if (tn_device_twin(v, n, i) >= 0) continue;
        const bool gpu = v[i]->type == TN_DEVICE_GPU, had = best >= 0 && v[best]->type == TN_DEVICE_GPU;
        if (best < 0 || (gpu && !had) || (gpu == had && v[i]->global_memory > v[best]->global_memory)) best = i;
    }
    return best < 0 ? 0 : best;
}

static bool is_index(const char *sel, long *index)
{
    char *end;
    *index = strtol(sel, &end, 10);
    return end != sel && !*end;
}

static bool fits(const tn_device_info *d, const char *sel)
{
    if (!strcmp(sel, "cpu")) return d->type == TN_DEVICE_CPU;
    if (!strcmp(sel, "gpu")) return d->type == TN_DEVICE_GPU;
    return tn_has_nocase(d->name, sel) || tn_has_nocase(d->platform, sel);
}

/* Does it fit a device that no other stands for? Then those that others stand for are not meant. */
static bool fits_once(tn_device_info *const *v, int n, const char *sel)
{
    for (int i = 0; i < n; i++)
        if (fits(v[i], sel) && tn_device_twin(v, n, i) < 0) return true;
    return false;
}

int tn_device_match(int *hit, tn_device_info *const *v, int n, const char *sel, tn_error *err)
{
    long idx;
    if (is_index(sel, &idx)) {
        if (idx < 0 || idx >= n)
            return tn_fail(err, TN_ERR_DEVICE, "device index %ld does not exist: there are %d; 'tracknet devices' lists them", idx,
                           n);
        *hit = (int)idx;
        return 0;
    }
    const bool cpu = !strcmp(sel, "cpu"), gpu = !strcmp(sel, "gpu");
    const bool once = fits_once(v, n, sel);
    int hits = 0;
    tn_text names = {0};
    for (int i = n - 1; i >= 0; i--) {
        if (!fits(v[i], sel) || (once && tn_device_twin(v, n, i) >= 0)) continue;
        tn_text_addf(&names, "%s%d '%s'", hits ? ", " : "", i, v[i]->name);
        hits++;
        *hit = i;
    }
    int rc = 0;
    if (!hits) rc = tn_fail(err, TN_ERR_DEVICE, "no OpenCL device matches '%s'; 'tracknet devices' lists what there is", sel);
    else if (hits > 1 && !cpu && !gpu)
        rc = tn_fail(err, TN_ERR_DEVICE, "'%s' matches %d devices (%s); give an index or more of the name", sel, hits, names.s);
    tn_text_free(&names);
    return rc;
}

/* ---- lists ---- */

/* Which of hit[0 .. count) is the same hardware as device i; -1: none. */
static int seen_before(const int *hit, int count, tn_device_info *const *v, int i)
{
    for (int k = 0; k < count; k++)
        if (tn_device_is_same(v[hit[k]], v[i])) return hit[k];
    return -1;
}

static void take_all(int *hit, int *count, tn_text *left, tn_device_info *const *v, int n)
{
    for (int i = 0; i < n; i++) {
        const int twin = tn_device_twin(v, n, i);
        if (twin < 0) hit[(*count)++] = i;
        else
            tn_text_addf(left, "%sdevice %d '%s' (%s) is left out: it is device %d seen through another platform",
                         left->len ? "\n" : "", i, v[i]->name, v[i]->platform, twin);
    }
}

static int take_one(int *hit, int *count, tn_device_info *const *v, int n, const char *word, const char *list, tn_error *err)
{
    int i;
    if (!*word) return tn_fail(err, TN_ERR_DEVICE, "the device list '%s' has an empty entry; it is read as 0,1 or all", list);
    if (!strcmp(word, "all"))
        return tn_fail(err, TN_ERR_DEVICE, "the device list '%s' has 'all' in it, which takes every device and stands alone", list);
    TN_TRY(tn_device_match(&i, v, n, word, err));
    for (int k = 0; k < *count; k++)
        if (hit[k] == i) return tn_fail(err, TN_ERR_DEVICE, "the device list '%s' names device %d '%s' twice", list, i, v[i]->name);
    const int twin = v[i]->type == TN_DEVICE_CPU ? -1 : seen_before(hit, *count, v, i);
    if (twin >= 0)
        return tn_fail(err, TN_ERR_DEVICE,
                       "the device list '%s' names one piece of hardware twice: device %d '%s' is device %d seen through another "
                       "platform; name one of them",
                       list, i, v[i]->name, twin);
    hit[(*count)++] = i;
    return 0;
}

/* The next entry of the list, without spaces around it. */
static char *next_word(char **rest)
{
    char *word = *rest, *comma = strchr(word, ',');
    *rest = comma ? comma + 1 : NULL;
    if (comma) *comma = 0;
    while (isspace((unsigned char)*word)) word++;
    for (size_t k = strlen(word); k && isspace((unsigned char)word[k - 1]);) word[--k] = 0;
    return word;
}

int tn_device_match_list(int *hit, int *count, tn_text *left, tn_device_info *const *v, int n, const char *list, tn_error *err)
{
    *count = 0;
    if (!list || !list[0]) {
        hit[(*count)++] = pick_default(v, n);
        return 0;
    }
    if (!strcmp(list, "all")) {
        take_all(hit, count, left, v, n);
        return left->oom ? tn_oom(err) : 0;
    }
    char *copy = strdup(list), *rest = copy;
    int rc = copy ? 0 : tn_oom(err);
    while (!rc && rest) rc = take_one(hit, count, v, n, next_word(&rest), list, err);
    free(copy);
    return rc;
}

int tn_device_select(int *index, const char *sel, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(index, "tn_device_select's index", err));
    if (sel && (strchr(sel, ',') || !strcmp(sel, "all")))
        return tn_fail(err, TN_ERR_DEVICE, "'%s' names several devices; this runs on one at a time, so give one", sel);
    tn_device_info **v = NULL;
    int n = 0, hit = 0;
    TN_TRY(tn_device_list(&v, &n, err));
    const int rc = sel && sel[0] ? tn_device_match(&hit, v, n, sel, err) : (hit = pick_default(v, n), 0);
    if (!rc) *index = hit;
    tn_device_list_free(v);
    return rc;
}

int tn_device_select_list(int **indices, int *count, char **left, const char *sel, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(indices, "tn_device_select_list's indices", err));
    TN_TRY(tn_required(count, "tn_device_select_list's count", err));
    tn_device_info **v = NULL;
    int n = 0;
    *indices = NULL;
    TN_TRY(tn_device_list(&v, &n, err));
    tn_text out = {0};
    int *hit = calloc((size_t)n, sizeof *hit);
    int rc = hit ? tn_device_match_list(hit, count, &out, v, n, sel, err) : tn_oom(err);
    if (!rc && left && !(*left = strdup(out.s ? out.s : ""))) rc = tn_oom(err);
    if (rc) free(hit);
    else *indices = hit;
    tn_text_free(&out);
    tn_device_list_free(v);
    return rc;
}
