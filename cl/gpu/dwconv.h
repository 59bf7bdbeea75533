/* What the kernels of depthwise convolutions on GPUs have (dwconv.cl, dwconv_near.cl, dwdouble.cl): their options, how a group covers a map,
 * and VW channels of a pixel, 1 or 2, as they lie in memory, in one access: RAW(t) of storage type t, to floats and back, and a
 * pixel's or none. Needs common.h. */
#ifndef K
#define K 3
#endif
#ifndef WT
#define WT 0 /* how the taps are stored */
#endif
#ifndef CHANNELS
#define CHANNELS 64
#endif
#ifndef TILE
#define TILE 16
#endif
#ifndef SLOTS
#define SLOTS 8
#endif
#ifndef COLS
#define COLS 4
#endif
#ifndef PACKS
#define PACKS 0 /* 1: NVIDIA's from Ampere on, which round two floats to bfloat16 by one instruction; by a dozen otherwise */
#endif
#define TAPS  (K * K)
#define PAD   (K / 2)
#define SEEN  (COLS + K - 1) /* columns that an item's outputs depend on */
#define WG    (TILE * SLOTS)
#define TILES ((CHANNELS / VW + TILE - 1) / TILE)

#define RAW(t)       CAT(RAW_, t)
#define VALUES(t, w) CAT(values_, t)(w)
#define STORED(t, v) CAT(stored_, t)(v)
typedef vec vec_t; /* CAT does not expand inside CAT */
#define RAW_0 vec_t
inline vec values_0(vec w)
{
    return w;
}
inline vec stored_0(vec v)
{
    return v;
}
#if VW == 1
#define RAW_1 ushort
#define RAW_2 ushort
inline float values_1(ushort w)
{
    return as_float((uint)w << 16);
}
inline float values_2(ushort w)
{
    return vload_half(0, (const half *)&w);
}
inline ushort stored_1(float v)
{
    return tn_bf16(v);
}
inline ushort stored_2(float v)
{
    ushort h;
    vstore_half_rte(v, 0, (half *)&h);
    return h;
}
#else
#define RAW_1 uint
#define RAW_2 uint
inline float2 values_1(uint w)
{
    return (float2)(as_float(w << 16), as_float(w & 0xffff0000u));
}
inline float2 values_2(uint w)
{
    const ushort h[2] = {(ushort)w, (ushort)(w >> 16)};
    return vload_half2(0, (const half *)h);
}
#if PACKS
inline uint stored_1(float2 v)
{
    uint r;
    __asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(v.y), "f"(v.x));
    return r;
}
#else
/* As tn_bf16; one test for NaN serves both. */
inline uint stored_1(float2 v)
{
    const uint2 u = as_uint2(v);
    uint2 r = u + 0x7fffu + ((u >> 16) & 1u);
    if (isunordered(v.x, v.y)) r = select(r, u | 0x400000u, isnan(v));
    return r.x >> 16 | (r.y & 0xffff0000u);
}
#endif
inline uint stored_2(float2 v)
{
    ushort h[2];
    vstore_half2_rte(v, 0, (half *)h);
    return h[0] | (uint)h[1] << 16;
}
#endif

inline RAW(ACT) column(const __global act_t *x, bool there)
{
    RAW(ACT) w = 0;
    if (there) w = *(const __global RAW(ACT) *)x;
    return w;
}

/* The item's taps, tap_of, among those of the group's channels, which it reads into `all` first. */
#define GROUP_TAPS (TILE * VW * TAPS)
inline const __local float *group_taps(const __global TYPE(WT) *w, __local float *all)
{
    const int l = (int)get_local_id(0), first = (int)get_global_id(0) / WG % TILES * GROUP_TAPS;
    for (int i = l; i < GROUP_TAPS; i += WG) all[i] = first + i < CHANNELS * TAPS ? LD(WT, w, first + i) : 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE);
    return all + l % TILE * VW * TAPS;
}

inline vec tap_of(const __local float *own, int k)
{
#if VW == 1
    return own[k];
#else
    return (vec)(own[k], own[TAPS + k]);
#endif
}

/* The group's sums of n values over its slots -> partial [n][CHANNELS]. */
inline void share(const vec *g, int n, __local vec_t *all, int slot, __global float *partial)
{
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (int k = 0; k < n; k++) all[k * WG + slot] = g[k];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int o = slot; o < n * TILE; o += WG) {
        const int k = o / TILE, lane = o % TILE, c = ((int)get_global_id(0) / WG % TILES * TILE + lane) * VW;
        vec s = TO_VEC(0.0f);
        for (int i = 0; i < SLOTS; i++) s += all[k * WG + i * TILE + lane];
        if (c < CHANNELS) *(__global vec *)(partial + k * CHANNELS + c) = s;
    }
}
