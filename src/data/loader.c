#include "loader.h"
#include "numeric.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    float *pixels, *target, *mask, *ball;
    int *index;
    int n, done;      /* samples of this batch, samples ready */
    long long number; /* which batch of the pass stands here */
    tn_error err;
} slot;

struct tn_loader {
    const tn_dataset *d;
    tn_prep prep;
    int batch, n_threads, n_slots;
    pthread_t *thread;
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    bool stop;
    slot *slots;
    int *order, n_order, epoch;
    long long next_sample, next_out; /* next sample to take; next batch to hand out */
    int busy;
    tn_image *kept; /* resized frames, by index */
    size_t keep_bytes, kept_bytes;
};

void tn_pixels(float *out, const tn_image *im, bool normalize)
{
    static const float mean[] = {0.485f, 0.456f, 0.406f}, std[] = {0.229f, 0.224f, 0.225f};
    const size_t plane = (size_t)im->w * (size_t)im->h;
    for (int c = 0; c < 3; c++) {
        const float m = normalize ? mean[c] : 0, s = normalize ? std[c] : 1;
        for (size_t i = 0; i < plane; i++) out[(size_t)c * plane + i] = ((float)im->rgb[i * 3 + (size_t)c] / 255.0f - m) / s;
    }
}

void tn_gaussian(float *out, int w, int h, double x, double y, double sigma)
{
    for (int j = 0; j < h; j++)
        for (int i = 0; i < w; i++) out[j * w + i] = (float)exp(-((i - x) * (i - x) + (j - y) * (j - y)) / (2 * sigma * sigma));
}

void tn_shuffle(int *order, int n, uint64_t seed, int epoch)
{
    tn_rng r = tn_rng_named(seed + (uint64_t)epoch * 1000003u, "shuffle");
    for (int i = 0; i < n; i++) order[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int j = (int)tn_rng_below(&r, (uint32_t)i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

/* A resized copy of frame i: from the kept ones, or decoded. */
static int resized(tn_loader *l, int i, tn_image *out, int *orig_w, int *orig_h, tn_error *err)
{
    tn_image im;
    pthread_mutex_lock(&l->lock);
    tn_image *kept = l->kept[2 * i].rgb ? &l->kept[2 * i] : NULL;
    pthread_mutex_unlock(&l->lock);
    if (kept) {
        *orig_w = l->kept[2 * i + 1].w, *orig_h = l->kept[2 * i + 1].h;
        TN_TRY(tn_image_new(out, kept->w, kept->h, err));
        memcpy(out->rgb, kept->rgb, (size_t)kept->w * (size_t)kept->h * 3);
        return 0;
    }
    TN_TRY(tn_image_load(&im, l->d->f[i].path, err));
    *orig_w = im.w, *orig_h = im.h;
    int rc = tn_image_resize(out, &im, l->prep.width, l->prep.height, err);
    tn_image_free(&im);
    TN_TRY(rc);
    const size_t bytes = (size_t)out->w * (size_t)out->h * 3;
    uint8_t *copy = l->kept_bytes + bytes <= l->keep_bytes ? malloc(bytes) : NULL;
    if (!copy) return 0;
    memcpy(copy, out->rgb, bytes);
    pthread_mutex_lock(&l->lock);
    if (l->kept[2 * i].rgb) {
        free(copy);
    } else {
        l->kept[2 * i + 1] = (tn_image){*orig_w, *orig_h, NULL};
        l->kept[2 * i] = (tn_image){out->w, out->h, copy};
        l->kept_bytes += bytes;
    }
    pthread_mutex_unlock(&l->lock);
    return 0;
}

static int make_sample(tn_loader *l, slot *s, int k, int i, long long position, tn_error *err)
{
    const tn_prep *p = &l->prep;
    const tn_frame *f = &l->d->f[i];
    tn_image im;
    int ow, oh;
    TN_TRY(resized(l, i, &im, &ow, &oh, err));
    double x = f->x * p->width / ow, y = f->y * p->height / oh;
    tn_rng r = tn_rng_named(p->seed + (uint64_t)l->epoch * 7919u + (uint64_t)position * 104729u, "flip");
    if (p->flip_prob > 0 && tn_rng_uniform(&r) < p->flip_prob) {
        tn_image_flip(&im);
        x = p->width - 1 - x;
    }
    tn_pixels(s->pixels + (size_t)k * 3 * (size_t)p->width * (size_t)p->height, &im, p->normalize);
    tn_image_free(&im);
    x = x * p->heat_w / p->width, y = y * p->heat_h / p->height;
    float *t = s->target + (size_t)k * (size_t)p->heat_w * (size_t)p->heat_h;
    if (f->visible) tn_gaussian(t, p->heat_w, p->heat_h, x, y, p->sigma);
    else memset(t, 0, sizeof *t * (size_t)p->heat_w * (size_t)p->heat_h);
    s->mask[k] = f->visible ? 1 : 0;
    s->ball[2 * k] = (float)x, s->ball[2 * k + 1] = (float)y;
    s->index[k] = i;
    return 0;
}

static bool can_work(const tn_loader *l)
{
    if (!l->order || l->next_sample >= l->n_order) return false;
    return l->next_sample / l->batch < l->next_out + l->n_slots - 1;
}

static void *worker(void *arg)
{
    tn_loader *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && !can_work(l)) pthread_cond_wait(&l->work, &l->lock);
        if (l->stop) break;
        const long long pos = l->next_sample++, number = pos / l->batch;
        slot *s = &l->slots[number % l->n_slots];
        if (pos % l->batch == 0) {
            s->number = number;
            s->done = 0;
            s->err.status = 0;
            s->n = (int)TN_MIN((long long)l->batch, l->n_order - number * l->batch);
        }
        l->busy++;
        pthread_mutex_unlock(&l->lock);
        tn_error err = {0};
        int rc = make_sample(l, s, (int)(pos % l->batch), l->order[pos], pos, &err);
        pthread_mutex_lock(&l->lock);
        l->busy--;
        if (rc) s->err = err;
        s->done++;
        pthread_cond_broadcast(&l->ready);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static int slot_new(slot *s, const tn_prep *p, int batch, tn_error *err)
{
    const size_t b = (size_t)batch;
    s->number = -1;
    s->pixels = malloc(b * 3 * (size_t)p->width * (size_t)p->height * sizeof(float));
    s->target = malloc(b * (size_t)p->heat_w * (size_t)p->heat_h * sizeof(float));
    s->mask = malloc(b * sizeof(float));
    s->ball = malloc(b * 2 * sizeof(float));
    s->index = malloc(b * sizeof(int));
    return s->pixels && s->target && s->mask && s->ball && s->index ? 0 : tn_oom(err);
}

int tn_loader_new(tn_loader **out, const tn_dataset *d, const tn_prep *prep, int batch, int threads, int ahead, size_t keep_bytes,
                  tn_error *err)
{
    tn_loader *l = *out = calloc(1, sizeof *l);
    if (!l) return tn_oom(err);
    l->d = d;
    l->prep = *prep;
    l->batch = batch;
    l->n_slots = TN_MAX(ahead, 1) + 2;
    l->keep_bytes = keep_bytes;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    threads = TN_MAX(threads, 1);
    l->slots = calloc((size_t)l->n_slots, sizeof *l->slots);
    l->thread = calloc((size_t)threads, sizeof *l->thread);
    l->kept = calloc((size_t)d->n * 2, sizeof *l->kept);
    int rc = l->slots && l->thread && l->kept ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < l->n_slots; i++) rc = slot_new(&l->slots[i], prep, batch, err);
    while (!rc && l->n_threads < threads) {
        if (pthread_create(&l->thread[l->n_threads], NULL, worker, l))
            rc = tn_fail(err, TN_ERR_MEMORY, "cannot start a decoding thread; lower training.data_loader.num_workers");
        else l->n_threads++;
    }
    if (rc) {
        tn_loader_free(l);
        *out = NULL;
    }
    return rc;
}

void tn_loader_free(tn_loader *l)
{
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++) pthread_join(l->thread[i], NULL);
    for (int i = 0; l->slots && i < l->n_slots; i++) {
        slot *s = &l->slots[i];
        free(s->pixels), free(s->target), free(s->mask), free(s->ball), free(s->index);
    }
    for (int i = 0; l->kept && i < 2 * l->d->n; i++) free(l->kept[i].rgb);
    free(l->kept);
    free(l->slots);
    free(l->thread);
    free(l->order);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    free(l);
}

int tn_loader_start(tn_loader *l, const int *order, int n, int epoch, tn_error *err)
{
    int *copy = malloc(sizeof *copy * (size_t)TN_MAX(n, 1));
    if (!copy) return tn_oom(err);
    memcpy(copy, order, sizeof *copy * (size_t)n);
    pthread_mutex_lock(&l->lock);
    l->n_order = 0; /* no new work; let what is under way end */
    while (l->busy) pthread_cond_wait(&l->ready, &l->lock);
    free(l->order);
    l->order = copy;
    l->n_order = n;
    l->epoch = epoch;
    l->next_sample = l->next_out = 0;
    for (int i = 0; i < l->n_slots; i++) l->slots[i].number = -1;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    return 0;
}

int tn_loader_next(tn_loader *l, tn_batch *b, tn_error *err)
{
    *b = (tn_batch){0};
    pthread_mutex_lock(&l->lock);
    const long long number = l->next_out, batches = TN_CEIL_DIV(l->n_order, l->batch);
    int rc = 0;
    if (number < batches) {
        slot *s = &l->slots[number % l->n_slots];
        while (s->number != number || s->done < s->n) pthread_cond_wait(&l->ready, &l->lock);
        if (s->err.status) {
            if (err) *err = s->err;
            rc = s->err.status;
        } else {
            *b = (tn_batch){s->n, s->index, s->pixels, s->target, s->mask, s->ball};
        }
        l->next_out++; /* frees the slot before this one */
        pthread_cond_broadcast(&l->work);
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}
