#include "frozen.h"

#include <stdlib.h>

struct tn_features {
    tn_engine *e;
    tn_feature_list maps;
    int n, per_chunk, n_chunks;
    size_t frame; /* bytes */
    tn_buffer **chunk;
    char *host;
};

size_t tn_features_frame_bytes(const tn_engine *e)
{
    tn_feature_list f;
    size_t n = 0;
    tn_engine_features(&f, e);
    for (int i = 0; i < f.n; i++) n += tn_feature_bytes(&f.f[i], e->act);
    return n;
}

/* ---- memory ---- */

static void free_chunks(tn_features *f)
{
    for (int i = 0; f->chunk && i < f->n_chunks; i++) tn_buffer_free(f->chunk[i]);
    free(f->chunk);
    f->chunk = NULL;
}

/* No buffer larger than the device gives at once. */
static int take_device(tn_features *f, tn_error *err)
{
    const size_t most = f->e->dev->info.largest_allocation / f->frame;
    f->per_chunk = (int)TN_MAX(TN_MIN(most, (size_t)f->n), (size_t)1);
    f->n_chunks = TN_CEIL_DIV(f->n, f->per_chunk);
    f->chunk = calloc((size_t)f->n_chunks, sizeof(tn_buffer *));
    if (!f->chunk) return tn_oom(err);
    for (int i = 0; i < f->n_chunks; i++) {
        const size_t frames = (size_t)TN_MIN(f->per_chunk, f->n - i * f->per_chunk);
        TN_TRY(tn_buffer_new(&f->chunk[i], f->e->dev, frames * f->frame, "the backbone's features", err));
    }
    return 0;
}

static int take_memory(tn_features *f, const tn_features_plan *p, tn_error *err)
{
    if (p->device) {
        const int rc = take_device(f, err);
        if (rc != TN_ERR_MEMORY || !p->host) return rc;
        free_chunks(f);
    }
    f->host = malloc((size_t)f->n * f->frame);
    return f->host ? 0 : tn_oom(err);
}

int tn_features_new(tn_features **out, tn_engine *e, const tn_features_plan *p, tn_error *err)
{
    tn_features *f = calloc(1, sizeof *f);
    *out = NULL;
    if (!f) return tn_oom(err);
    *f = (tn_features){.e = e, .n = p->frames, .frame = tn_features_frame_bytes(e)};
    tn_engine_features(&f->maps, e);
    const int rc = take_memory(f, p, err);
    if (rc) tn_features_free(f);
    else *out = f;
    return rc;
}

void tn_features_free(tn_features *f)
{
    if (!f) return;
    free_chunks(f);
    free(f->host);
    free(f);
}

bool tn_features_on_device(const tn_features *f)
{
    return f->chunk != NULL;
}

/* The buffer of frame i and its place there. */
static tn_buffer *place_of(const tn_features *f, int i, size_t *at)
{
    *at = (size_t)(i % f->per_chunk) * f->frame;
    return f->chunk[i / f->per_chunk];
}

/* ---- filling ---- */

/* What a pass left in its maps, as frame i's; it was the pass's frame k. */
static int keep_frame(const tn_features *f, const tn_exec *x, int i, int k, tn_error *err)
{
    size_t at = (size_t)i * f->frame;
    tn_buffer *to = f->host ? NULL : place_of(f, i, &at);
    for (int m = 0; m < f->maps.n; m++) {
        const size_t bytes = tn_feature_bytes(&f->maps.f[m], f->e->act), from = (size_t)k * bytes;
        tn_buffer *map = x->mem[x->g.feature[m]];
        TN_TRY(to ? tn_buffer_copy(map, from, to, at, bytes, err) : tn_buffer_read(map, from, f->host + at, bytes, err));
        at += bytes;
    }
    return 0;
}

/* A part that is not full leaves old pictures behind it in the pass: frames know nothing of each other. */
static int fill_batch(const tn_features *f, tn_exec *x, const tn_batch *b, tn_error *err)
{
    const tn_engine *e = f->e;
    const size_t image = tn_engine_image_bytes(e);
    for (int k = 0; k < b->n; k += x->pass.batch) {
        const int n = TN_MIN(x->pass.batch, b->n - k);
        TN_TRY(tn_buffer_write(x->mem[x->g.pixels], 0, b->frames + (size_t)k * image, (size_t)n * image, err));
        TN_TRY(tn_session_run(e->session, x, err));
        for (int i = 0; i < n; i++) TN_TRY(keep_frame(f, x, b->index[k] + i, i, err));
    }
    return 0;
}

static int start_in_order(tn_loader *l, int n, tn_error *err)
{
    int *order = malloc(sizeof *order * (size_t)n);
    if (!order) return tn_oom(err);
    for (int i = 0; i < n; i++) order[i] = i;
    const int rc = tn_loader_start(l, order, n, 0, err);
    free(order);
    return rc;
}

int tn_features_fill(tn_features *f, tn_loader *l, int micro, tn_error *err)
{
    tn_exec *x;
    tn_batch b;
    const tn_pass pass = tn_engine_features_pass(f->e, TN_MIN(micro, f->n));
    TN_TRY(tn_session_get(&x, f->e->session, &pass, err));
    TN_TRY(start_in_order(l, f->n, err));
    for (int done = 0; done < f->n; done += b.n) {
        TN_TRY(tn_watch_tell(&f->e->watch, TN_PHASE_FEATURES, NULL, done, f->n, err));
        TN_TRY(tn_loader_next(l, &b, err));
        TN_TRY(fill_batch(f, x, &b, err));
    }
    return tn_watch_tell(&f->e->watch, TN_PHASE_FEATURES, NULL, f->n, f->n, err);
}

/* ---- use ---- */

const void *tn_features_host(const tn_features *f, int i)
{
    return f->host + (size_t)i * f->frame;
}

int tn_features_bring(const tn_features *f, int i, const tn_exec *x, int k, tn_error *err)
{
    size_t at;
    tn_buffer *from = place_of(f, i, &at);
    for (int m = 0; m < f->maps.n; m++) {
        const size_t bytes = tn_feature_bytes(&f->maps.f[m], f->e->act);
        TN_TRY(tn_buffer_copy(from, at, x->mem[x->g.feature[m]], (size_t)k * bytes, bytes, err));
        at += bytes;
    }
    return 0;
}
