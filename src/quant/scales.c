/* Scales: bitsandbytes' double quantisation to the bit, and the small floats of MXFP4 and NVFP4. */
#include "quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int scales_by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* torch.linspace(0.1, 1, n) in float32: from both ends, each product with one rounding. */
static float linspace(int n, int i)
{
    const float step = (1.0f - 0.1f) / (float)(n - 1);
    if (i < n / 2) return (float)((double)0.1f + (double)step * i);
    return (float)(1.0 - (double)step * (n - 1 - i));
}

void tn_dynamic_map(float map[256])
{
    int n = 0;
    for (int i = 0; i < 7; i++) {
        const float power = (float)pow(10, i - 6);
        const int steps = (1 << i) + 1;
        for (int k = 0; k + 1 < steps; k++) {
            const float mean = (linspace(steps, k) + linspace(steps, k + 1)) / 2.0f;
            map[n++] = power * mean;
            map[n++] = -power * mean;
        }
    }
    map[n++] = 0;
    map[n++] = 1;
    qsort(map, (size_t)n, sizeof *map, scales_by_value);
}

/* ---- torch's cascading sum: 8 lanes, 4 rows, 4 levels ---- */

enum { LANES = 8, ROWS = 4, LEVELS = 4, TORCH_GRAIN = 32768 };

static void scales_add_row(float *acc, const float *x)
{
    for (int i = 0; i < ROWS * LANES; i++) acc[i] += x[i];
}

static int ceil_log2(size_t n)
{
    int k = 0;
    while (((size_t)1 << k) < n) k++;
    return k;
}

static void cascade(float acc[LEVELS][ROWS * LANES], const float *x, size_t size)
{
    const int power = TN_MAX(4, ceil_log2(size) / LEVELS);
    const size_t step = (size_t)1 << power;
    size_t i = 0;
    memset(acc, 0, sizeof(float) * LEVELS * ROWS * LANES);
    while (i + step <= size) {
        for (size_t j = 0; j < step; j++, i++) scales_add_row(acc[0], x + i * ROWS * LANES);
        for (int j = 1; j < LEVELS; j++) {
            scales_add_row(acc[j], acc[j - 1]);
            memset(acc[j - 1], 0, sizeof acc[j - 1]);
            if (i & ((step - 1) << (j * power))) break;
        }
    }
    for (; i < size; i++) scales_add_row(acc[0], x + i * ROWS * LANES);
    for (int j = 1; j < LEVELS; j++) scales_add_row(acc[0], acc[j]);
}

static float torch_sum(const float *x, size_t n)
{
    float acc[LEVELS][ROWS * LANES], sum = 0;
    const size_t vectors = n / LANES, rows = vectors / ROWS;
    cascade(acc, x, rows);
    for (size_t v = rows * ROWS; v < vectors; v++)
        for (int i = 0; i < LANES; i++) acc[0][i] += x[v * LANES + (size_t)i];
    for (int r = 1; r < ROWS; r++)
        for (int i = 0; i < LANES; i++) acc[0][i] += acc[0][r * LANES + i];
    for (size_t k = vectors * LANES; k < n; k++) sum += x[k];
    for (int i = 0; i < LANES; i++) sum += acc[0][i];
    return sum;
}

/* torch.mean of a float32 vector on a CPU, to the bit (two threads above 32,768 elements). */
static float torch_mean(const float *x, size_t n)
{
    if (n <= TORCH_GRAIN) return torch_sum(x, n) / (float)n;
    const size_t half = (n + 1) / 2;
    return (torch_sum(x, half) + torch_sum(x + half, n - half)) / (float)n;
}

/* ---- double quantisation ---- */

static uint8_t nearest(const float map[256], float u)
{
    int lo = 0, hi = 255;
    while (lo < hi) {
        int m = (lo + hi) / 2;
        if (u > (map[m] + map[m + 1]) / 2.0f) lo = m + 1;
        else hi = m;
    }
    return (uint8_t)lo;
}

/* bitsandbytes' CPU code rounds u to one of 65,536 steps before it looks the code up. */
static uint8_t nested_code(const float map[256], float u)
{
    if (isnan(u)) return 0;
    u = fminf(fmaxf(u, -1), 1);
    const float index = floorf((u + 1.0f) * 32767.5f + 0.5f);
    return nearest(map, 2.0f * (index / 65535.0f) - 1.0f);
}

void tn_nest_scales(tn_qmatrix *q, const float *absmax)
{
    float map[256];
    tn_dynamic_map(map);
    q->offset = torch_mean(absmax, q->n_blocks);
    for (size_t b = 0; b * TN_NESTED_BLOCK < q->n_blocks; b++) {
        const size_t first = b * TN_NESTED_BLOCK, end = TN_MIN(first + TN_NESTED_BLOCK, q->n_blocks);
        float top = 0;
        for (size_t i = first; i < end; i++) top = fmaxf(top, fabsf(absmax[i] - q->offset));
        q->nested_absmax[b] = top;
        const float inv = 1.0f / top;
        for (size_t i = first; i < end; i++) q->scale_q[i] = nested_code(map, (absmax[i] - q->offset) * inv);
    }
}

/* ---- small floats ---- */

float tn_e8m0_to_f32(uint8_t e)
{
    return ldexpf(1, (int)e - 127);
}

float tn_e4m3_to_f32(uint8_t v)
{
    const int e = (v >> 3) & 15, m = v & 7;
    if ((v & 127) == 127) return NAN;
    return (v & 128 ? -1.0f : 1.0f) * (e ? ldexpf(8 + (float)m, e - 10) : ldexpf((float)m, -9));
}

uint8_t tn_f32_to_e4m3(float x)
{
    if (!(x < 464)) return 126; /* 448, also for what rounds beyond it */
    int e;
    frexpf(x, &e);
    const int step = TN_MAX(e - 4, -9); /* exponent of the last mantissa bit */
    const float n = rintf(ldexpf(x, -step));
    const float back = ldexpf(n, step);
    if (back >= 448) return 126;
    if (back < 0x1p-6f) return (uint8_t)(back * 512);
    frexpf(back, &e);
    return (uint8_t)(((e + 6) << 3) | ((int)ldexpf(back, 4 - e) & 7));
}

float tn_qmatrix_scale(const tn_qmatrix *q, const float map[256], size_t b)
{
    switch (tn_qscale_of(&q->s)) {
    case TN_QS_NESTED: return map[q->scale_q[b]] * q->nested_absmax[b / TN_NESTED_BLOCK] + q->offset;
    case TN_QS_E8M0: return tn_e8m0_to_f32(q->scale_q[b]);
    case TN_QS_E4M3: return tn_e4m3_to_f32(q->scale_q[b]) * q->offset;
    default: return q->absmax[b];
    }
}
