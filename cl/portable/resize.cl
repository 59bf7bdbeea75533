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

/* y = x + z at the nearest pixel; y may be x. Items (W*C/VW, B*H). */
__kernel void upsample_add(const __global act_t *x, const __global act_t *z, __global act_t *y, int h, int w, int H, int W, int C,
                           float sy, float sx, int rows)
{
    const int e = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (e >= W * C || r >= rows) return;
    const size_t at = (size_t)r * W * C + e, from = ((size_t)(r / H) * h + nearest(r % H, sy, h)) * w + nearest(e / C, sx, w);
    STV(ACT, y, at, LDV(ACT, x, at) + LDV(ACT, z, from * C + e % C));
}

/* dz is the sum over the target pixels whose nearest it is. Items (w*C/VW, B*h). */
__kernel void nearest_backward(const __global act_t *dy, __global act_t *dz, int h, int w, int H, int W, int C, float sy, float sx,
                               int rows)
{
    const int e = (int)get_global_id(0) * VW, r = (int)get_global_id(1);
    if (e >= w * C || r >= rows) return;
    const int iy = r % h, ix = e / C;
    const int oy0 = max((int)(iy / sy) - 1, 0), oy1 = iy == h - 1 ? H - 1 : min((int)((iy + 1) / sy) + 1, H - 1);
    const int ox0 = max((int)(ix / sx) - 1, 0), ox1 = ix == w - 1 ? W - 1 : min((int)((ix + 1) / sx) + 1, W - 1);
    const size_t at = (size_t)r * w * C + e;
    vec s = ADD ? LDV(ACT, dz, at) : TO_VEC(0.0f);
    for (int oy = oy0; oy <= oy1; oy++) {
        if (nearest(oy, sy, h) != iy) continue;
        const size_t row = ((size_t)(r / h) * H + oy) * W * C + e % C;
        for (int ox = ox0; ox <= ox1; ox++)
            if (nearest(ox, sx, w) == ix) s += LDV(ACT, dy, row + (size_t)ox * C);
    }
    STV(ACT, dz, at, s);
}
