#include "loader.h"
#include "frame_cache.h"
#include "machine.h"
#include "numeric.h"
#include "scope.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *frames;
    float *labels;
    int *index, *stored;
    int n, done;      /* samples of this batch, samples ready */
    long long number; /* which batch of the pass stands here */
    tn_error err;
} slot;

typedef struct {
    pthread_t thread;
    tn_loader *l;
    tn_image_reader *reader;
    tn_vary_room room;
} hand;

struct tn_loader {
    const tn_dataset *d;
    tn_prep prep;
    int batch, n_threads, n_slots, frames, answers; /* frames and answers of a sample */
    tn_frame_cache *cache;
    hand *hands; /* [n_threads] */
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    bool stop;
    slot *slots;
    int *order, n_order, before, epoch; /* before: samples of the pass that went before the order */
    long long next_sample, next_out;    /* next sample to take; next batch to hand out */
    int busy;
    size_t frame_bytes;
};

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

/* Where the sample at a place of this pass stands in the whole pass, of which others may have other parts. */
static long long place_of(const tn_loader *l, long long position)
{
    if (!l->prep.whole) return l->before + position;
    return position / l->batch * l->prep.whole + l->prep.first + position % l->batch;
}

static void set_label(const tn_loader *l, slot *s, int at, const tn_variation *v, int frame, const int size[2])
{
    float *label = s->labels + 3 * (size_t)at;
    int *stored = s->stored + 2 * (size_t)at;
    label[0] = label[1] = 0, label[2] = -1;
    stored[0] = stored[1] = 0;
    if (frame < 0) return;
    tn_vary_label(label, &l->prep, v, &l->d->f[frame], size[0], size[1]);
    stored[0] = size[0], stored[1] = size[1];
}

/* Sample i as the batch's k-th. The frames that stand for some before the clip are one, read once. */
static int make_sample(hand *h, slot *s, int k, int i, long long position, tn_error *err)
{
    tn_loader *l = h->l;
    const tn_prep *p = &l->prep;
    const tn_variation v = tn_vary(p, l->epoch, position);
    const int silent = l->frames - l->answers; /* frames without an answer of their own */
    int size[2] = {0};
    s->index[k] = i;
    for (int t = 0; t < l->frames; t++) {
        const int frame = tn_sample_frame(l->d, i, t);
        tn_image im = {p->width, p->height, s->frames + (size_t)(k * l->frames + t) * l->frame_bytes};
        if (t && frame == tn_sample_frame(l->d, i, t - 1)) {
            memcpy(im.rgb, im.rgb - l->frame_bytes, l->frame_bytes);
        } else {
            TN_TRY(tn_frame_cache_read(l->cache, h->reader, frame, &im, size, err));
            TN_TRY(tn_vary_frame(&im, p, &v, &h->room, err));
        }
        if (t >= silent) set_label(l, s, k * l->answers + t - silent, &v, tn_sample_label(l->d, i, t - silent), size);
    }
    return 0;
}

static bool can_work(const tn_loader *l)
{
    if (!l->order || l->next_sample >= l->n_order) return false;
    return l->next_sample / l->batch < l->next_out + l->n_slots - 1;
}

static void *worker(void *arg)
{
    hand *h = arg;
    tn_loader *l = h->l;
    TN_SCOPE;
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
        int rc = make_sample(h, s, (int)(pos % l->batch), l->order[pos], place_of(l, pos), &err);
        pthread_mutex_lock(&l->lock);
        l->busy--;
        if (rc) s->err = err;
        if (++s->done == s->n || !l->busy) pthread_cond_broadcast(&l->ready);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static int slot_new(slot *s, const tn_loader *l, tn_error *err)
{
    const size_t b = (size_t)l->batch, answers = b * (size_t)l->answers;
    s->number = -1;
    s->frames = malloc(b * (size_t)l->frames * l->frame_bytes);
    s->labels = malloc(answers * 3 * sizeof(float));
    s->index = malloc(b * sizeof(int));
    s->stored = malloc(answers * 2 * sizeof(int));
    return s->frames && s->labels && s->index && s->stored ? 0 : tn_oom(err);
}

static int hand_start(hand *h, tn_loader *l, tn_error *err)
{
    h->l = l;
    TN_TRY(tn_image_reader_new(&h->reader, err));
    if (!pthread_create(&h->thread, NULL, worker, h)) return 0;
    tn_image_reader_free(h->reader);
    return tn_fail(err, TN_ERR_MEMORY, "cannot start a decoding thread; lower training.data_loader.num_workers");
}

int tn_loader_new(tn_loader **out, const tn_dataset *d, const tn_prep *prep, int batch, int threads, int ahead, size_t keep_bytes,
                  tn_error *err)
{
    tn_loader *l = *out = calloc(1, sizeof *l);
    if (!l) return tn_oom(err);
    l->d = d;
    l->prep = *prep;
    l->batch = batch;
    if (threads < 1) threads = TN_MIN(tn_processors(), (int)TN_MAX_WORKERS);
    l->n_slots = TN_MAX(ahead, TN_CEIL_DIV(threads, batch)) + 2;
    l->frame_bytes = (size_t)prep->width * (size_t)prep->height * 3;
    l->frames = tn_sample_frames(d);
    l->answers = tn_sample_answers(d);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    l->slots = calloc((size_t)l->n_slots, sizeof *l->slots);
    l->hands = calloc((size_t)threads, sizeof *l->hands);
    int rc = l->slots && l->hands ? tn_frame_cache_new(&l->cache, d, prep->width, prep->height, keep_bytes, err) : tn_oom(err);
    for (int i = 0; !rc && i < l->n_slots; i++) rc = slot_new(&l->slots[i], l, err);
    while (!rc && l->n_threads < threads) {
        rc = hand_start(&l->hands[l->n_threads], l, err);
        l->n_threads += !rc;
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
    for (int i = 0; i < l->n_threads; i++) {
        pthread_join(l->hands[i].thread, NULL);
        tn_image_reader_free(l->hands[i].reader);
        tn_vary_room_free(&l->hands[i].room);
    }
    for (int i = 0; l->slots && i < l->n_slots; i++) {
        slot *s = &l->slots[i];
        free(s->frames), free(s->labels), free(s->index), free(s->stored);
    }
    tn_frame_cache_free(l->cache);
    free(l->slots);
    free(l->hands);
    free(l->order);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    free(l);
}

int tn_loader_keeps(const tn_loader *l, size_t *frame_bytes)
{
    return tn_frame_cache_keeps(l->cache, frame_bytes);
}

void tn_loader_labels_only(tn_loader *l, bool only)
{
    tn_frame_cache_sizes_only(l->cache, only);
}

int tn_loader_start(tn_loader *l, const int *order, int n, int epoch, tn_error *err)
{
    return tn_loader_start_at(l, order, n, 0, epoch, err);
}

int tn_loader_start_at(tn_loader *l, const int *order, int n, int before, int epoch, tn_error *err)
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
    l->before = before;
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
            *b = (tn_batch){s->n, s->index, s->frames, s->labels, s->stored};
        }
        l->next_out++; /* frees the slot before this one */
        pthread_cond_broadcast(&l->work);
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}
