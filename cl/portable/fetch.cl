/* Reading as clpeak reads: each item 16 vectors of VEC (WIDE floats), added one after the other, and a float written. Items are in
 * groups of WG. Near: an item's vectors lie a group's width apart, so that a group reads one piece; far: all items' width, `items`,
 * apart. */

#ifndef VEC
#define VEC  float
#define WIDE 1
#define WG   256
#endif

enum { FETCHES = 16 };

static float sum_of(VEC v)
{
#if WIDE == 16
    const float8 w = v.lo + v.hi;
    const float4 x = w.lo + w.hi;
    return (x.x + x.y) + (x.z + x.w);
#elif WIDE == 8
    const float4 x = v.lo + v.hi;
    return (x.x + x.y) + (x.z + x.w);
#elif WIDE == 4
    return (v.x + v.y) + (v.z + v.w);
#elif WIDE == 2
    return v.x + v.y;
#else
    return v;
#endif
}

static float fetched(const __global VEC *from, uint at, uint step)
{
    VEC sum = (VEC)(0.0f);
    for (int k = 0; k < FETCHES; k += 4, at += 4 * step) {
        sum += from[at];
        sum += from[at + step];
        sum += from[at + 2 * step];
        sum += from[at + 3 * step];
    }
    return sum_of(sum);
}

__kernel void fetch_near(const __global VEC *from, __global float *sums, uint items)
{
    const uint g = (uint)get_global_id(0);
    if (g < items) sums[g] = fetched(from, g / WG * WG * FETCHES + g % WG, WG);
}

__kernel void fetch_far(const __global VEC *from, __global float *sums, uint items)
{
    const uint g = (uint)get_global_id(0);
    if (g < items) sums[g] = fetched(from, g, items);
}
