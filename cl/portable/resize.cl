/* Bilinear (align_corners=False) and nearest resize, as PyTorch's UpSample.h, channels last: [B,h,w,C] -> [B,H,W,C].
 * sy, sx: source pixels a target pixel. OUT: storage type of the large side of bilinear ones. ADD: a gradient is added to. */
#define WHOLE 1
#include "common.h"
#ifndef OUT
#define OUT ACT
#endif
#ifndef ADD
#define ADD 0
#endif

inline float source_of(int i, float s) { return fmax(s * (i + 0.5f) - 0.5f, 0.0f); }

/* C is a multiple of VW. Items (W*C/VW, B*H). */
__kernel void bilinear_forward(const __global act_t *x, __global TYPE(OUT) *y, int h, int w, int H, int W, int C,
                               float sy, float sx, int rows)
{
    const int e = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (e >= W * C || r >= rows) return;
    const int c = e % C, ox = e / C, b = r / H, oy = r % H;
    const float fy = source_of(oy, sy), fx = source_of(ox, sx);
    const int y0 = min((int)fy, h - 1), x0 = min((int)fx, w - 1), y1 = min(y0 + 1, h - 1), x1 = min(x0 + 1, w - 1);
    const float ly = fy - y0, lx = fx - x0;
    const size_t base = (size_t)b * h * w;
#define AT(yy, xx) LDV(ACT, x, (base + (size_t)(yy)*w + (xx)) * C + c)
    const vec top = (1.0f - lx) * AT(y0, x0) + lx * AT(y0, x1);
    const vec bottom = (1.0f - lx) * AT(y1, x0) + lx * AT(y1, x1);
    STV(OUT, y, ((size_t)r * W + ox) * C + c, (1.0f - ly) * top + ly * bottom);
}

/* Weight of source pixel i in target pixel o. */
inline float share(int o, int i, int size, float s)
{
    const float f = source_of(o, s);
    const int i0 = min((int)f, size - 1), i1 = min(i0 + 1, size - 1);
    const float l = f - i0;
    return (i0 == i ? 1.0f - l : 0.0f) + (i1 == i ? l : 0.0f);
}

/* dx gathers from every target pixel that used it. Items (w*C/VW, B*h). */
__kernel void bilinear_backward(const __global TYPE(OUT) *dy, __global act_t *dx, int h, int w, int H, int W, int C,
                                float sy, float sx, int rows)
{
    const int e = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (e >= w * C || r >= rows) return;
    const int c = e % C, ix = e / C, b = r / h, iy = r % h;
    const int oy0 = max((int)floor((iy - 0.5f) / sy - 0.5f) - 1, 0), ox0 = max((int)floor((ix - 0.5f) / sx - 0.5f) - 1, 0);
    const int oy1 = iy == h - 1 ? H - 1 : min((int)ceil((iy + 1.5f) / sy - 0.5f) + 1, H - 1);
    const int ox1 = ix == w - 1 ? W - 1 : min((int)ceil((ix + 1.5f) / sx - 0.5f) + 1, W - 1);
    vec s = TO_VEC(0.0f);
    for (int oy = iy == 0 ? 0 : oy0; oy <= oy1; oy++) {
        const float wy = share(oy, iy, h, sy);
        if (wy == 0.0f) continue;
        for (int ox = ix == 0 ? 0 : ox0; ox <= ox1; ox++)
            s += wy * share(ox, ix, w, sx) * LDV(OUT, dy, (((size_t)b * H + oy) * W + ox) * C + c);
    }
    STV(ACT, dx, ((size_t)r * w + ix) * C + c, s);
}

/* A resize to the same size, which only changes the storage. Items (n/VW). */
__kernel void bilinear_same(const __global act_t *x, __global TYPE(OUT) *y, int n)
{
    const int i = (int)get_global_id(0) * VW;
    if (i < n) STV(OUT, y, i, LDV(ACT, x, i));
}

/* The source pixel of target pixel i; float arithmetic, as PyTorch's, whose rounding decides between neighbours. */
inline int nearest(int i, float s, int size) { return min((int)floor(i * s), size - 1); }

/* An item takes `span` channels of a pixel, a multiple of VW. */

/* y = x + z at the nearest pixel; y may be x. Items (W*C/span, B*H). */
__kernel void upsample_add(const __global act_t *x, const __global act_t *z, __global act_t *y, int h, int w, int H, int W, int C,
                           float sy, float sx, int rows, int span)
{
    const int e = (int)get_global_id(0) * span, r = (int)get_global_id(1);
    if (e >= W * C || r >= rows) return;
    const size_t at = (size_t)r * W * C + e, from = ((size_t)(r / H) * h + nearest(r % H, sy, h)) * w + nearest(e / C, sx, w);
    for (int c = 0; c < span; c += VW) STV(ACT, y, at + c, LDV(ACT, x, at + c) + LDV(ACT, z, from * C + e % C + c));
}

/* The first of n target pixels whose nearest is i or one behind it. */
inline int first_of(int i, float s, int size, int n)
{
    int o = clamp((int)(i / s) - 1, 0, n);
    while (o < n && (i == size || nearest(o, s, size) < i)) o++;
    return o;
}

/* dz is the sum over the target pixels whose nearest it is. Items (w*C/span, B*h). */
__kernel void nearest_backward(const __global act_t *dy, __global act_t *dz, int h, int w, int H, int W, int C, float sy, float sx,
                               int rows, int span)
{
    const int e = (int)get_global_id(0) * span, r = (int)get_global_id(1);
    if (e >= w * C || r >= rows) return;
    const int iy = r % h, ix = e / C;
    const int y0 = first_of(iy, sy, h, H), y1 = first_of(iy + 1, sy, h, H), x0 = first_of(ix, sx, w, W), x1 = first_of(ix + 1, sx, w, W);
    const size_t to = (size_t)r * w * C + e, image = (size_t)(r / h) * H;
    for (int c = 0; c < span; c += VW) {
        vec s = ADD ? LDV(ACT, dz, to + c) : TO_VEC(0.0f);
        for (int oy = y0; oy < y1; oy++)
            for (int ox = x0; ox < x1; ox++) s += LDV(ACT, dy, ((image + oy) * W + ox) * C + e % C + c);
        STV(ACT, dz, to + c, s);
    }
}
