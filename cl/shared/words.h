/* 16-bit words and fast arithmetic for the kernels on Intel's and AMD's matrix units (NVIDIA's have ptx.h). After common.h.
 * Storage: ACT 1 bfloat16, 2 float16; sums are float32. */
#ifndef UNROLL /* nothing, where it only costs time: tests/portability/emulate */
#define UNROLL _Pragma("unroll")
#endif
#define exp2_fast(x)      native_exp2(x)
#define fma_held(a, b, c) clamp(fma(a, b, c), 0.0f, 1.0f)
#define LOG2E             1.4426950408889634f
/* The group's number, the same for all its items in a way that the compiler sees. get_group_id begins at 0 in each slice of a
 * launch. */
#define GROUP_ID(d, items) ((int)(get_global_offset(d) / (items) + get_group_id(d)))

/* TURN: q and k were turned by a table (rotary embedding); attention's backward pass turns their gradients back. */
#ifdef TURN
#define P_TURN_BACK , const __global float *restrict table, int skip
#define A_TURN_BACK , table, skip
#else
#define P_TURN_BACK
#define A_TURN_BACK
#endif

#if ACT == 2
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
inline float from_word(ushort w)
{
    return (float)as_half(w);
}
inline ushort to_word(float v)
{
    return as_ushort((half)v);
}
#else
inline float from_word(ushort w)
{
    return as_float((uint)w << 16);
}
inline ushort to_word(float v)
{
#ifdef cl_intel_bfloat16_conversions
    return intel_convert_bfloat16_as_ushort(v);
#else
    return tn_bf16(v);
#endif
}
#endif
/* Two finite numbers in a word, x the low one: rounding to bfloat16 is an addition then (ties go away from zero). */
inline uint to_pair(float x, float y)
{
#if ACT == 2
    return to_word(x) | (uint)to_word(y) << 16;
#else
    return (as_uint(x) + 0x8000u) >> 16 | ((as_uint(y) + 0x8000u) & 0xffff0000u);
#endif
}
