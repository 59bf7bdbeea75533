#include "loader.h"
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
    uint8_t *rgb;
    int stored_w, stored_h; /* of the image in its file: labels refer to it */
} kept;

typedef struct {
    pthread_t thread;
    tn_loader *l;
    tn_image_reader *reader;
} hand;

struct tn_loader {
    const tn_dataset *d;
    tn_prep prep;
    int batch, n_threads, n_slots;
    hand *hands; /* [n_threads] */
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    bool stop;
    slot *slots;
    int *order, n_order, before, epoch; /* before: frames of the pass that went before the order */
    long long next_sample, next_out;    /* next sample to take; next batch to hand out */
    int busy;
    kept *kept; /* [d->n] what is known of frames that were read; the first n_kept stay, so that no timing decides which */
    int n_kept;
    bool blind; /* sizes are enough */
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

/* Copies frame i, when it is kept already (and wanted), and the size of its stored image. */
static bool kept_frame(tn_loader *l, int i, uint8_t *rgb, int *stored_w, int *stored_h)
{
    pthread_mutex_lock(&l->lock);
    const kept k = l->kept[i];
    const bool blind = l->blind && k.stored_w;
    pthread_mutex_unlock(&l->lock);
    if (k.rgb && !blind) memcpy(rgb, k.rgb, l->frame_bytes); /* written once, freed with the loader */
    *stored_w = k.stored_w, *stored_h = k.stored_h;
    return k.rgb || blind;
}

/* Another worker may have decoded the same frame meanwhile. Memory that is not there is no failure: the frame is decoded again. */
static void keep_frame(tn_loader *l, int i, const tn_image *im, int stored_w, int stored_h)
{
    uint8_t *copy = i < l->n_kept ? malloc(l->frame_bytes) : NULL;
    if (copy) memcpy(copy, im->rgb, l->frame_bytes);
    pthread_mutex_lock(&l->lock);
    kept *k = &l->kept[i];
    k->stored_w = stored_w, k->stored_h = stored_h;
    if (!k->rgb) {
        k->rgb = copy;
        copy = NULL;
    }
    pthread_mutex_unlock(&l->lock);
    free(copy);
}

/* Frame i, resized, to im's pixels: from the kept ones, or decoded. */
static int resized(hand *h, int i, const tn_image *im, int *stored_w, int *stored_h, tn_error *err)
{
    tn_loader *l = h->l;
    if (kept_frame(l, i, im->rgb, stored_w, stored_h)) return 0;
    TN_TRY(tn_frame_read(h->reader, im, stored_w, stored_h, &l->d->f[i], err));
    keep_frame(l, i, im, *stored_w, *stored_h);
    return 0;
}

/* Where the frame at a place of this pass stands in the whole pass, of which others may have other parts. */
static long long place_of(const tn_loader *l, long long position)
{
    if (!l->prep.whole) return l->before + position;
    return position / l->batch * l->prep.whole + l->prep.first + position % l->batch;
}

static int make_sample(hand *h, slot *s, int k, int i, long long position, tn_error *err)
{
    tn_loader *l = h->l;
    const tn_prep *p = &l->prep;
    const tn_frame *f = &l->d->f[i];
    tn_image im = {p->width, p->height, s->frames + (size_t)k * l->frame_bytes};
    int stored_w, stored_h;
    TN_TRY(resized(h, i, &im, &stored_w, &stored_h, err));
    double x = f->x * p->width / stored_w, y = f->y * p->height / stored_h;
    tn_rng r = tn_rng_named(p->seed + (uint64_t)l->epoch * 7919u + (uint64_t)position * 104729u, "flip");
    if (p->flip_prob > 0 && tn_rng_uniform(&r) < p->flip_prob) {
        tn_image_flip(&im);
        x = p->width - 1 - x;
    }
    float *label = s->labels + 3 * (size_t)k;
    label[0] = (float)(x * p->heat_w / p->width);
    label[1] = (float)(y * p->heat_h / p->height);
    label[2] = f->visible ? 1 : 0;
    s->index[k] = i;
    s->stored[2 * k] = stored_w, s->stored[2 * k + 1] = stored_h;
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

static int slot_new(slot *s, size_t frame_bytes, int batch, tn_error *err)
{
    const size_t b = (size_t)batch;
    s->number = -1;
    s->frames = malloc(b * frame_bytes);
    s->labels = malloc(b * 3 * sizeof(float));
    s->index = malloc(b * sizeof(int));
    s->stored = malloc(b * 2 * sizeof(int));
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
    l->n_kept = (int)TN_MIN(keep_bytes / l->frame_bytes, (size_t)d->n);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    l->slots = calloc((size_t)l->n_slots, sizeof *l->slots);
    l->hands = calloc((size_t)threads, sizeof *l->hands);
    l->kept = calloc((size_t)d->n + 1, sizeof *l->kept);
    int rc = l->slots && l->hands && l->kept ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < l->n_slots; i++) rc = slot_new(&l->slots[i], l->frame_bytes, batch, err);
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
    }
    for (int i = 0; l->slots && i < l->n_slots; i++) {
        slot *s = &l->slots[i];
        free(s->frames), free(s->labels), free(s->index), free(s->stored);
    }
    for (int i = 0; l->kept && i < l->n_kept; i++) free(l->kept[i].rgb);
    free(l->kept);
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
    *frame_bytes = l->frame_bytes;
    return l->n_kept;
}

void tn_loader_labels_only(tn_loader *l, bool only)
{
    pthread_mutex_lock(&l->lock);
    l->blind = only;
    pthread_mutex_unlock(&l->lock);
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
