/* Global response normalisation (ConvNeXt V2): y = x + gamma * (x * N) + beta. Of sample b and channel c, G is the Euclidean norm of
 * x over the positions and N = G / (mean of G over the channels + eps); norms [2B, C] has N in row b and G in row B + b. */
#define WHOLE 1
#include "common.h"
#include "row_sum.h"

/* From sums [B, C] of squares. A group takes a sample: items (WG * B), and no group more: PoCL 3.1 writes astray where these kernels
 * return before a barrier. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void grn_norms(const __global float *sums, __global float *norms, int C, int batch, float eps)
{
    SHARED
    const size_t b = get_global_id(0) / WG;
    __global float *N = norms + b * C, *G = N + (size_t)batch * C;
    float s = 0.0f;
    for (int c = (int)get_local_id(0); c < C; c += WG) s += G[c] = sqrt(sums[b * C + c]);
    const float inv = 1.0f / (ROW_SUM(s) / C + eps);
    for (int c = (int)get_local_id(0); c < C; c += WG) N[c] = G[c] * inv;
}

/* slopes [B, C]: x's factor in dx, which is the gradient of G over G; from sums [B, C] of dy * x. Items as above. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void grn_slopes(const __global float *sums, const __global float *norms, const __global float *gamma, __global float *slopes, int C,
                int batch, float eps)
{
    SHARED
    const size_t b = get_global_id(0) / WG;
    const __global float *G = norms + ((size_t)batch + b) * C, *s = sums + b * C;
    float norm = 0.0f, dot = 0.0f;
    for (int c = (int)get_local_id(0); c < C; c += WG) {
        norm += G[c];
        dot += gamma[c] * s[c] * G[c];
    }
    const float inv = 1.0f / (ROW_SUM(norm) / C + eps), all = ROW_SUM(dot) / C * inv;
    for (int c = (int)get_local_id(0); c < C; c += WG)
        slopes[b * C + c] = G[c] > 0.0f ? (gamma[c] * s[c] - all) * inv / G[c] : 0.0f;
}

#define COLUMN (g % ((uint)C / VW) * VW)                         /* item g's first channel */
#define SAMPLE ((size_t)(g / ((uint)C / VW) / (uint)sample_rows) * C) /* where its sample's channels begin */

/* y may be x. An item takes VW channels of a row, n items. */
__kernel void grn_forward(const __global act_t *x, const __global float *norms, const __global float *gamma,
                          const __global float *beta, __global act_t *y, int C, int sample_rows, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g >= (uint)n) return;
    const vec k = 1.0f + LDV(0, gamma, COLUMN) * LDV(0, norms, SAMPLE + COLUMN);
    STV(ACT, y, i, LDV(ACT, x, i) * k + LDV(0, beta, COLUMN));
}

/* dx may be dy. */
__kernel void grn_backward(const __global act_t *x, const __global float *norms, const __global float *gamma,
                           const __global float *slopes, const __global act_t *dy, __global act_t *dx, int C, int sample_rows, int n)
{
    const uint g = (uint)get_global_id(0);
    const size_t i = (size_t)g * VW;
    if (g >= (uint)n) return;
    const vec k = 1.0f + LDV(0, gamma, COLUMN) * LDV(0, norms, SAMPLE + COLUMN);
    STV(ACT, dx, i, LDV(ACT, dy, i) * k + LDV(ACT, x, i) * LDV(0, slopes, SAMPLE + COLUMN));
}
