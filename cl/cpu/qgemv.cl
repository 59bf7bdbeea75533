/* Few tokens times a quantised matrix on a CPU: y[m, n] = sum_k x[m, k] W[n, k] (+ bias[n]). An item makes NR columns of y
 * for M tokens, sixteen products at once; RUN elements lie in one block, and RUN divides K. x is dense. */
#define VW 16
#include "common.h"
#include "quant.h"
#include "codes.h"
#pragma OPENCL FP_CONTRACT ON
#ifndef RUN
#define RUN 64
#endif
#ifndef NR
#define NR 4
#endif
#ifndef M
#define M 1
#endif

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void qgemv(const __global act_t *x, const __global uchar *packed, const __global scale_t *scales,
           const __global float *nested, const __global uchar *zeros, const __global float *tables, float offset, uint block,
           const __global float *bias, __global act_t *y, uint y_off, int y_ld, int N, int K, int biased)
{
    const float16 code = vload16(0, tables);
    const int first = (int)get_global_id(0) * NR;
    size_t row[NR];
    float16 acc[M][NR];
    for (int r = 0; r < NR; r++) row[r] = (size_t)min(first + r, N - 1) * K;
    for (int m = 0; m < M; m++)
        for (int r = 0; r < NR; r++) acc[m][r] = (float16)(0.0f);
    for (int k = 0; k < K; k += RUN) {
        float scale[NR], zero[NR];
        for (int r = 0; r < NR; r++) {
            const uint b = (uint)(row[r] + k) / block;
            scale[r] = block_scale(scales, nested, tables, offset, b);
            zero[r] = block_zero(zeros, b);
        }
        for (int i = k; i < k + RUN; i += 16) {
            float16 w[NR];
            for (int r = 0; r < NR; r++) w[r] = values16(packed, row[r] + i, code, tables + PAIRS_AT, scale[r], zero[r]);
            for (int m = 0; m < M; m++) {
                const float16 v = LDV(ACT, x, (size_t)m * K + i);
                for (int r = 0; r < NR; r++) acc[m][r] += w[r] * v;
            }
        }
    }
    for (int r = 0; r < NR && first + r < N; r++)
        for (int m = 0; m < M; m++) {
            float v = HSUM(acc[m][r]);
            if (biased) v += bias[first + r];
            ST(ACT, y, y_off + (size_t)m * y_ld + first + r, v);
        }
}
