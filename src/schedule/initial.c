#include "initial.h"
#include "machine.h"
#include "numeric.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static float value(const tn_slot *s, tn_rng *r, double fan)
{
    switch (s->init) {
    case TN_INIT_ONE: return 1;
    case TN_INIT_CONSTANT: return s->init_std;
    case TN_INIT_KAIMING_OUT: return (float)(tn_rng_normal(r) * (s->init_std > 0 ? s->init_std : sqrt(2 / fan)));
    case TN_INIT_UNIFORM_IN: return (float)((2 * tn_rng_uniform(r) - 1) * sqrt(3 / fan));
    case TN_INIT_LORA_GAUSSIAN: return (float)(tn_rng_normal(r) / s->rows);
    case TN_INIT_LORA_A: return (float)((2 * tn_rng_uniform(r) - 1) / sqrt(fan));
    default: return 0;
    }
}

/* ---- normal values but for those beyond two deviations ---- */

/* A normal value takes two numbers of the generator, kept or not: so it is known where draw k begins, and draws are made in parts.
 * What is kept of the parts, one behind the other, is what one thread keeps. */
enum { PART = 1 << 16, MOST = 64 };

typedef struct {
    tn_rng r; /* at the part's first draw */
    double scale;
    int draws, n; /* n: kept */
    float v[PART];
} part;

static void *draw(void *arg)
{
    part *p = arg;
    p->n = 0;
    for (int i = 0; i < p->draws; i++) {
        const double x = tn_rng_normal(&p->r);
        if (fabs(x) <= 2) p->v[p->n++] = (float)(x * p->scale);
    }
    return NULL;
}

/* Each in a thread, where threads are to be had. */
static void draw_all(part *p, int n)
{
    pthread_t t[MOST];
    bool runs[MOST] = {false};
    for (int i = 1; i < n; i++) runs[i] = !pthread_create(&t[i], NULL, draw, &p[i]);
    draw(&p[0]);
    for (int i = 1; i < n; i++) {
        if (runs[i]) pthread_join(t[i], NULL);
        else draw(&p[i]);
    }
}

static int truncated(float *v, size_t n, tn_rng r, double scale, tn_error *err)
{
    const int draws = (int)TN_MIN(n, (size_t)PART), most = TN_MIN(TN_MIN(tn_processors(), MOST), (int)TN_CEIL_DIV(n, (size_t)PART));
    part *p = malloc(sizeof *p * (size_t)most);
    if (!p) return tn_oom(err);
    for (size_t done = 0; done < n;) {
        for (int i = 0; i < most; i++) {
            p[i].r = r, p[i].draws = draws, p[i].scale = scale;
            tn_rng_skip(&r, 2 * (uint64_t)draws);
        }
        draw_all(p, most);
        for (int i = 0; i < most && done < n; i++) {
            const size_t take = TN_MIN((size_t)p[i].n, n - done);
            memcpy(v + done, p[i].v, take * sizeof *v);
            done += take;
        }
    }
    free(p);
    return 0;
}

/* [heads, levels, points, 2]: head i looks along a direction of its own, point k to the k-th square of cells around it. */
static void directions(float *v, const tn_slot *s)
{
    const int heads = s->init_fan, points = (int)s->init_std, each = s->rows * s->cols / heads;
    for (int i = 0; i < heads * each; i++) {
        const double angle = 2 * acos(-1) * (i / each) / heads, x = cos(angle), y = sin(angle);
        v[i] = (float)((i % 2 ? y : x) / fmax(fabs(x), fabs(y)) * (i / 2 % points + 1));
    }
}

void tn_inflate(float *v, const tn_slot *s)
{
    const size_t T = (size_t)s->frames, one = (size_t)s->cols / T, n = (size_t)s->rows * (size_t)s->cols;
    for (size_t r = (size_t)s->rows; r-- > 0;)
        for (size_t t = T; t-- > 0;) memmove(v + (r * T + t) * one, v + r * one, one * sizeof *v);
    for (size_t i = 0; i < n; i++) v[i] /= (float)T;
}

static int initial_of_one(float *v, const tn_slot *s, uint64_t seed, tn_error *err)
{
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    const double fan = s->init_fan > 0 ? s->init_fan : 1;
    tn_rng r = tn_rng_named(seed, s->name);
    if (s->init == TN_INIT_TRUNC) return truncated(v, n, r, s->ndim == 2 ? fmin(0.02 * sqrt(768 / fan), 0.08) : 0.02, err);
    if (s->init == TN_INIT_DIRECTIONS) directions(v, s);
    for (size_t i = 0; i < n && s->init != TN_INIT_DIRECTIONS; i++) v[i] = value(s, &r, fan);
    return 0;
}

int tn_initial(float *v, const tn_slot *s, uint64_t seed, tn_error *err)
{
    tn_slot one = *s;
    if (s->frames > 1) one.shape[1] /= s->frames, one.cols /= s->frames;
    TN_TRY(initial_of_one(v, &one, seed, err));
    if (s->frames > 1) tn_inflate(v, s);
    return 0;
}
