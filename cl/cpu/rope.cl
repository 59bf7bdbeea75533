/* Rotary embedding on CPU devices, in place: arguments and results as in portable/rope.cl, HD a multiple of 32. An item walks down
 * ROWS rows, and reads a row's angles once for all its heads. */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#ifndef HD
#define HD 64
#endif
#ifndef DIR
#define DIR 1
#endif
#ifndef ROWS
#define ROWS 16
#endif
#define HALF (HD / 32) /* vectors of half a head */

/* Items: ceil(rows / ROWS). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void rope(__global act_t *qkv, const __global float2 *table, int n,
                                                                  int heads, int skip, int rows)
{
    const int p = n - skip, first = (int)get_global_id(0) * ROWS, last = min(rows, first + ROWS);
    for (int r = first; r < last; r++) {
        const int b = r / p, i = r % p;
        const __global float *turn = (const __global float *)(table + (size_t)i * (HD / 2));
        __global act_t *at = qkv + ((size_t)b * n + skip + i) * 3 * heads * HD;
        float16 c[HALF], s[HALF];
        UNROLL(j, HALF)
        {
            const float16 x = GVEC(turn, 2 * j), y = GVEC(turn, 2 * j + 1);
            c[j] = (float16)(x.even, y.even);
            s[j] = DIR * (float16)(x.odd, y.odd);
        }
        for (int part = 0; part < 2 * heads; part++, at += HD) {
            UNROLL(j, HALF)
            {
                const float16 low = LDV(ACT, at, 16 * j), high = LDV(ACT, at, HD / 2 + 16 * j);
                STV(ACT, at, 16 * j, low * c[j] - high * s[j]);
                STV(ACT, at, HD / 2 + 16 * j, high * c[j] + low * s[j]);
            }
        }
    }
}
