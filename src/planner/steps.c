#include "steps.h"
#include "clock.h"

#include <math.h>
#include <stdlib.h>

enum { BURSTS = 3 };
#define LEAST_BURST 0.5 /* seconds, beside which a step's start and end count little */

/* Noise, and a visible ball in each frame: zeros would flatter processors that save power. */
static int draw_frames(tn_steps *s, tn_error *err)
{
    const tn_engine *e = s->e;
    const size_t bytes = (size_t)s->most * tn_engine_image_bytes(e), labels = (size_t)s->most * (size_t)e->model->heats;
    tn_rng r = tn_rng_named(e->s->training.seed, "speed");
    s->frames = malloc(bytes);
    s->labels = malloc(labels * 3 * sizeof *s->labels);
    if (!s->frames || !s->labels) return tn_oom(err);
    for (size_t i = 0; i < bytes; i++) s->frames[i] = (uint8_t)tn_rng_below(&r, 256);
    for (size_t i = 0; i < labels; i++) {
        s->labels[3 * i] = (float)(tn_rng_uniform(&r) * e->model->heat_w);
        s->labels[3 * i + 1] = (float)(tn_rng_uniform(&r) * e->model->heat_h);
        s->labels[3 * i + 2] = 1;
    }
    return 0;
}

int tn_steps_open(tn_steps *s, tn_engine *e, int most, tn_error *err)
{
    *s = (tn_steps){.e = e, .most = most};
    TN_TRY(draw_frames(s, err));
    return tn_stepper_new(&s->stepper, e, most, NULL, NULL, err);
}

void tn_steps_close(tn_steps *s)
{
    tn_stepper_free(s->stepper);
    free(s->frames);
    free(s->labels);
    *s = (tn_steps){0};
}

int tn_steps_run(tn_steps *s, int images, int micro, int n, double *seconds, tn_error *err)
{
    const double begin = tn_now();
    for (int i = 0; i < n; i++) {
        const tn_step_job j = {.index = s->done++,
                               .batch = {.n = images, .frames = s->frames, .labels = s->labels},
                               .micro = micro,
                               .groups = tn_engine_groups(s->e),
                               .lr = 1e-6};
        TN_TRY(tn_stepper_step(s->stepper, &j, err));
    }
    TN_TRY(tn_stepper_drain(s->stepper, err));
    *seconds = (tn_now() - begin) / n;
    return 0;
}

int tn_steps_time(tn_steps *s, int images, int micro, double *seconds, tn_error *err)
{
    double took[BURSTS], one;
    for (int i = 0; i < 2; i++) TN_TRY(tn_steps_run(s, images, micro, 1, &one, err)); /* kernels are built and measured */
    const int n = (int)fmin(fmax(LEAST_BURST / fmax(one, 1e-9), 1), 1000);
    for (int i = 0; i < BURSTS; i++) TN_TRY(tn_steps_run(s, images, micro, n, &took[i], err));
    tn_sort_doubles(took, BURSTS);
    *seconds = took[BURSTS / 2];
    return 0;
}
