/* Patches, the token sequence [CLS, registers, patches], and the way back to a grid. */
#define WHOLE 1
#include "common.h"

/* pixels [B,T*3,H,W] float32, T frames of a sample -> cols [B*P, T*3*p*p], columns ordered (frame, channel, y, x) as a
 * convolution's weight is. An item copies one line of a patch. Items (T*3*p, B*P). */
__kernel void patchify(const __global float *pixels, __global act_t *cols, int height, int width, int patch, int rows, int frames)
{
    const int line = (int)get_global_id(0), r = (int)get_global_id(1), lines = frames * 3 * patch;
    if (line >= lines || r >= rows) return;
    const int gw = width / patch, gh = height / patch, b = r / (gw * gh), i = r % (gw * gh);
    const int c = line / patch, y = (i / gw) * patch + line % patch, x = (i % gw) * patch;
    const __global float *from = pixels + (((size_t)b * 3 * frames + c) * height + y) * width + x;
    const size_t to = ((size_t)r * lines + line) * patch;
    for (int k = 0; k < patch; k++) ST(ACT, cols, to + k, from[k]);
}

/* The same from frames [B,T,H,W,3] of RGB bytes, to [0,1] and, with `normalize`, by ImageNet's mean and deviation; PATCH is known,
 * and an item copies `each` lines. Items (T*3*PATCH / each, B*P). */
__constant float MEAN[3] = {0.485f, 0.456f, 0.406f};
__constant float DEVIATION[3] = {0.229f, 0.224f, 0.225f};
#ifdef PATCH
__kernel void patchify_bytes(const __global uchar *bytes, __global act_t *cols, int height, int width, int rows, int frames,
                             int normalize, int each)
{
    const int r = (int)get_global_id(1), lines = frames * 3 * PATCH, begin = (int)get_global_id(0) * each;
    if (begin >= lines || r >= rows) return;
    const int gw = width / PATCH, gh = height / PATCH, b = r / (gw * gh), i = r % (gw * gh), y = i / gw * PATCH, x = i % gw * PATCH;
    const __global uchar *corner = bytes + (((size_t)b * frames * height + y) * width + x) * 3;
    for (int line = begin; line < min(lines, begin + each); line++) {
        const int c = line / PATCH % 3;
        const float s = normalize ? 1.0f / DEVIATION[c] : 1.0f, m = normalize ? -MEAN[c] * s : 0.0f;
        const __global uchar *from = corner + ((size_t)(line / (3 * PATCH)) * height + line % PATCH) * width * 3 + c;
        const size_t to = ((size_t)r * lines + line) * PATCH;
        for (int k = 0; k < PATCH; k++) ST(ACT, cols, to + k, (float)from[3 * k] * (s / 255.0f) + m);
    }
}
#endif

/* The bytes again for CPUs and patches whose lines are whole vectors of 16 pixels: an item takes a patch. Items (1, B*P). */
#if defined(PATCH) && VW == 16
inline void split_channels(float16 v[3], const __global uchar *p)
{
    const uchar16 a = vload16(0, p), b = vload16(1, p), c = vload16(2, p);
    v[0] = convert_float16((uchar16)(a.s0369, a.scf, b.s258b, b.se, c.s147a, c.sd));
    v[1] = convert_float16((uchar16)(a.s147a, a.sd, b.s0369, b.scf, c.s258b, c.se));
    v[2] = convert_float16((uchar16)(a.s258b, a.se, b.s147a, b.sd, c.s0369, c.scf));
}

__kernel void patchify_vectors(const __global uchar *bytes, __global act_t *cols, int height, int width, int rows, int frames,
                               int normalize)
{
    const int r = (int)get_global_id(1), gw = width / PATCH, gh = height / PATCH, b = r / (gw * gh), i = r % (gw * gh);
    if (get_global_id(0) || r >= rows) return;
    const __global uchar *corner = bytes + (((size_t)b * frames * height + i / gw * PATCH) * width + i % gw * PATCH) * 3;
    for (int line = 0; line < frames * PATCH; line++) {
        const int f = line / PATCH, y = line % PATCH;
        for (int x = 0; x < PATCH; x += 16) {
            float16 v[3];
            split_channels(v, corner + (((size_t)f * height + y) * width + x) * 3);
            for (int c = 0; c < 3; c++) {
                const float s = normalize ? 1.0f / DEVIATION[c] : 1.0f, m = normalize ? -MEAN[c] * s : 0.0f;
                STV(ACT, cols, ((((size_t)r * frames + f) * 3 + c) * PATCH + y) * PATCH + x, v[c] * (s / 255.0f) + m);
            }
        }
    }
}
#endif

/* The bytes again for GPUs and patches whose lines are whole runs of VW = 8 pixels: an item takes a run in all three channels.
 * Items (B*P*T * runs of a patch, all lines). */
#ifdef RUNS
#define PATCH_LINE (RUNS * 8)
#define RUNS_PATCH (RUNS * PATCH_LINE)
__kernel void patchify_runs(const __global uchar *restrict bytes, __global act_t *restrict cols, int height, int width, int rows,
                            int frames, int normalize)
{
    const int item = (int)get_global_id(0), part = item / RUNS_PATCH, i = item % RUNS_PATCH, r = part / frames;
    if (r >= rows) return;
    const int gw = width / PATCH_LINE, patches = height / PATCH_LINE * gw, b = r / patches, p = r % patches;
    const int image = b * frames + part % frames;
    const int y = p / gw * PATCH_LINE + i / RUNS, x = p % gw * PATCH_LINE + i % RUNS * 8;
    const __global uint2 *from = (const __global uint2 *)(bytes + (((size_t)image * height + y) * width + x) * 3);
    const uint2 q[3] = {from[0], from[1], from[2]};
    const uint w[6] = {q[0].x, q[0].y, q[1].x, q[1].y, q[2].x, q[2].y};
    __global act_t *to = cols + ((size_t)part * 3 * RUNS_PATCH + i) * 8;
#pragma unroll
    for (int c = 0; c < 3; c++) {
        const float s = normalize ? 1.0f / DEVIATION[c] : 1.0f, m = normalize ? -MEAN[c] * s : 0.0f;
        float v[8];
#pragma unroll
        for (int k = 0; k < 8; k++) v[k] = (float)(w[(3 * k + c) / 4] >> (3 * k + c) % 4 * 8 & 255u) * (s / 255.0f) + m;
        STV(ACT, to, c * RUNS_PATCH * 8, (float8)(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]));
    }
}
#endif

/* patches [B*P, D] -> x [B*N, D], placed: a position embedding [1 + P, D] is added to CLS and patches; that is known when this is
 * compiled. Items (D / VW, B*N). */
inline void join(int placed, const __global act_t *patches, const __global float *cls, const __global float *registers,
                 const __global float *pos, __global act_t *x, int n, int n_reg, int d, int rows)
{
    const int c = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (c >= d || r >= rows) return;
    const int b = r / n, t = r % n, first = 1 + n_reg;
    vec v;
    if (t == 0) v = LDV(0, cls, c);
    else if (t < first) v = LDV(0, registers, (size_t)(t - 1) * d + c);
    else v = LDV(ACT, patches, ((size_t)b * (n - first) + t - first) * d + c);
    if (placed && t == 0) v += LDV(0, pos, c);
    if (placed && t >= first) v += LDV(0, pos, (size_t)(t - n_reg) * d + c);
    STV(ACT, x, (size_t)r * d + c, v);
}

__kernel void tokens_forward(const __global act_t *patches, const __global float *cls, const __global float *registers,
                             const __global float *pos, __global act_t *x, int n, int n_reg, int d, int rows)
{
    join(0, patches, cls, registers, pos, x, n, n_reg, d, rows);
}

__kernel void tokens_forward_placed(const __global act_t *patches, const __global float *cls, const __global float *registers,
                                    const __global float *pos, __global act_t *x, int n, int n_reg, int d, int rows)
{
    join(1, patches, cls, registers, pos, x, n, n_reg, d, rows);
}

/* x [B*N, D] -> grid [B*P, D]: tokens skip to skip + P - 1. Items (D / VW, B*P). Also the backward of tokens towards the patches.
 */
__kernel void grid_forward(const __global act_t *x, __global act_t *grid, int n, int skip, int p, int d, int rows)
{
    const int c = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (c >= d || r >= rows) return;
    STV(ACT, grid, (size_t)r * d + c, LDV(ACT, x, ((size_t)(r / p) * n + skip + r % p) * d + c));
}

/* dx [B*N, D]: dgrid for those tokens, zero for the others. Items (D / VW, B*N). */
__kernel void grid_backward(const __global act_t *dgrid, __global act_t *dx, int n, int skip, int p, int d, int rows)
{
    const int c = (int)get_global_id(0) * VW, r = (int)get_global_id(1), t = r % n - skip;
    if (c >= d || r >= rows) return;
    vec v = TO_VEC(0.0f);
    if (t >= 0 && t < p) v = LDV(ACT, dgrid, ((size_t)(r / n) * p + t) * d + c);
    STV(ACT, dx, (size_t)r * d + c, v);
}

/* grid in those tokens of x, or added to them; the others stay. Items (D / VW, B*P). */
__kernel void grid_put(const __global act_t *grid, __global act_t *x, int n, int skip, int p, int d, int rows, int add)
{
    const int c = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (c >= d || r >= rows) return;
    const size_t to = ((size_t)(r / p) * n + skip + r % p) * d + c;
    const vec v = LDV(ACT, grid, (size_t)r * d + c);
    STV(ACT, x, to, add ? v + LDV(ACT, x, to) : v);
}

/* y = x + pos in every sample: x, y [B*N, D], pos [N, D] float32. Items (D / VW, B*N). */
__kernel void add_positions(const __global act_t *x, const __global float *pos, __global act_t *y, int n, int d, int rows)
{
    const int c = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (c >= d || r >= rows) return;
    STV(ACT, y, (size_t)r * d + c, LDV(ACT, x, (size_t)r * d + c) + LDV(0, pos, (size_t)(r % n) * d + c));
}

/* out[i, c] += sum over samples of dx[b, first + i, c]: CLS, registers, positions. Items (D, count). */
__kernel void token_grad(const __global act_t *dx, __global float *out, int batch, int n, int first, int count, int d)
{
    const int c = (int)get_global_id(0), i = (int)get_global_id(1);
    if (c >= d || i >= count) return;
    float s = 0.0f;
    for (int b = 0; b < batch; b++) s += LD(ACT, dx, ((size_t)b * n + first + i) * d + c);
    out[(size_t)i * d + c] += s;
}
