/* Sixteen quantised elements at once on a CPU, and sixteen values stored. A table of the two values behind each byte
 * makes a byte one load of 8. LOOKUP 1: where the compiler is clang and makes code for AVX-512 (PoCL), one VPERMPS looks
 * all sixteen up; and one VPERMW, in a block's own sixteen values, which are then scaled and rounded once a block. */
#if LOOKUP && defined(__clang__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define PERMUTE 1
#else
#define PERMUTE 0
#endif

#ifndef OUT
#define OUT 0
#endif

/* The two codes in each element of q, a vector of T that holds a byte, in the order of the matrix: the second `bits` higher. */
#if QLOW
#define NIBBLES(T, q, bits) (((q) & (T)15) | (q) >> (T)4 << (T)(bits))
#else
#define NIBBLES(T, q, bits) ((q) >> (T)4 | ((q) & (T)15) << (T)(bits))
#endif

inline float16 codes16(const __global uchar *p, float16 code, const __global float *pairs)
{
#if PERMUTE
    const ulong8 q = convert_ulong8(vload8(0, p));
    return __builtin_ia32_permvarsf512(code, as_int16(NIBBLES(ulong, q, 32)));
#else
    float16 v;
    v.s01 = vload2(p[0], pairs), v.s23 = vload2(p[1], pairs), v.s45 = vload2(p[2], pairs), v.s67 = vload2(p[3], pairs);
    v.s89 = vload2(p[4], pairs), v.sab = vload2(p[5], pairs), v.scd = vload2(p[6], pairs), v.sef = vload2(p[7], pairs);
    return v;
#endif
}

/* Elements at to at + 15, which lie in one block. */
inline float16 values16(const __global uchar *packed, size_t at, float16 code, const __global float *pairs, float scale, float zero)
{
#if QBITS == 8
    return convert_float16(vload16(0, (const __global char *)packed + at)) * scale * INT8_STEP;
#else
    return (codes16(packed + at / 2, code, pairs) - zero) * scale;
#endif
}

inline void store16_0(__global float *w, float16 v)
{
    vstore16(v, 0, w);
}

/* Rounded to nearest even; no NaN comes here. */
inline uint16 bf16_high(float16 v)
{
    const uint16 u = as_uint16(v);
    return u + 0x7fffu + ((u >> 16) & 1u);
}

/* Two halves leave as one 32-bit word: otherwise PoCL's compiler rounds one by one. */
inline void store16_1(__global ushort *w, float16 v)
{
    const ulong8 r = as_ulong8(bf16_high(v));
    vstore8(convert_uint8((r >> 16 & 0xffffUL) | (r >> 32 & 0xffff0000UL)), 0, (__global uint *)w);
}

inline void store16_2(__global ushort *w, float16 v)
{
    vstore_half16_rte(v, 0, (__global half *)w);
}

/* A block's sixteen values as they are stored, scaled and rounded once, and sixteen elements looked up there. */
#if PERMUTE && QBITS == 4 && OUT == 0
#define BLOCK_VALUES 1
#define block_t      float16
inline block_t block_values(float16 v)
{
    return v;
}
inline void look16(__global float *w, const __global uchar *p, block_t values)
{
    vstore16(codes16(p, values, 0), 0, w);
}
#elif QBITS == 4 && OUT && defined(__clang__) && defined(__SSSE3__)
#define BLOCK_VALUES 1
inline uint16 stored(float16 v)
{
#if OUT == 1
    return bf16_high(v) >> 16;
#else
    ushort16 h;
    vstore_half16_rte(v, 0, (half *)&h);
    return convert_uint16(h);
#endif
}

#if PERMUTE
#define block_t ushort16
inline block_t block_values(float16 v)
{
    return convert_ushort16(stored(v));
}

/* Leaves as 32-bit words: PoCL's vstore16 stores sixteen halves one by one. */
inline void look16(__global ushort *w, const __global uchar *p, block_t values)
{
    const uint8 q = convert_uint8(vload8(0, p));
    const short16 i = as_short16(NIBBLES(uint, q, 16));
    vstore8(as_uint8(__builtin_ia32_permvarhi256(as_short16(values), i)), 0, (__global uint *)w);
}
#else
typedef struct {
    uchar16 low, high;
} block_t;

inline block_t block_values(float16 v)
{
    const uint16 u = stored(v);
    const block_t b = {convert_uchar16(u & 255u), convert_uchar16(u >> 8)};
    return b;
}

/* PSHUFB, once for the low bytes and once for the high. */
inline void look16(__global ushort *w, const __global uchar *p, block_t values)
{
    const ushort8 q = convert_ushort8(vload8(0, p));
    const char16 i = as_char16(NIBBLES(ushort, q, 8));
    const char16 l = __builtin_ia32_pshufb128(as_char16(values.low), i), h = __builtin_ia32_pshufb128(as_char16(values.high), i);
    const char16 a = __builtin_shufflevector(l, h, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const char16 b = __builtin_shufflevector(l, h, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    vstore8((uint8)(as_uint4(a), as_uint4(b)), 0, (__global uint *)w);
}
#endif
#endif
