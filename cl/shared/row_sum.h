/* Sums over the WG items of a group (a power of two), which share a row; WG 1 is the CPU's way. A kernel begins with SHARED. */
#ifndef WG
#define WG 64
#endif

#if WG > 1
inline float row_sum(float v, __local float *s)
{
    const int l = (int)get_local_id(0);
    s[l] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int h = WG / 2; h > 0; h >>= 1) {
        if (l < h) s[l] += s[l + h];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const float r = s[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return r;
}
#define SHARED     __local float shared[WG];
#define ROW_SUM(v) row_sum(v, shared)
#else
#define SHARED
#define ROW_SUM(v) (v)
#endif
