/* Storage types and small helpers, shared by every kernel. OpenCL C 1.2, no extension.
 *
 * A storage type is a number: 0 float32, 1 bfloat16, 2 float16 (as tn_dtype). LD/ST convert to and from float, so
 * that no device needs cl_khr_fp16. VW elements at once through LDV/STV. */
#ifndef TN_COMMON_H
#define TN_COMMON_H

/* How vectors wider than the processor's are passed: nothing is passed. A compiler that does not know the warning (clang before 11,
 * NVIDIA's) would warn of its name. */
#ifdef __has_warning
#if __has_warning("-Wpsabi")
#pragma clang diagnostic ignored "-Wpsabi"
#endif
#endif

#ifndef ACT
#define ACT 0 /* storage type of activations */
#endif
#ifndef VW
#define VW 4 /* elements a work-item handles at once: 1, 4, 8 or 16 */
#endif
/* WHOLE 1: LDV and STV only reach multiples of VW elements of a buffer's start, so that up to 16 bytes are one access. (A vload
 * promises no more than an element's alignment, and NVIDIA's compiler splits it.) For VW 4 and 8. */
#ifndef WHOLE
#define WHOLE 0
#endif

#define CAT_(a, b) a##b
#define CAT(a, b)  CAT_(a, b)
#define TYPE_0     float
#define TYPE_1     ushort
#define TYPE_2     ushort
#define TYPE(t)    CAT(TYPE_, t)
#define act_t      TYPE(ACT)

inline float ld_0(const __global float *p, size_t i)
{
    return p[i];
}
inline float ld_1(const __global ushort *p, size_t i)
{
    return as_float((uint)p[i] << 16);
}
inline float ld_2(const __global ushort *p, size_t i)
{
    return vload_half(i, (const __global half *)p);
}
inline ushort tn_bf16(float v)
{
    uint u = as_uint(v);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (ushort)((u >> 16) | 0x40u);
    return (ushort)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
inline void st_0(__global float *p, size_t i, float v)
{
    p[i] = v;
}
inline void st_1(__global ushort *p, size_t i, float v)
{
    p[i] = tn_bf16(v);
}
inline void st_2(__global ushort *p, size_t i, float v)
{
    vstore_half_rte(v, i, (__global half *)p);
}
#define LD(t, p, i)    CAT(ld_, t)(p, i)
#define ST(t, p, i, v) CAT(st_, t)(p, i, v)

/* VW elements at once; i counts elements. */
#if VW == 1
#define vec             float
#define LDV(t, p, i)    LD(t, p, i)
#define STV(t, p, i, v) ST(t, p, i, v)
#define HSUM(v)         (v)
#define TO_VEC(x)       (x)
#else
#define vec       CAT(float, VW)
#define uvec      CAT(uint, VW)
#define TO_VEC(x) ((vec)(x))
#if WHOLE && VW < 16
#define WORDS CAT(uint, HALF_VW) /* as many elements of two bytes */
#if VW == 8
#define HALF_VW    4
#define JOIN(e, o) ((vec)((e).x, (o).x, (e).y, (o).y, (e).z, (o).z, (e).w, (o).w))
#else
#define HALF_VW    2
#define JOIN(e, o) ((vec)((e).x, (o).x, (e).y, (o).y))
#endif
inline vec ldv_0(const __global float *p, size_t i)
{
    return *(const __global vec *)(p + i);
}
inline vec ldv_1(const __global ushort *p, size_t i)
{
    const WORDS u = *(const __global WORDS *)(p + i), even = u << 16, odd = u & 0xffff0000u;
    return JOIN(CAT(as_float, HALF_VW)(even), CAT(as_float, HALF_VW)(odd));
}
inline vec ldv_2(const __global ushort *p, size_t i)
{
    const WORDS u = *(const __global WORDS *)(p + i);
    ushort h[VW];
    CAT(vstore, VW)(CAT(as_ushort, VW)(u), 0, h);
    return CAT(vload_half, VW)(0, (const half *)h);
}
inline void stv_0(__global float *p, size_t i, vec v)
{
    *(__global vec *)(p + i) = v;
}
inline void stv_1(__global ushort *p, size_t i, vec v)
{
    const uvec u = CAT(as_uint, VW)(v), rounded = u + 0x7fffu + ((u >> 16) & 1u);
    const uvec r = select(rounded, u | 0x400000u, isnan(v));
    *(__global WORDS *)(p + i) = (r.even >> 16) | (r.odd & 0xffff0000u);
}
inline void stv_2(__global ushort *p, size_t i, vec v)
{
    ushort h[VW];
    CAT(CAT(vstore_half, VW), _rte)(v, 0, (half *)h);
    *(__global WORDS *)(p + i) = CAT(as_uint, HALF_VW)(CAT(vload, VW)(0, h));
}
#else
#if VW == 16 && defined(__clang__)
/* On a CPU a vload16 may become four moves of 128 bits that nothing merges again: rows through types that promise no more than an
 * element's alignment stay one. */
typedef struct __attribute__((packed, aligned(4))) {
    float16 v;
} loose16;
typedef struct __attribute__((packed, aligned(2))) {
    ushort16 v;
} loose_half;
inline vec ldv_0(const __global float *p, size_t i)
{
    return ((const __global loose16 *)(p + i))->v;
}
inline vec ldv_1(const __global ushort *p, size_t i)
{
    return as_float16(__builtin_convertvector(((const __global loose_half *)(p + i))->v, uint16) << 16);
}
inline void stv_0(__global float *p, size_t i, vec v)
{
    ((__global loose16 *)(p + i))->v = v;
}
/* ROUNDS_BF16: the processor does (AVX512-BF16). */
inline void stv_1(__global ushort *p, size_t i, vec v)
{
#ifdef ROUNDS_BF16
    ushort16 rounded;
    __asm__("vcvtneps2bf16 %1, %0" : "=v"(rounded) : "v"(v));
    ((__global loose_half *)(p + i))->v = rounded;
#else
    const uint16 u = as_uint16(v), r = u + 0x7fffu + ((u >> 16) & 1u);
    const uint16 safe = (u & 0x7fffffffu) > 0x7f800000u ? u | 0x400000u : r;
    ((__global loose_half *)(p + i))->v = __builtin_convertvector(safe >> 16, ushort16);
#endif
}

/* 2^x for x from -125 (below: 2^-125) to 127, to 2.2e-7: 2^round(x) by the exponent, a polynomial on [-1/2, 1/2]. NaN stays. */
inline float16 exp2_fast(float16 x)
{
    const float16 y = (float16)(-125.0f) > x ? (float16)(-125.0f) : x, t = y + 12582912.0f, f = y - (t - 12582912.0f);
    float16 p = fma(f, (float16)(1.327647e-3f), (float16)(9.6755419e-3f));
    p = fma(f, p, (float16)(5.5507131e-2f));
    p = fma(f, p, (float16)(2.402212e-1f));
    p = fma(f, p, (float16)(6.9314694e-1f));
    p = fma(f, p, (float16)(1.0f));
    return as_float16(as_int16(p) + (as_int16(t) << 23));
}
#else
inline vec ldv_0(const __global float *p, size_t i)
{
    return CAT(vload, VW)(0, p + i);
}
inline vec ldv_1(const __global ushort *p, size_t i)
{
    return CAT(as_float, VW)(CAT(convert_uint, VW)(CAT(vload, VW)(0, p + i)) << 16);
}
inline void stv_0(__global float *p, size_t i, vec v)
{
    CAT(vstore, VW)(v, 0, p + i);
}
inline void stv_1(__global ushort *p, size_t i, vec v)
{
    uvec u = CAT(as_uint, VW)(v);
    uvec r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    uvec nan = (u >> 16) | 0x40u;
    CAT(vstore, VW)(CAT(convert_ushort, VW)(select(r, nan, (u & 0x7fffffffu) > 0x7f800000u)), 0, p + i);
}
#endif
inline vec ldv_2(const __global ushort *p, size_t i)
{
    return CAT(vload_half, VW)(0, (const __global half *)p + i);
}
inline void stv_2(__global ushort *p, size_t i, vec v)
{
    CAT(CAT(vstore_half, VW), _rte)(v, 0, (__global half *)p + i);
}
#endif
#define LDV(t, p, i)    CAT(ldv_, t)(p, i)
#define STV(t, p, i, v) CAT(stv_, t)(p, i, v)
inline float hsum4(float4 v)
{
    return (v.x + v.y) + (v.z + v.w);
}
#if VW == 4
#define HSUM(v) hsum4(v)
#elif VW == 8
#define HSUM(v) hsum4((v).lo + (v).hi)
#else
inline float hsum16(float16 v)
{
    float8 a = v.lo + v.hi;
    return hsum4(a.lo + a.hi);
}
#define HSUM(v) hsum16(v)
#endif
#endif

/* What dropout keeps (tn_keeps of src/base/numeric.h says how it is drawn): four elements at once, those of a word. */
#ifndef ALIGNED
#define ALIGNED 0 /* 1: what a CPU's kernel draws at once begins at a multiple of 16 elements */
#endif
#define WORD_OF(i) ((i) / 16 * 4 + (i) / 2 % 4)      /* element i's word */
#define BYTE_OF(i) ((i) % 2 * 8 + (i) / 8 % 2 * 16u) /* and the lowest bit of its byte there */

/* Four draws are compared with the threshold's byte at once: 7 bits of each by a carry into the eighth, which is an answer by
 * itself as long as that byte is at most 128. From 1/2 on it is the complements that are compared, and what is dropped that is
 * told. */
#define FLIPPED(threshold) ((uint)((int)(0x7fffu - (threshold)) >> 31)) /* all bits: from 1/2 on */
/* Bit 7 of each byte: kept, or where that is FLIPPED dropped. The other bits say nothing. T is a uint or a vector of them. (Written
 * so that what depends on the threshold alone stays outside of loops, and the rest is 12 instructions and 3 products on NVIDIA's
 * GPUs: bytes that a product made would be made again for each word.) The mixing is murmur3's finaliser. */
#define DECIDED(T, name)                                                                                                           \
    inline T name(uint seed, T word, uint threshold)                                                                               \
    {                                                                                                                              \
        const uint flipped = FLIPPED(threshold), sign = flipped | 1u, one = 0x01010101u * sign;                                    \
        const uint byte = (128u - (threshold >> 8)) * sign, two = byte << 8 | byte, four = two << 16 | two;                        \
        T x = word * 0x9E3779B9u + seed;                                                                                           \
        const T less = x < (T)(threshold << 24) ? (T)(one) : (T)(0u);                                                              \
        x = (x ^ (x >> 16)) * 0x85EBCA6Bu;                                                                                         \
        x = (x ^ (x >> 13)) * 0xC2B2AE35u;                                                                                         \
        x = x ^ (x >> 16) ^ flipped;                                                                                               \
        return x | ((x & 0x7f7f7f7fu) + four - less);                                                                              \
    }
DECIDED(uint, tn_decided)
inline uint tn_kept(uint seed, uint word, uint threshold)
{
    return tn_decided(seed, word, threshold) ^ FLIPPED(threshold);
}
inline bool tn_keeps(uint seed, uint i, uint threshold)
{
    return tn_kept(seed, WORD_OF(i), threshold) >> BYTE_OF(i) & 0x80u;
}

/* Of 16 rows and 32 columns, as a lane of NVIDIA's matrix units holds them (gpu/dropout_bits.cl), what is kept, a bit each: `word`
 * is that of its first pair, `below` a row's words times 8. A word's lower bytes are a pair, the upper ones the pair 8 columns on,
 * two bits higher; what a word decides stands one or three bits above what the last one did. */
inline uint tn_kept_lane(uint seed, uint word, uint below, uint threshold)
{
    uint bits = tn_decided(seed, word, threshold) & 0x80808080u;
    bits = (bits >> 1) + (tn_decided(seed, word + below, threshold) & 0x80808080u);
    bits = (bits >> 3) + (tn_decided(seed, word + 4, threshold) & 0x80808080u);
    bits = (bits >> 1) + (tn_decided(seed, word + 4 + below, threshold) & 0x80808080u);
    return ((bits >> 2 | bits >> 16) ^ FLIPPED(threshold)) & 0xffffu;
}

/* tn_hash_u32 of src/base/numeric.c: a counter-based generator, nothing stored. */
inline uint tn_hash(uint seed, uint counter)
{
    uint x = counter * 0x9E3779B9u + seed;
    for (int i = 0; i < 2; i++) {
        x = (x ^ (x >> 16)) * 0x7FEB352Du;
        x = (x ^ (x >> 15)) * 0x846CA68Bu;
        x = (x ^ (x >> 16)) + seed * 0x85EBCA6Bu;
    }
    return x ^ (x >> 15);
}
#endif
