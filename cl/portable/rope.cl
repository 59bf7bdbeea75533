/* Rotary position embedding on q and k of qkv [B*N, 3*D], in place. table [P, HD/2] holds (cos, sin).
 * DINOv3's form: pair (k, k + HD/2); CLS and register tokens (the first `skip` of N) stay. DIR -1 is the backward. */
#include "common.h"
#ifndef HD
#define HD 64
#endif
#ifndef DIR
#define DIR 1
#endif

/* Items (HD/2, heads * 2, B * (N - skip)). */
__kernel void rope(__global act_t *qkv, const __global float2 *table, int n, int heads, int skip, int rows)
{
    const int k = (int)get_global_id(0), part = (int)get_global_id(1), r = (int)get_global_id(2);
    if (k >= HD / 2 || part >= 2 * heads || r >= rows) return;
    const int p = n - skip, b = r / p, i = r % p;
    const float2 a = table[(size_t)i * (HD / 2) + k];
    const float c = a.x, s = DIR * a.y;
    const size_t at = ((size_t)b * n + skip + i) * 3 * heads * HD + (size_t)part * HD + k;
    const float lo = LD(ACT, qkv, at), hi = LD(ACT, qkv, at + HD / 2);
    ST(ACT, qkv, at, lo * c - hi * s);
    ST(ACT, qkv, at + HD / 2, hi * c + lo * s);
}
