#include "split.h"
#include "select.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tn_split_free(tn_split *s)
{
    if (!s) return;
    free(s->replica);
    *s = (tn_split){0};
}

tn_replica *tn_split_add(tn_split *s)
{
    tn_replica *v = realloc(s->replica, sizeof *v * (size_t)(s->n_replicas + 1));
    if (!v) return NULL;
    s->replica = v;
    v[s->n_replicas] = (tn_replica){0};
    return &v[s->n_replicas++];
}

/* ---- checking ---- */

static const char *name_at(const tn_layer_names *l, int i)
{
    return i >= 0 && i < l->n ? l->name[i] : "?";
}

/* Layers from..to, both included, as they are said in a sentence. */
static const char *run_of(char buf[80], const tn_layer_names *l, int from, int to)
{
    if (from == to) snprintf(buf, 80, "layer '%.32s'", name_at(l, from));
    else snprintf(buf, 80, "layers '%.30s' to '%.30s'", name_at(l, from), name_at(l, to));
    return buf;
}

/* Two stages that follow each other. */
static int check_neighbours(const tn_split_stage *a, const tn_split_stage *b, const tn_layer_names *l, tn_error *err)
{
    char run[80];
    if (b->last < a->first)
        return tn_fail(err, TN_ERR_CONFIG,
                       "the split is in the wrong order: '%s' on device %d comes before '%s' on device %d in the model; name the "
                       "stages in the order of the layers",
                       name_at(l, b->first), b->device, name_at(l, a->first), a->device);
    if (b->first <= a->last)
        return tn_fail(err, TN_ERR_CONFIG, "the split has %s twice: on device %d and on device %d",
                       run_of(run, l, b->first, TN_MIN(a->last, b->last)), a->device, b->device);
    if (b->first > a->last + 1)
        return tn_fail(err, TN_ERR_CONFIG, "the split leaves %s out, between device %d and device %d",
                       run_of(run, l, a->last + 1, b->first - 1), a->device, b->device);
    return 0;
}

static int check_layers(const tn_replica *r, const tn_layer_names *l, tn_error *err)
{
    char run[80];
    if (r->n_stages < 1) return tn_fail(err, TN_ERR_CONFIG, "the split has a replica without stages");
    const tn_split_stage *s = r->stage, *end = &s[r->n_stages - 1];
    for (int i = 0; i < r->n_stages; i++)
        if (s[i].first < 0 || s[i].last >= l->n || s[i].first > s[i].last)
            return tn_fail(err, TN_ERR_CONFIG, "the split gives device %d layers %d to %d; there are %d, in their order",
                           s[i].device, s[i].first, s[i].last, l->n);
    for (int i = 1; i < r->n_stages; i++) TN_TRY(check_neighbours(&s[i - 1], &s[i], l, err));
    if (s->first > 0)
        return tn_fail(err, TN_ERR_CONFIG, "the split leaves %s out, before device %d", run_of(run, l, 0, s->first - 1), s->device);
    if (end->last < l->n - 1)
        return tn_fail(err, TN_ERR_CONFIG, "the split leaves %s out, behind device %d", run_of(run, l, end->last + 1, l->n - 1),
                       end->device);
    return 0;
}

/* How many stages are on the device. */
static int times_named(const tn_split *s, int device)
{
    int times = 0;
    for (int r = 0; r < s->n_replicas; r++)
        for (int i = 0; i < s->replica[r].n_stages; i++) times += s->replica[r].stage[i].device == device;
    return times;
}

static int check_devices(const tn_split *s, tn_error *err)
{
    for (int r = 0; r < s->n_replicas; r++)
        for (int i = 0; i < s->replica[r].n_stages; i++)
            if (times_named(s, s->replica[r].stage[i].device) > 1)
                return tn_fail(err, TN_ERR_CONFIG, "the split names device %d twice; a device has one run of layers",
                               s->replica[r].stage[i].device);
    return 0;
}

static int check_images(const tn_split *s, int batch, tn_error *err)
{
    int sum = 0;
    for (int r = 0; r < s->n_replicas; r++) {
        const tn_replica *v = &s->replica[r];
        if (v->images < 1)
            return tn_fail(err, TN_ERR_CONFIG,
                           "a batch of %d has no image for replica %d of %d; use a larger batch or fewer replicas", batch, r + 1,
                           s->n_replicas);
        if (v->micro < 1 || v->micro > v->images)
            return tn_fail(err, TN_ERR_CONFIG, "a micro-batch of %d does not fit the %d images of replica %d", v->micro, v->images,
                           r + 1);
        sum += v->images;
    }
    if (sum != batch)
        return tn_fail(err, TN_ERR_CONFIG, "the replicas of the split take %d images together, but a batch has %d", sum, batch);
    return 0;
}

int tn_split_check(const tn_split *s, const tn_layer_names *layers, int batch, tn_error *err)
{
    if (s->n_replicas < 1) return tn_fail(err, TN_ERR_CONFIG, "the split names no device");
    for (int r = 0; r < s->n_replicas; r++) TN_TRY(check_layers(&s->replica[r], layers, err));
    TN_TRY(check_devices(s, err));
    return check_images(s, batch, err);
}

/* ---- reading ---- */

typedef struct {
    const tn_layer_names *layers;
    tn_device_info *const *device;
    int n_devices, batch;
    tn_error *err;
} reader;

/* Without the spaces around it. */
static char *trimmed(char *s)
{
    while (isspace((unsigned char)*s)) s++;
    for (size_t k = strlen(s); k && isspace((unsigned char)s[k - 1]);) s[--k] = 0;
    return s;
}

/* Cuts *rest at the next `end`; *rest is NULL behind the last piece. */
static char *next_piece(char **rest, char end)
{
    char *s = *rest, *at = strchr(s, end);
    *rest = at ? at + 1 : NULL;
    if (at) *at = 0;
    return trimmed(s);
}

static int find_layer(const reader *r, int *out, const char *name)
{
    const char *best = "embeddings";
    int least = 1 << 20;
    for (int i = 0; i < r->layers->n; i++) {
        const int d = tn_edit_distance(name, r->layers->name[i]);
        if (d < least) least = d, best = r->layers->name[i];
        if (d) continue;
        *out = i;
        return 0;
    }
    return tn_fail(r->err, TN_ERR_CONFIG, "the model has no layer '%s'; they are '%s' to '%s' (did you mean '%s'?)", name,
                   r->layers->name[0], r->layers->name[r->layers->n - 1], best);
}

/* The sentence is as it should be; what is at fault is the configuration of the run. */
static int find_device(const reader *r, int *out, const char *word)
{
    if (!*word) return tn_fail(r->err, TN_ERR_CONFIG, "a stage of the split names no device; it is DEVICE:FIRST-LAST");
    return tn_device_match(out, r->device, r->n_devices, word, r->err) ? (r->err->status = TN_ERR_CONFIG) : 0;
}

/* "DEVICE:FIRST-LAST". A device's name may have a colon, a layer's has none. */
static int read_stage(const reader *r, tn_split_stage *out, char *text)
{
    char *colon = strrchr(text, ':'), *layers = colon ? colon + 1 : NULL;
    if (!colon)
        return tn_fail(r->err, TN_ERR_CONFIG,
                       "'%s' is no stage of a split; it is DEVICE:FIRST-LAST, as in 0:embeddings-layer.5,1:layer.6-head", text);
    *colon = 0;
    *out = (tn_split_stage){.kept = TN_KEEPS_ALL};
    TN_TRY(find_device(r, &out->device, trimmed(text)));
    TN_TRY(find_layer(r, &out->first, next_piece(&layers, '-')));
    out->last = out->first;
    if (layers) TN_TRY(find_layer(r, &out->last, trimmed(layers)));
    if (out->last < out->first)
        return tn_fail(r->err, TN_ERR_CONFIG, "the split gives device %d '%s' to '%s', which is the wrong order: '%s' comes first",
                       out->device, r->layers->name[out->first], r->layers->name[out->last], r->layers->name[out->last]);
    return 0;
}

/* "IMAGES/MICRO" */
static int read_images(const reader *r, tn_replica *out, const char *text)
{
    char end;
    if (sscanf(text, "%d/%d%c", &out->images, &out->micro, &end) == 2 && out->images > 0 && out->micro > 0) return 0;
    return tn_fail(r->err, TN_ERR_CONFIG,
                   "'@%s' of the split is not @IMAGES/MICRO, as in @6/2: six images of a batch, two at a time", text);
}

static int read_replica(const reader *r, tn_replica *out, char *text)
{
    char *images = strrchr(text, '@');
    if (images) *images++ = 0;
    if (images) TN_TRY(read_images(r, out, trimmed(images)));
    while (text) {
        if (out->n_stages == TN_MAX_STAGES)
            return tn_fail(r->err, TN_ERR_CONFIG, "the split has more than %d stages", TN_MAX_STAGES);
        TN_TRY(read_stage(r, &out->stage[out->n_stages++], next_piece(&text, ',')));
    }
    return 0;
}

/* Replicas that say nothing share what the others leave, the first ones an image more. */
static void share_out(tn_split *s, int batch)
{
    int left = batch, open = 0;
    for (int i = 0; i < s->n_replicas; i++) {
        left -= s->replica[i].images;
        open += !s->replica[i].images;
    }
    for (int i = 0; i < s->n_replicas; i++) {
        tn_replica *v = &s->replica[i];
        if (v->images) continue;
        v->images = TN_MAX(TN_CEIL_DIV(left, open), 0);
        left -= v->images;
        open--;
        v->micro = TN_CEIL_DIV(v->images, TN_MAX(v->n_stages, 1));
    }
}

static int read_all(const reader *r, tn_split *out, char *text)
{
    while (text) {
        tn_replica *v = tn_split_add(out);
        if (!v) return tn_oom(r->err);
        TN_TRY(read_replica(r, v, next_piece(&text, ';')));
    }
    share_out(out, r->batch);
    return tn_split_check(out, r->layers, r->batch, r->err);
}

int tn_split_parse(tn_split *out, const char *text, const tn_layer_names *layers, tn_device_info *const *device, int n_devices,
                   int batch, tn_error *err)
{
    const reader r = {layers, device, n_devices, batch, err};
    char *copy = strdup(text);
    *out = (tn_split){0};
    const int rc = copy ? read_all(&r, out, copy) : tn_oom(err);
    free(copy);
    if (rc) tn_split_free(out);
    return rc;
}

/* ---- writing ---- */

int tn_split_read(tn_split *out, const char *text, const tn_layer_names *layers, int batch, tn_error *err)
{
    tn_device_info **v;
    int n;
    TN_TRY(tn_device_list(&v, &n, err));
    const int rc = tn_split_parse(out, text, layers, v, n, batch, err);
    tn_device_list_free(v);
    return rc;
}

void tn_split_text(tn_text *out, const tn_split *s, const tn_layer_names *layers)
{
    for (int i = 0; i < s->n_replicas; i++) {
        const tn_replica *r = &s->replica[i];
        for (int k = 0; k < r->n_stages; k++) {
            const tn_split_stage *v = &r->stage[k];
            tn_text_addf(out, "%s%d:%s", k ? "," : i ? ";" : "", v->device, name_at(layers, v->first));
            if (v->last > v->first) tn_text_addf(out, "-%s", name_at(layers, v->last));
        }
        tn_text_addf(out, "@%d/%d", r->images, r->micro);
    }
}
