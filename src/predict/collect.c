#include "collect.h"
#include "files.h"
#include "image.h"
#include "log.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static int collect_order(const void *a, const void *b)
{
    return tn_natural(*(char *const *)a, *(char *const *)b);
}

/* Whether dir is `outer` or lies in it, whatever they are called. */
static bool collect_within(const char *dir, const char *outer)
{
    char a[PATH_MAX], b[PATH_MAX];
    if (!outer || !realpath(dir, a) || !realpath(outer, b)) return false;
    const size_t n = strlen(b);
    return !strncmp(a, b, n) && (!a[n] || a[n] == '/' || n == 1);
}

/* X_overlay.png beside X_heatmap.png, or the other way round: a prediction writes both. */
static bool collect_drawn(const tn_strs *names, const char *name)
{
    static const char *const ends[] = {"_overlay.png", "_heatmap.png"};
    for (int i = 0; i < 2; i++) {
        if (!tn_ends(name, ends[i])) continue;
        char *other = tn_strf("%.*s%s", (int)(strlen(name) - strlen(ends[i])), name, ends[1 - i]);
        const bool both = other && bsearch(&other, names->v, (size_t)names->n, sizeof *names->v, collect_order);
        free(other);
        return both;
    }
    return false;
}

static int collect_folder(tn_strs *out, const char *dir, bool drawn_into, int *left_out, tn_error *err)
{
    tn_strs names = {0};
    int rc = tn_list_dir(&names, dir, err);
    for (int k = 0; !rc && k < names.n; k++) {
        if (!tn_image_named(names.v[k]) || names.v[k][0] == '.') continue;
        if (drawn_into && collect_drawn(&names, names.v[k])) {
            ++*left_out;
            continue;
        }
        char *path = tn_path(dir, names.v[k]);
        if (!path || !tn_strs_add(out, path)) rc = tn_oom(err);
        free(path);
    }
    tn_strs_free(&names);
    return rc;
}

int tn_collect_images(tn_strs *out, const tn_predict_options *p, const tn_log *log, tn_error *err)
{
    int left_out = 0;
    for (int i = 0; i < p->n_images; i++) {
        if (tn_is_dir(p->images[i])) {
            TN_TRY(collect_folder(out, p->images[i], collect_within(p->images[i], p->outdir), &left_out, err));
            continue;
        }
        if (!tn_is_file(p->images[i])) return tn_fail(err, TN_ERR_IO, "there is no frame or folder '%s'", p->images[i]);
        if (!tn_strs_add(out, p->images[i])) return tn_oom(err);
    }
    if (left_out)
        tn_logf(log, TN_LOG_INFO, "%d pictures in '%s' that an earlier prediction drew are not predicted", left_out, p->outdir);
    return out->n ? 0 : tn_fail(err, TN_ERR_IO, "no frames found: give .jpg or .png files, or a folder that holds some");
}
