/* Multi-head attention on AMD's matrix units (units.h): head width 64, 16-bit storage (ACT), float32 sums; any number of rows.
 *
 * qkv [B*N, 3*D]: q | k | v, D = heads * 64. o [B*N, D]. lse [B*heads, N]: log of the softmax's denominator. A group of WAVES waves
 * owns WAVES*QB*U queries, a wave QB*U.
 *
 * Everything is transposed: S^T = K Q^T, O^T = V^T P^T, so that a lane owns one query (l % U) and has half of its keys in registers
 * (the other half of the wave has the others): maxima and sums need one exchange, and the factor of a row is one number a lane. P^T
 * is a right operand as it stands (MFMA, gfx12), since the order of the keys inside a product is free as long as V comes in the same:
 * V is turned on its way to local memory and put in that order (attention.h). Only gfx11, which wants all 16 keys in both halves, trades
 * four words with the other half, and again for the output. */
#define VW 1
#include "common.h"
#include "words.h"
#include "units.h"
#include "attention.h"
#ifndef QB
#define QB (UNIT == 12 ? 2 : 1) /* 2 spills on gfx11 */
#endif
#define ROWS  (WAVES * QB * U)
#define KT    64 /* keys a tile */
#define TURNED (KT + 8) /* words in a row of a turned tile */
#define NEVER (-3.0e38f)
#ifndef LIMIT
#define LIMIT (ACT == 2 ? 8.0f : 60.0f) /* how far a score may pass its row's reference, in powers of two */
#endif
#define EACH_BLOCK UNROLL for (int b = 0; b < QB; b++)

/* Items (ITEMS * ceil(N / ROWS), B*heads). */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
attn_forward(const __global ushort *restrict qkv, __global ushort *restrict o, __global float *restrict lse, int n, int heads,
             float scale)
{
    __local ushort k_tile[KT * PITCH] __attribute__((aligned(16))), v_tile[64 * TURNED] __attribute__((aligned(16)));
    const int id = (int)get_local_id(0), lane = id % U, half_wave = id / U % (WAVE / U), bh = GROUP_ID(1, 1);
    const int d = heads * 64, ld = 3 * d, row0 = (GROUP_ID(0, ITEMS) * WAVES + id / WAVE) * QB * U;
    const __global ushort *rows = qkv + (size_t)(bh / heads) * n * ld + bh % heads * 64;
    const float c = scale * LOG2E;

    operand q[QB][4];
    sums acc[QB][64 / U];
    float top[QB], sum[QB]; /* top: a row's reference, times log2(e); sum: this lane's part of the row's */
    EACH_BLOCK {
        const __global ushort *row = rows + (size_t)min(row0 + b * U + lane, n - 1) * ld;
        UNROLL for (int t = 0; t < 4; t++) q[b][t] = OPERAND(__global, row + 16 * t);
        UNROLL for (int i = 0; i < 64 / U; i++) acc[b][i] = (sums)(0.0f);
        top[b] = NEVER, sum[b] = 0.0f;
    }
    for (int k0 = 0; k0 < n; k0 += KT) {
        barrier(CLK_LOCAL_MEM_FENCE);
        put_straight(k_tile, rows + d, ld, k0, n, KT);
        put_turned(v_tile, rows + 2 * d, ld, k0, n, KT);
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL for (int kb = 0; kb < KT; kb += U) {
            sums s[QB];
            UNROLL for (int t = 0; t < 4; t++) {
                const operand k = OPERAND(__local, k_tile + (kb + lane) * PITCH + 16 * t);
                EACH_BLOCK s[b] = MAD(k, q[b][t], t ? s[b] : (sums)(0.0f));
            }
            operand p[QB][PARTS];
            EACH_BLOCK {
                float most = NEVER;
                UNROLL for (int e = 0; e < COUNT; e++) {
                    s[b][e] = k0 + kb + ROW_OF(e) < n ? s[b][e] * c : NEVER;
                    most = fmax(most, s[b][e]);
                }
                most = fmax(most, as_float(SWAP_HALVES(as_uint(most))));
                if (most > top[b] + LIMIT) { /* the first block always; the same in both lanes of a query */
                    const float fix = native_exp2(top[b] - most);
                    top[b] = most;
                    sum[b] *= fix;
                    UNROLL for (int i = 0; i < 64 / U; i++) acc[b][i] *= fix;
                }
                uint w[COUNT / 2];
                UNROLL for (int e = 0; e < COUNT; e += 2) {
                    const float x = native_exp2(s[b][e] - top[b]), y = native_exp2(s[b][e + 1] - top[b]); /* NEVER: 0 */
                    sum[b] += x + y;
                    w[e / 2] = to_pair(x, y);
                }
                pack_words(p[b], w, half_wave);
            }
            UNROLL for (int x = 0; x < PARTS; x++)
                UNROLL for (int i = 0; i < 64 / U; i++) {
                    const operand v = OPERAND(__local, v_tile + (i * U + lane) * TURNED + kb + 16 * x);
                    EACH_BLOCK acc[b][i] = MAD(v, p[b][x], acc[b][i]);
                }
        }
    }
    EACH_BLOCK {
        const int row = row0 + b * U + lane;
        const float total = sum[b] + as_float(SWAP_HALVES(as_uint(sum[b])));
        if (half_wave == 0 && row < n) lse[(size_t)bh * n + row] = (top[b] + native_log2(total)) * (1.0f / LOG2E);
        UNROLL for (int i = 0; i < 64 / U; i++)
            store_block(o + ((size_t)(bh / heads) * n + row) * d + bh % heads * 64 + i * U, acc[b][i], 1.0f / total, row < n,
                        half_wave);
    }
}
