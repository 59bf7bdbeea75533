/* Optimiser steps over flat float32 ranges, decoupled weight decay (Loshchilov & Hutter; torch/optim/adamw.py). */
#include "common.h"
#ifndef ITEMS
#define ITEMS 1024 /* that share a sum */
#endif

/* c1 = 1 - beta1^t, c2 = sqrt(1 - beta2^t); g_scale holds clipping and the loss scale. Items (n). */
__kernel void adamw(__global float *p, const __global float *g, __global float *m, __global float *v, uint off, int n,
                    float lr, float decay, float beta1, float beta2, float eps, float c1, float c2, float g_scale)
{
    size_t i = get_global_id(0);
    if (i >= (size_t)n) return;
    i += off;
    const float d = g[i] * g_scale;
    const float a = beta1 * m[i] + (1.0f - beta1) * d, b = beta2 * v[i] + (1.0f - beta2) * d * d;
    m[i] = a;
    v[i] = b;
    p[i] = p[i] * (1.0f - lr * decay) - lr / c1 * (a / (sqrt(b) / c2 + eps));
}

/* torch.optim.SGD: g += decay*p; buf = momentum*buf + g (first step: g). Items (n). */
__kernel void sgd(__global float *p, const __global float *g, __global float *buf, uint off, int n, float lr,
                  float decay, float momentum, int first, float g_scale)
{
    size_t i = get_global_id(0);
    if (i >= (size_t)n) return;
    i += off;
    float d = g[i] * g_scale + decay * p[i];
    if (momentum != 0.0f) {
        d = first ? d : momentum * buf[i] + d;
        buf[i] = d;
    }
    p[i] -= lr * d;
}

/* partial[item] = sum of squares of every items-th element. */
__kernel void sum_squares(const __global float *g, __global float *partial, uint off, int n)
{
    float s = 0.0f;
    for (size_t i = get_global_id(0); i < (size_t)n; i += ITEMS) s = fma(g[off + i], g[off + i], s);
    partial[get_global_id(0)] = s;
}
