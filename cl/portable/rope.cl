/* Rotary position embedding on q and k of qkv [B*N, 3*D], in place. table [P, HD/2] holds (cos, sin).
 * DINOv3's form: pair (k, k + HD/2); CLS and register tokens (the first `skip` of N) stay. DIR -1 is the backward. */
#define WHOLE 1
#include "common.h"
#ifndef HD
#define HD 64
#endif
#ifndef DIR
#define DIR 1
#endif

/* An item turns VW pairs. Items (HD/2 / VW * heads * 2, B * (N - skip)). */
__kernel void rope(__global act_t *qkv, const __global float2 *table, int n, int heads, int skip, int rows)
{
    const int g = (int)get_global_id(0), k = g % (HD / 2 / VW) * VW, part = g / (HD / 2 / VW), r = (int)get_global_id(1);
    if (part >= 2 * heads || r >= rows) return;
    const int p = n - skip, b = r / p, i = r % p;
    const __global float2 *turn = table + (size_t)i * (HD / 2) + k;
#if VW == 1
    const float c = turn[0].x, s = DIR * turn[0].y;
#else
    float x[VW], y[VW];
    for (int j = 0; j < VW; j++) {
        x[j] = turn[j].x;
        y[j] = DIR * turn[j].y;
    }
    const vec c = CAT(vload, VW)(0, x), s = CAT(vload, VW)(0, y);
#endif
    const size_t at = (((size_t)b * n + skip + i) * 3 * heads + part) * HD + k;
    const vec lo = LDV(ACT, qkv, at), hi = LDV(ACT, qkv, at + HD / 2);
    STV(ACT, qkv, at, lo * c - hi * s);
    STV(ACT, qkv, at + HD / 2, hi * c + lo * s);
}
