/* Multi-head attention on Intel's matrix units (dpas.h): head width 64, 16-bit storage (ACT), float32 sums; any number of rows.
 *
 * qkv [B*N, 3*D]: q | k | v, D = heads * 64. o [B*N, D]. lse [B*heads, N]: log of the softmax's denominator.
 *
 * A sub-group owns 8*MB queries and walks over the keys, 16 at a time; there is no local memory: the sub-groups of a group read the
 * same packed keys and values, which the L1 cache holds. S = Q K^T leaves lane l with key l of every row, which makes three things
 * cheap:
 *   - P is a left operand as it stands: with 16 lanes by its layout; with 8, where a lane must give elements 2l and 2l+1, because
 *     keys l and 8+l may be called that as long as V is packed in the same order (attention.h). No lane moves anything.
 *   - a row's sum stays spread over the lanes until the end;
 *   - so does its maximum, unless a score passes its row's reference by LIMIT (float and bfloat16 hold 2^60 as well as 1; float16
 *     does not): the sub-group then raises the reference. The first 16 keys always do. */
#define VW 1
#include "common.h"
#include "words.h"
#include "dpas.h"
#define MB (SG == 16 ? 2 : 1)
#include "attention.h"
#define NEVER    (-3.0e38f)
#ifndef LIMIT
#define LIMIT (ACT == 2 ? 8.0f : 60.0f)
#endif

/* kv [B*heads][2][steps][512]: keys, then values, packed (attention.h); a word an item: (steps*1024, B*heads). */
__kernel void attn_pack(const __global ushort *restrict qkv, __global uint *restrict kv, int n, int heads)
{
    const int steps = (n + 15) / 16, id = (int)get_global_id(0), bh = (int)get_global_id(1), d = heads * 64;
    if (id >= steps * 2 * WORDS) return;
    const int part = id / (steps * WORDS), at = id % (steps * WORDS);
    const __global ushort *from = qkv + (size_t)(bh / heads) * n * 3 * d + bh % heads * 64 + (1 + part) * d;
    kv[(size_t)bh * steps * 2 * WORDS + id] = part ? down_word(from, 3 * d, at, n) : across_word(from, 3 * d, at, n);
}

inline float largest(float8 x)
{
    return fmax(fmax(fmax(x.s0, x.s1), fmax(x.s2, x.s3)), fmax(fmax(x.s4, x.s5), fmax(x.s6, x.s7)));
}

/* Items (ITEMS * ceil(N / ROWS), B*heads). */
SUB_GROUP(ITEMS) __kernel void attn_forward(const __global ushort *restrict qkv, const __global uint *restrict kv,
                                            __global ushort *restrict o, __global float *restrict lse, int n, int heads, float scale)
{
    const int lane = (int)get_sub_group_local_id(), bh = GROUP_ID(1, 1), d = heads * 64, steps = (n + 15) / 16;
    const int row0 = (GROUP_ID(0, ITEMS) * WG + (int)get_sub_group_id()) * 8 * MB;
    if (row0 >= n) return; /* whole sub-groups; there is no barrier */
    const __global ushort *rows = qkv + (size_t)(bh / heads) * n * 3 * d + bh % heads * 64;
    const __global uint *keys = kv + (size_t)bh * steps * 2 * WORDS, *values = keys + (size_t)steps * WORDS;
    const float c = scale * LOG2E;

    operand q[MB][4];
    float8 acc[MB][ACROSS], sum[MB], top[MB]; /* top: the rows' references, times log2(e) */
    EACH_BLOCK {
        load_rows(q[m], rows, 3 * d, row0 + 8 * m, n);
        UNROLL for (int j = 0; j < ACROSS; j++) acc[m][j] = (float8)(0.0f);
        sum[m] = (float8)(0.0f), top[m] = (float8)(NEVER);
    }
    for (int step = 0; step < steps; step++, keys += WORDS, values += WORDS) {
        float8 s[MB][PER_STEP];
        UNROLL for (int b = 0; b < PER_STEP; b++) {
            UNROLL for (int t = 0; t < 4; t++) {
                const int8 k = READ_BLOCK(keys + (b * 4 + t) * BLOCK);
                EACH_BLOCK s[m][b] = MAD(q[m][t], k, t ? s[m][b] : (float8)(0.0f));
            }
            const bool in = step * 16 + b * SG + lane < n;
            EACH_BLOCK s[m][b] = in ? s[m][b] * c : (float8)(NEVER);
        }
        EACH_BLOCK {
            const float8 most = PER_STEP == 2 ? fmax(s[m][0], s[m][PER_STEP - 1]) : s[m][0];
            if (sub_group_any(largest(most - top[m]) > LIMIT)) {
                float8 fix;
                UNROLL for (int r = 0; r < 8; r++) {
                    const float raised = fmax(top[m][r], sub_group_reduce_max(most[r]));
                    fix[r] = native_exp2(top[m][r] - raised);
                    top[m][r] = raised;
                }
                sum[m] *= fix;
                UNROLL for (int j = 0; j < ACROSS; j++) acc[m][j] *= fix;
            }
            UNROLL for (int b = 0; b < PER_STEP; b++) {
                s[m][b] = native_exp2(s[m][b] - top[m]); /* NEVER gives 0 */
                sum[m] += s[m][b];
            }
        }
        operand p[MB];
        EACH_BLOCK p[m] = pack_scores(s[m]);
        UNROLL for (int j = 0; j < ACROSS; j++) {
            const int8 v = READ_BLOCK(values + j * BLOCK);
            EACH_BLOCK acc[m][j] = MAD(p[m], v, acc[m][j]);
        }
    }
    EACH_BLOCK UNROLL for (int r = 0; r < 8; r++) {
        const int row = row0 + 8 * m + r;
        const float total = sub_group_reduce_add(sum[m][r]), part = 1.0f / total;
        if (row >= n) continue; /* the whole sub-group */
        line w;
        UNROLL for (int j = 0; j < ACROSS; j++) w[j] = to_word(acc[m][j][r] * part);
        STORE_LINE(o + ((size_t)(bh / heads) * n + row) * d + bh % heads * 64, w);
        if (lane == 0) lse[(size_t)bh * n + row] = (top[m][r] + native_log2(total)) * (1.0f / LOG2E);
    }
}
