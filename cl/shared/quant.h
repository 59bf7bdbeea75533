/* How a block's scale is stored, and the value of a code. Multiplications and additions are rounded one by one, as
 * on the host, so that every device unpacks the same bits.
 *
 * QSCALE: 0 float32; 1 an 8-bit code into `map`, times nested[block / 256], plus offset; 2 a power of two (E8M0);
 * 3 E4M3 times offset. QBITS 4 or 8. QLOW 1: element 2i in the low nibble. QZERO 1: a zero point for each block. */
#pragma OPENCL FP_CONTRACT OFF
#ifndef QSCALE
#define QSCALE 0
#endif
#ifndef QBITS
#define QBITS 4
#endif
#ifndef QLOW
#define QLOW 0
#endif
#ifndef QZERO
#define QZERO 0
#endif
#if QSCALE == 0
#define scale_t float
#else
#define scale_t uchar
#endif
#define INT8_STEP 7.874015718698502e-3f

/* tables: 16 code values, the 256 entries of the dynamic map (or the values of E4M3), the ladder (15 thresholds, 16
 * codes), and at PAIRS_AT the two values behind each byte. */
#define MAP_AT    16
#define LADDER_AT 272
#define PAIRS_AT  304

/* PARTS: matrices of one shape that a launch unpacks under each other; the second dimension of the launch says which. */
#ifndef PARTS
#define PARTS 1
#endif
#define PART_PARAMS(i)                                                                                                             \
    , const __global uchar *packed##i, const __global scale_t *scales##i, const __global float *nested##i,                         \
        const __global uchar *zeros##i, float offset##i
#define PART_TAKE(i, part)                                                                                                         \
    if (part == i) packed = packed##i, scales = scales##i, nested = nested##i, zeros = zeros##i, offset = offset##i
#if PARTS == 3
#define MORE_PARAMS PART_PARAMS(1) PART_PARAMS(2)
#define TAKE_PART(part)                                                                                                            \
    PART_TAKE(1, part);                                                                                                            \
    PART_TAKE(2, part)
#elif PARTS == 2
#define MORE_PARAMS     PART_PARAMS(1)
#define TAKE_PART(part) PART_TAKE(1, part)
#else
#define MORE_PARAMS
#define TAKE_PART(part)
#endif

inline float block_scale(const __global scale_t *scales, const __global float *nested, const __global float *tables, float offset,
                         size_t b)
{
#if QSCALE == 0
    return scales[b];
#elif QSCALE == 1
    const float v = tables[MAP_AT + scales[b]] * nested[b >> 8];
    return v + offset;
#elif QSCALE == 2
    return as_float(max((uint)scales[b] << 23, 0x400000u)); /* e = 0 is 2^-127, a denormal */
#else
    return tables[MAP_AT + scales[b]] * offset;
#endif
}

inline float block_zero(const __global uchar *zeros, size_t b)
{
#if QZERO
    return zeros[b];
#else
    return 0.0f;
#endif
}

/* Four elements as they lie packed, and eight. (No float8: oclgrind 21.10's check for unwritten values crashes where two
 * vectors are joined to a wider one.) */
#if QBITS == 8
#define word4_t   uint
#define word8_t   uint2
#define FIRST4(p) (p).x
#define LAST4(p)  (p).y
#else
#define word4_t   ushort
#define word8_t   uint
#define FIRST4(p) (p)
#define LAST4(p)  ((p) >> 16)
#endif

/* The values of the four elements in p. code: the 16 values of a 4-bit format, in local memory. */
inline float4 values4(uint p, const __local float *code, float scale, float zero)
{
#if QBITS == 8
    return convert_float4(as_char4(p)) * scale * INT8_STEP;
#else
    float4 v;
#if QLOW
    v.s0 = code[p & 15u], v.s1 = code[p >> 4 & 15u], v.s2 = code[p >> 8 & 15u], v.s3 = code[p >> 12 & 15u];
#else
    v.s1 = code[p & 15u], v.s0 = code[p >> 4 & 15u], v.s3 = code[p >> 8 & 15u], v.s2 = code[p >> 12 & 15u];
#endif
    return (v - zero) * scale;
#endif
}

/* Two bfloat16 in a word, rounded to nearest even; no NaN comes here. */
inline uint2 bf16_pairs(float4 v)
{
    const uint4 u = as_uint4(v), r = u + 0x7fffu + ((u >> 16) & 1u);
    return r.even >> 16 | (r.odd & 0xffff0000u);
}
