/* Masked heatmap losses, value and slope together. p, t, dp [B, S, K] float32, mask [B, K] (one a heatmap).
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
#ifndef FOCAL
#define FOCAL 0
#endif

inline float pow_pos(float x, float e) { return x <= 0.0f ? (e == 0.0f ? 1.0f : 0.0f) : pow(x, e); }

#if WG > 1
__attribute__((reqd_work_group_size(WG, 1, 1)))
#endif
__kernel void heatmap_loss(const __global float *p, const __global float *t, const __global float *mask,
                           __global float *dp, __global float *partial, int n, int sample, float alpha, float beta,
                           const __global tn_step *step, const __global tn_optim *state)
{
    const float inv = step->inv_mask, grad_scale = state->loss_scale;
    float sum = 0.0f;
    for (int i = (int)get_global_id(0); i < n; i += ITEMS * WG) {
        const float m = mask[i / sample * HEATS + i % HEATS], x = p[i], y = t[i];
#if FOCAL
        const float s = 1.0f / (1.0f + exp(-x)), q = clamp(s, 1e-6f, 1.0f - 1e-6f), r = 1.0f - q;
        const float lq = log(q), lr = log(r), b = y == 0.0f ? 1.0f : pow_pos(1.0f - y, beta + 1.0f);
        const float qa = exp(alpha * lq), ra = exp(alpha * lr);
        sum += m * (-y * ra * lq - b * qa * lr);
        const float dq = y * ra * (alpha * lq / r - 1.0f / q) + b * qa * (1.0f / r - alpha * lr / q);
        const float inside = (s >= 1e-6f && s <= 1.0f - 1e-6f) ? s * (1.0f - s) : 0.0f;
        dp[i] = grad_scale * inv * m * dq * inside;
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
