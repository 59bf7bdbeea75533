/* Sixteen quantised elements at once on a CPU, and sixteen values stored. A table of the two values behind each byte
 * makes a byte one load of 8. LOOKUP 1: where the compiler is clang and makes code for AVX-512 (PoCL), one VPERMPS looks
 * all sixteen up: faster where the values stay in registers, slower where rounding and storing them fills the ports. */
#if LOOKUP && defined(__clang__) && defined(__AVX512F__)
#define PERMUTE 1
#else
#define PERMUTE 0
#endif

inline float16 codes16(const __global uchar *p, float16 code, const __global float *pairs)
{
#if PERMUTE
    const ulong8 q = convert_ulong8(vload8(0, p));
#if QLOW
    const ulong8 i = (q & 15UL) | q >> 4 << 32;
#else
    const ulong8 i = q >> 4 | (q & 15UL) << 32;
#endif
    return __builtin_ia32_permvarsf512(code, as_int16(i));
#else
    float16 v;
    v.s01 = vload2(p[0], pairs), v.s23 = vload2(p[1], pairs), v.s45 = vload2(p[2], pairs), v.s67 = vload2(p[3], pairs);
    v.s89 = vload2(p[4], pairs), v.sab = vload2(p[5], pairs), v.scd = vload2(p[6], pairs), v.sef = vload2(p[7], pairs);
    return v;
#endif
}

/* Elements at to at + 15, which lie in one block. */
inline float16 values16(const __global uchar *packed, size_t at, float16 code, const __global float *pairs, float scale,
                        float zero)
{
#if QBITS == 8
    return convert_float16(vload16(0, (const __global char *)packed + at)) * scale * INT8_STEP;
#else
    return (codes16(packed + at / 2, code, pairs) - zero) * scale;
#endif
}

inline void store16_0(__global float *w, float16 v) { vstore16(v, 0, w); }

/* Rounded to nearest even; no NaN comes here. Two halves leave as one 32-bit word: otherwise PoCL's compiler rounds one
 * by one. */
inline void store16_1(__global ushort *w, float16 v)
{
    const uint16 u = as_uint16(v);
    const ulong8 r = as_ulong8(u + 0x7fffu + ((u >> 16) & 1u));
    vstore8(convert_uint8((r >> 16 & 0xffffUL) | (r >> 32 & 0xffff0000UL)), 0, (__global uint *)w);
}

inline void store16_2(__global ushort *w, float16 v) { vstore_half16_rte(v, 0, (__global half *)w); }
