/* Masked heatmap losses, value and slope together. p, t, dp [B, S, K] float32, mask [B, K] (one a heatmap).
 * LOGITS 0: the squared error. 1: with q = sigmoid(p), of p kept to +-bound, and r = 1 - q
 *   pos_weight t r^alpha (-log q) + (1 - t)^(beta + 1) q^alpha (-log r), from the logits, where no logarithm is of a rounded 0.
 * step->inv_mask = 1 / max(sum(mask), 1e-8) over the whole batch; dp = loss scale * dloss/dp.
 * partial[group]: the share of WG items in the loss (unscaled); items stride over all elements, so the sum is fixed. */
#include "common.h"
#include "step.h"
#ifndef ITEMS
#define ITEMS 1024 /* partial sums */
#endif
#ifndef WG
#define WG 1
#endif
#ifndef HEATS
#define HEATS 1 /* K */
#endif
#ifndef LOGITS
#define LOGITS 0
#endif

inline float pow_pos(float x, float e) { return x <= 0.0f ? (e == 0.0f ? 1.0f : 0.0f) : pow(x, e); }

#if WG > 1
__attribute__((reqd_work_group_size(WG, 1, 1)))
#endif
__kernel void heatmap_loss(const __global float *p, const __global float *t, const __global float *mask,
                           __global float *dp, __global float *partial, int n, int sample, float alpha, float beta,
                           float pos_weight, float bound, const __global tn_step *step, const __global tn_optim *state)
{
    const float inv = step->inv_mask, grad_scale = state->loss_scale;
    float sum = 0.0f;
    for (int i = (int)get_global_id(0); i < n; i += ITEMS * WG) {
        const float m = mask[i / sample * HEATS + i % HEATS], x = p[i], y = t[i];
#if LOGITS
        const float z = clamp(x, -bound, bound), q = 1.0f / (1.0f + exp(-z)), r = 1.0f / (1.0f + exp(z));
        const float both = log1p(exp(-fabs(z))), lq = fmin(z, 0.0f) - both, lr = fmin(-z, 0.0f) - both;
        const float pos = pos_weight * y * exp(alpha * lr);
        const float neg = (y == 0.0f ? 1.0f : pow_pos(1.0f - y, beta + 1.0f)) * exp(alpha * lq);
        sum -= m * (pos * lq + neg * lr);
        dp[i] = x == z ? grad_scale * inv * m * (pos * (alpha * q * lq - r) + neg * (q - alpha * r * lr)) : 0.0f;
#else
        const float d = x - y;
        sum += m * d * d;
        dp[i] = grad_scale * inv * m * 2.0f * d;
#endif
    }
#if WG > 1
    __local float all[WG];
    const int l = (int)get_local_id(0);
    all[l] = sum;
    for (int apart = WG / 2; apart > 0; apart /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < apart) all[l] += all[l + apart];
    }
    if (l == 0) partial[get_global_id(0) / WG] = all[0] * inv;
#else
    partial[get_global_id(0)] = sum * inv;
#endif
}
