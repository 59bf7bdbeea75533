#include "frame_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *rgb;
    int w, h; /* of the image in its file; 0: it was not read so far */
} kept;

struct tn_frame_cache {
    const tn_dataset *d;
    pthread_mutex_t lock;
    kept *v; /* [n] labelled frames, then the others; of the first n_kept the pixels stay */
    int n, n_kept;
    size_t bytes; /* of a frame */
    bool sizes_only;
};

int tn_frame_cache_new(tn_frame_cache **out, const tn_dataset *d, int width, int height, size_t bytes, tn_error *err)
{
    tn_frame_cache *c = *out = calloc(1, sizeof *c);
    if (!c) return tn_oom(err);
    c->d = d;
    c->n = tn_sampled_frames(d);
    c->bytes = 3 * (size_t)width * (size_t)height;
    c->n_kept = (int)TN_MIN(bytes / c->bytes, (size_t)c->n);
    c->v = calloc((size_t)c->n + 1, sizeof *c->v);
    pthread_mutex_init(&c->lock, NULL);
    if (c->v) return 0;
    tn_frame_cache_free(c);
    *out = NULL;
    return tn_oom(err);
}

void tn_frame_cache_free(tn_frame_cache *c)
{
    if (!c) return;
    for (int i = 0; c->v && i < c->n_kept; i++) free(c->v[i].rgb);
    free(c->v);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

int tn_frame_cache_keeps(const tn_frame_cache *c, size_t *bytes)
{
    *bytes = c->bytes;
    return c->n_kept;
}

void tn_frame_cache_sizes_only(tn_frame_cache *c, bool only)
{
    pthread_mutex_lock(&c->lock);
    c->sizes_only = only;
    pthread_mutex_unlock(&c->lock);
}

/* Copies the frame at a place, when it is kept already (and wanted), and the size of its stored image. */
static bool copy_kept(tn_frame_cache *c, int place, uint8_t *rgb, int size[2])
{
    pthread_mutex_lock(&c->lock);
    const kept k = c->v[place];
    const bool enough = c->sizes_only && k.w;
    pthread_mutex_unlock(&c->lock);
    if (k.rgb && !enough) memcpy(rgb, k.rgb, c->bytes); /* written once, freed with the cache */
    size[0] = k.w, size[1] = k.h;
    return k.rgb || enough;
}

/* Another thread may have read the same frame meanwhile. Memory that is not there is no failure: the frame is read again. */
static void keep(tn_frame_cache *c, int place, const uint8_t *rgb, const int size[2])
{
    uint8_t *copy = place < c->n_kept ? malloc(c->bytes) : NULL;
    if (copy) memcpy(copy, rgb, c->bytes);
    pthread_mutex_lock(&c->lock);
    kept *k = &c->v[place];
    k->w = size[0], k->h = size[1];
    if (!k->rgb) {
        k->rgb = copy;
        copy = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    free(copy);
}

int tn_frame_cache_read(tn_frame_cache *c, tn_image_reader *r, int i, const tn_image *im, int size[2], tn_error *err)
{
    const int place = i < 0 ? c->d->n + ~i : i;
    if (copy_kept(c, place, im->rgb, size)) return 0;
    TN_TRY(tn_frame_read(r, im, &size[0], &size[1], tn_dataset_frame(c->d, i), err));
    keep(c, place, im->rgb, size);
    return 0;
}
