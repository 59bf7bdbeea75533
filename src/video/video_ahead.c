/* A thread that decodes while the device computes. */
#include "scope.h"
#include "video_files.h"

#include <pthread.h>
#include <stdlib.h>

struct tn_video_ahead {
    tn_video_in *v;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    tn_video_frame *ring; /* [depth] */
    int depth, first, n;
    bool end, stop; /* the thread has no more; it shall end */
    int rc;         /* why it has no more, or 0 */
    tn_error err;
};

/* Waits for a free place; false: the reader is gone. */
static bool ahead_wait_room(tn_video_ahead *a)
{
    pthread_mutex_lock(&a->lock);
    while (a->n == a->depth && !a->stop) pthread_cond_wait(&a->changed, &a->lock);
    const bool go = !a->stop;
    pthread_mutex_unlock(&a->lock);
    return go;
}

static void *ahead_run(void *user)
{
    TN_SCOPE;
    tn_video_ahead *a = user;
    bool end = false;
    while (!end && ahead_wait_room(a)) {
        tn_video_frame f = {0};
        tn_error err = {0};
        const int rc = tn_video_next(a->v, &f, &end, &err);
        pthread_mutex_lock(&a->lock);
        if (rc) a->rc = rc, a->err = err, end = true;
        if (!end) a->ring[(a->first + a->n++) % a->depth] = f;
        else a->end = true;
        pthread_cond_signal(&a->changed);
        pthread_mutex_unlock(&a->lock);
    }
    return NULL;
}

int tn_video_ahead_start(tn_video_ahead **out, tn_video_in *v, int depth, tn_error *err)
{
    *out = NULL;
    tn_video_ahead *a = calloc(1, sizeof *a);
    if (!a) return tn_oom(err);
    *a = (tn_video_ahead){.v = v, .depth = depth, .ring = calloc((size_t)depth, sizeof *a->ring)};
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    if (a->ring && !pthread_create(&a->thread, NULL, ahead_run, a)) return *out = a, 0;
    free(a->ring);
    free(a);
    return tn_fail(err, TN_ERR_MEMORY, "no thread or memory to decode frames with");
}

int tn_video_ahead_next(tn_video_ahead *a, tn_video_frame *f, bool *end, tn_error *err)
{
    int rc = 0;
    pthread_mutex_lock(&a->lock);
    while (!a->n && !a->end) pthread_cond_wait(&a->changed, &a->lock);
    *end = !a->n;
    if (a->n) {
        *f = a->ring[a->first];
        a->first = (a->first + 1) % a->depth;
        a->n--;
    } else if (a->rc) {
        rc = a->rc;
        *err = a->err;
    }
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
    return rc;
}

void tn_video_ahead_stop(tn_video_ahead *a)
{
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    for (; a->n; a->n--, a->first = (a->first + 1) % a->depth) free(a->ring[a->first].rgb);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->changed);
    free(a->ring);
    free(a);
}
