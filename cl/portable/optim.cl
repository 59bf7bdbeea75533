/* Optimiser steps over flat float32 ranges, decoupled weight decay (Loshchilov & Hutter; torch/optim/adamw.py). The range's
 * copy in the storage type SHADOW (0: none) is written along. `rate` multiplies the step's learning rate (LoRA+). The gradient is
 * left zero, for the next step's to be added to. Clipping and counting: grad_norm, then clip. */
#include "common.h"
#include "step.h"
#ifndef SHADOW
#define SHADOW 0
#endif
#ifndef WG
#define WG 64
#endif
#if SHADOW
#define P_SHADOW       , __global ushort *shadow
#define KEEP_SHADOW(v) ST(SHADOW, shadow, i, v);
#else
#define P_SHADOW
#define KEEP_SHADOW(v)
#endif

/* Items (n). A step that is not finite leaves everything but the gradient as it is. All is read before anything is written, or one
 * load would wait for another. */
__kernel void adamw(__global float *restrict p, __global float *restrict g, __global float *restrict m, __global float *restrict v,
                    uint off, uint n, int group, const __global tn_step *restrict step, const __global tn_optim *restrict state,
                    float beta1, float beta2, float eps, float rate P_SHADOW)
{
    size_t i = get_global_id(0);
    if (i >= (size_t)n) return;
    i += off;
    const float d = g[i] * state->factor, lr = rate * step->lr;
    const float a = beta1 * m[i] + (1.0f - beta1) * d, b = beta2 * v[i] + (1.0f - beta2) * d * d;
    const float w = p[i] * (1.0f - lr * step->weight_decay) - lr / state->c1[group] * (a / (sqrt(b) / state->c2[group] + eps));
    const uint finite = state->finite;
    g[i] = 0.0f;
    if (!finite) return;
    m[i] = a;
    v[i] = b;
    p[i] = w;
    KEEP_SHADOW(w)
}

/* torch.optim.SGD: g += decay*p; buf = momentum*buf + g (first step: g). Items (n). */
__kernel void sgd(__global float *p, __global float *g, __global float *buf, uint off, uint n, int group,
                  const __global tn_step *step, const __global tn_optim *state, float momentum, float rate P_SHADOW)
{
    size_t i = get_global_id(0);
    if (i >= (size_t)n) return;
    i += off;
    float d = g[i] * state->factor + step->weight_decay * p[i];
    g[i] = 0.0f;
    if (!state->finite) return;
    if (momentum != 0.0f) {
        d = state->steps[group] == 1 ? d : momentum * buf[i] + d;
        buf[i] = d;
    }
    const float w = p[i] - rate * step->lr * d;
    p[i] = w;
    KEEP_SHADOW(w)
}

/* The sum over a group of WG. */
inline float tree(float s, __local float *sums)
{
    const uint l = (uint)get_local_id(0);
    sums[l] = s;
    for (uint half_ = WG / 2; half_; half_ /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < half_) sums[l] += sums[l + half_];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return sums[0];
}

/* partial[group] = sum of squares of its `chunk` elements, added as a tree. Groups of WG. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void grad_norm(const __global float *g, __global float *partial, uint off, uint n, uint chunk)
{
    __local float sums[WG];
    const uint l = (uint)get_local_id(0), group = (uint)(get_global_id(0) / WG);
    const uint begin = min(n, group * chunk), end = n - begin > chunk ? begin + chunk : n;
    float s = 0.0f;
    for (uint i = begin + l; i < end; i += WG) s = fma(g[(size_t)off + i], g[(size_t)off + i], s);
    s = tree(s, sums);
    if (l == 0) partial[group] = s;
}

/* A group of WG: the norm, what it means for this step, and each group's count and bias corrections. log_beta: logarithms of Adam's
 * betas. The loss scale moves as torch.amp.GradScaler's: half after an overflow, double after 2000 good steps. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void clip(const __global float *partial, int parts, const __global tn_step *step, __global tn_optim *state,
          float log_beta1, float log_beta2)
{
    __local float sums[WG];
    float sum = 0.0f, lost = 0.0f; /* Kahan's sum */
    for (int i = (int)get_local_id(0); i < parts; i += WG) {
        const float y = partial[i] - lost, t = sum + y;
        lost = (t - sum) - y;
        sum = t;
    }
    sum = tree(sum, sums);
    if (get_local_id(0)) return;
    const float scale = state->loss_scale, norm = sqrt(sum) / scale;
    const uint finite = isfinite(sum) && isfinite(norm);
    float factor = 1.0f / scale;
    if (step->max_norm > 0.0f) factor *= fmin(1.0f, step->max_norm / (norm + 1e-6f));
    state->norm = norm;
    state->factor = finite ? factor : 0.0f;
    state->finite = finite;
    state->skipped += !finite;
    for (int k = 0; k < 3; k++) {
        const uint t = state->steps[k] + (finite && (step->groups >> k & 1u));
        state->steps[k] = t;
        state->c1[k] = -expm1((float)t * log_beta1);
        state->c2[k] = sqrt(-expm1((float)t * log_beta2));
    }
    if (!step->scaling) return;
    const uint good = finite ? state->good_steps + 1 : 0;
    const bool grow = good == 2000;
    state->good_steps = grow ? 0 : good;
    if (!finite) state->loss_scale = fmax(scale * 0.5f, 1.0f);
    else if (grow) state->loss_scale = fmin(scale * 2.0f, 16777216.0f);
}
