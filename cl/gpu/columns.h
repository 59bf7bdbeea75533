/* How kernels that go down the columns of [rows, C] divide them on GPUs: a group has LANES runs of VW columns side by side, and
 * ROWS rows at once, neighbours in memory. Needs common.h. */
#ifndef LANES
#define LANES 8
#endif
#ifndef WG
#define WG 256 /* a multiple of LANES */
#endif
#define ROWS   (WG / LANES)
#define ITEM   ((int)get_local_id(0))
#define LINE   (ITEM / LANES)
#define COLUMN (((int)(get_global_id(0) / WG) * LANES + ITEM % LANES) * VW)

#if VW > 1
/* The pairs of VW columns from c on, of groups of `width` columns. */
inline void pairs_of(const __global float2 *s, int width, int c, vec *a, vec *b)
{
    float x[VW], y[VW];
    int g = c / width, at = c - g * width;
    for (int k = 0; k < VW; k++) {
        x[k] = s[g].x;
        y[k] = s[g].y;
        if (++at == width) at = 0, g++;
    }
    *a = CAT(vload, VW)(0, x);
    *b = CAT(vload, VW)(0, y);
}
#endif
