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

inline float e4m3_value(uint v)
{
    const uint e = (v >> 3) & 15u, m = v & 7u;
    return e ? as_float((e + 120u) << 23 | m << 20) : (float)m * 0.001953125f;
}

/* tables: 16 code values, the 256 entries of the dynamic map, the ladder (15 thresholds, 16 codes), and at PAIRS_AT the
 * two values behind each byte. */
#define MAP_AT 16
#define LADDER_AT 272
#define PAIRS_AT 304

inline float block_scale(const __global scale_t *scales, const __global float *nested, const __global float *tables,
                         float offset, size_t b)
{
#if QSCALE == 0
    return scales[b];
#elif QSCALE == 1
    const float v = tables[MAP_AT + scales[b]] * nested[b >> 8];
    return v + offset;
#elif QSCALE == 2
    return as_float(max((uint)scales[b] << 23, 0x400000u)); /* e = 0 is 2^-127, a denormal */
#else
    return e4m3_value(scales[b]) * offset;
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

/* Elements 8 item to 8 item + 7, which lie in block b. code: the 16 values in local memory. */
inline float8 values8(const __global uchar *packed, const __local float *code, const __global scale_t *scales,
                      const __global float *nested, const __global uchar *zeros, const __global float *tables, float offset,
                      uint item, uint b)
{
    const float scale = block_scale(scales, nested, tables, offset, b);
#if QBITS == 8
    return convert_float8(vload8(item, (const __global char *)packed)) * scale * INT8_STEP;
#else
    const uint p = ((const __global uint *)packed)[item];
    float8 v;
#if QLOW
    v.s0 = code[p & 15u], v.s1 = code[p >> 4 & 15u], v.s2 = code[p >> 8 & 15u], v.s3 = code[p >> 12 & 15u];
    v.s4 = code[p >> 16 & 15u], v.s5 = code[p >> 20 & 15u], v.s6 = code[p >> 24 & 15u], v.s7 = code[p >> 28];
#else
    v.s1 = code[p & 15u], v.s0 = code[p >> 4 & 15u], v.s3 = code[p >> 8 & 15u], v.s2 = code[p >> 12 & 15u];
    v.s5 = code[p >> 16 & 15u], v.s4 = code[p >> 20 & 15u], v.s7 = code[p >> 24 & 15u], v.s6 = code[p >> 28];
#endif
    return (v - block_zero(zeros, b)) * scale;
#endif
}
