/* VW elements in one access (of 16 bytes, where the device has no longer ones), which vload and vstore do not promise: the place is
 * a multiple of VW. WIDE(t): as they lie in memory. VALUES(t, w) and STORED(t, v) convert; GET and PUT do both, MOVE neither.
 * After common.h. */
#ifndef TN_WIDE_H
#define TN_WIDE_H

#define WIDE(t)                 CAT(WIDE_, t)
#define LDW(t, p, i)            (*(const __global WIDE(t) *)((p) + (i)))
#define MOVE(t, to, i, from, j) (*(__global WIDE(t) *)((to) + (i)) = LDW(t, from, j))
#define NOTHING(t)              ((WIDE(t))(0))

#if VW == 16 /* of CPUs */
#define WIDE_0 float16
#define WIDE_1 ushort16
#define WIDE_2 ushort16
#define GET    LDV
#define PUT    STV
#else
#define VALUES(t, w)    CAT(values_, t)(w)
#define STORED(t, v)    CAT(stored_, t)(v)
#define STW(t, p, i, v) (*(__global WIDE(t) *)((p) + (i)) = STORED(t, v))
#define GET(t, p, i)    VALUES(t, LDW(t, p, i))
#define PUT             STW
typedef vec vec_t; /* CAT does not expand inside CAT */
#define WIDE_0 vec_t
inline vec values_0(vec v) { return v; }
inline vec stored_0(vec v) { return v; }

#if VW == 1
#define WIDE_1 ushort
#define WIDE_2 ushort
inline float values_1(ushort w) { return as_float((uint)w << 16); }
inline float values_2(ushort w) { return vload_half(0, (const half *)&w); }
inline ushort stored_1(float v) { return tn_bf16(v); }
inline ushort stored_2(float v)
{
    ushort h;
    vstore_half_rte(v, 0, (half *)&h);
    return h;
}
#else
#if VW == 2
#define WIDE_1      uint
#define HALF_VALUES as_float
#define WIDE_BITS   as_uint
#define WIDE_SHORTS as_ushort2
#define SHORTS      ushort2
#elif VW == 4
#define WIDE_1      uint2
#define HALF_VALUES as_float2
#define WIDE_BITS   as_uint2
#define WIDE_SHORTS as_ushort4
#define SHORTS      ushort4
#else
#define WIDE_1      uint4
#define HALF_VALUES as_float4
#define WIDE_BITS   as_uint4
#define WIDE_SHORTS as_ushort8
#define SHORTS      ushort8
#endif
#define WIDE_2 WIDE_1
inline vec values_1(WIDE_1 w)
{
    vec v;
    v.even = HALF_VALUES(w << 16);
    v.odd = HALF_VALUES(w & 0xffff0000u);
    return v;
}
inline vec values_2(WIDE_2 w)
{
    const SHORTS h = WIDE_SHORTS(w);
    return CAT(vload_half, VW)(0, (const half *)&h);
}
/* As tn_bf16; one test for NaN serves all. */
inline WIDE_1 stored_1(vec v)
{
    const uvec u = CAT(as_uint, VW)(v);
    uvec r = u + 0x7fffu + ((u >> 16) & 1u);
    if (any(isunordered(v.lo, v.hi))) r = select(r, u | 0x400000u, (u & 0x7fffffffu) > 0x7f800000u);
    return r.even >> 16 | (r.odd & 0xffff0000u);
}
inline WIDE_2 stored_2(vec v)
{
    SHORTS h;
    CAT(CAT(vstore_half, VW), _rte)(v, 0, (half *)&h);
    return WIDE_BITS(h);
}
#endif
#endif
#endif
