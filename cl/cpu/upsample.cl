/* Bilinear doubling on CPU devices, channels last: x [B*h*w, C], y [B*2h*2w, C], C a multiple of 16 (weights 1/4 and 3/4; beyond the
 * border the border once more). An item takes `span` rows of one small image and walks memory as it lies. OUT: storage type of the
 * large side. */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#ifndef OUT
#define OUT ACT
#endif

/* Items (runs, B). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void upsample_forward(const __global act_t *x, __global TYPE(OUT) *y, int h,
                                                                              int w, int C, int span)
{
    const int first = 2 * (int)get_global_id(0) * span, last = min(2 * h, first + 2 * span);
    const size_t image = get_global_id(1) * (size_t)h;
    for (int oy = first; oy < last; oy++) {
        const int near = oy / 2, far = oy & 1 ? min(near + 1, h - 1) : max(near - 1, 0);
        const __global act_t *a = x + (image + near) * w * C, *b = x + (image + far) * w * C;
        __global TYPE(OUT) *to = y + (2 * image + oy) * 2 * w * C;
        for (int j = 0; j < w; j++) {
            const size_t here = (size_t)j * C, left = (size_t)max(j - 1, 0) * C, right = (size_t)min(j + 1, w - 1) * C;
            for (int c = 0; c < C; c += 16) {
                const float16 l = 0.75f * LDV(ACT, a, left + c) + 0.25f * LDV(ACT, b, left + c);
                const float16 m = 0.75f * LDV(ACT, a, here + c) + 0.25f * LDV(ACT, b, here + c);
                const float16 r = 0.75f * LDV(ACT, a, right + c) + 0.25f * LDV(ACT, b, right + c);
                STV(OUT, to, 2 * here + c, 0.75f * m + 0.25f * l);
                STV(OUT, to, 2 * here + C + c, 0.75f * m + 0.25f * r);
            }
        }
    }
}

/* The four lines of the large side that took from line i of n, and their weights. */
inline void taken_by(int i, int n, int line[4], float weight[4])
{
    UNROLL(k, 4)
    {
        line[k] = clamp(2 * i + k - 1, 0, 2 * n - 1);
        weight[k] = k == 1 || k == 2 ? 0.75f : 0.25f;
    }
}

/* Items (runs, B). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void upsample_backward(const __global TYPE(OUT) *dy, __global act_t *dx,
                                                                               int h, int w, int C, int span)
{
    const int first = (int)get_global_id(0) * span, last = min(h, first + span);
    const size_t image = get_global_id(1) * (size_t)h;
    for (int i = first; i < last; i++) {
        int rows[4];
        float wy[4];
        taken_by(i, h, rows, wy);
        for (int j = 0; j < w; j++) {
            int columns[4];
            float wx[4];
            taken_by(j, w, columns, wx);
            for (int c = 0; c < C; c += 16) {
                float16 s = (float16)(0.0f);
                UNROLL(a, 4)
                {
                    const __global TYPE(OUT) *row = dy + (2 * image + rows[a]) * 2 * w * C + c;
                    float16 t = (float16)(0.0f);
                    UNROLL(b, 4) t = fma((float16)(wx[b]), LDV(OUT, row, (size_t)columns[b] * C), t);
                    s = fma((float16)(wy[a]), t, s);
                }
                STV(ACT, dx, ((image + i) * w + j) * C + c, s);
            }
        }
    }
}
