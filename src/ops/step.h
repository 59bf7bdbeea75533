/**
 * What changes from step to step, in two small device buffers: no kernel argument does, so that a step can be recorded once.
 * cl/shared/step.h has the same layouts.
 */
#ifndef TN_STEP_H
#define TN_STEP_H
#include <stddef.h>
#include <stdint.h>

enum { TN_OPTIM_GROUPS = 3 };

/** Written by the host, once for every micro-batch or step. */
typedef struct tn_step_constants {
    uint32_t seed;  /* of this micro-batch's dropout masks */
    float inv_mask; /* 1 / the sum of the loss's mask over the whole batch */
    float lr, weight_decay;
    float max_norm;   /* the gradient is clipped to this norm; 0: never */
    uint32_t groups;  /* bit g: group g is trained in this step */
    uint32_t scaling; /* 1: the loss scale adapts (float16) */
    uint32_t unused;
} tn_step_constants;

/** Lives on the device and is moved on by tn_clip. */
typedef struct tn_optim_state {
    float norm;       /* of the last step's gradient, unscaled */
    float factor;     /* gradients are multiplied by it: clipping, and 1 / loss_scale; 0 where the norm is not finite */
    uint32_t finite;  /* 1: the last norm was; else the last step changed nothing but the loss scale */
    uint32_t skipped; /* steps that were not finite, so far */
    float loss_scale;
    uint32_t good_steps; /* since the loss scale last changed */
    uint32_t steps[TN_OPTIM_GROUPS];
    float c1[TN_OPTIM_GROUPS], c2[TN_OPTIM_GROUPS]; /* 1 - beta1^steps, sqrt(1 - beta2^steps) */
    uint32_t unused;
} tn_optim_state;

_Static_assert(sizeof(tn_step_constants) == 32 && offsetof(tn_step_constants, max_norm) == 16 &&
                   offsetof(tn_step_constants, scaling) == 24,
               "cl/shared/step.h reads these places");
_Static_assert(sizeof(tn_optim_state) == 64 && offsetof(tn_optim_state, loss_scale) == 16 &&
                   offsetof(tn_optim_state, steps) == 24 && offsetof(tn_optim_state, c1) == 36 &&
                   offsetof(tn_optim_state, c2) == 48,
               "cl/shared/step.h reads these places");
#endif
