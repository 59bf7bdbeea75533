/* Lets clang compile the kernels for Intel's and AMD's matrix units, and one for NVIDIA's, for the host (-x cl -cl-std=CL2.0
 * -cl-no-stdinc -include), so that lanes.c can run them item by item. What an item sees of its neighbours goes through emu_* of
 * units.c. */
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong, size_t;
#define VECTORS(t)                                                                                                                 \
    typedef t t##2 __attribute__((ext_vector_type(2)));                                                                            \
    typedef t t##4 __attribute__((ext_vector_type(4)));                                                                            \
    typedef t t##8 __attribute__((ext_vector_type(8)));                                                                            \
    typedef t t##16 __attribute__((ext_vector_type(16)))
VECTORS(short);
VECTORS(ushort);
VECTORS(int);
VECTORS(uint);
VECTORS(float);
typedef char char4 __attribute__((ext_vector_type(4)));
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
VECTORS(half);

#define as_float(x)    __builtin_astype(x, float)
#define as_uint(x)     __builtin_astype(x, uint)
#define as_uint4(x)    __builtin_astype(x, uint4)
#define as_char4(x)    __builtin_astype(x, char4)
#define as_half(x)     __builtin_astype(x, half)
#define as_ushort(x)   __builtin_astype(x, ushort)
#define as_int8(x)     __builtin_astype(x, int8)
#define as_short4(x)   __builtin_astype(x, short4)
#define as_short8(x)   __builtin_astype(x, short8)
#define as_short16(x)  __builtin_astype(x, short16)
#define as_ushort8(x)  __builtin_astype(x, ushort8)
#define as_ushort16(x) __builtin_astype(x, ushort16)
#define as_half4(x)    __builtin_astype(x, half4)
#define as_half8(x)    __builtin_astype(x, half8)
#define as_half16(x)   __builtin_astype(x, half16)
#define OVL            __attribute__((overloadable, always_inline)) static
#define false 0
#define true 1

OVL int min(int a, int b)
{
    return a < b ? a : b;
}
OVL int max(int a, int b)
{
    return a > b ? a : b;
}
OVL uint max(uint a, uint b)
{
    return a > b ? a : b;
}
OVL float fmax(float a, float b)
{
    return __builtin_fmaxf(a, b);
}
OVL float fabs(float a)
{
    return __builtin_fabsf(a);
}
OVL float fma(float a, float b, float c)
{
    return __builtin_fmaf(a, b, c);
}
OVL float clamp(float a, float low, float high)
{
    return __builtin_fminf(__builtin_fmaxf(a, low), high);
}
OVL float native_exp2(float a)
{
    return __builtin_exp2f(a);
}
OVL float native_log2(float a)
{
    return __builtin_log2f(a);
}
OVL float native_recip(float a)
{
    return 1.0f / a;
}
OVL float8 fmax(float8 a, float8 b)
{
    for (int i = 0; i < 8; i++) a[i] = fmax(a[i], b[i]);
    return a;
}
OVL float8 native_exp2(float8 a)
{
    for (int i = 0; i < 8; i++) a[i] = native_exp2(a[i]);
    return a;
}
OVL ushort8 vload8(size_t i, const ushort *p)
{
    ushort8 v;
    for (int k = 0; k < 8; k++) v[k] = p[8 * i + k];
    return v;
}
OVL float vload_half(size_t i, const half *p)
{
    return p[i];
}
OVL void vstore_half_rte(float v, size_t i, half *p)
{
    p[i] = (half)v;
}
OVL void vstore_half4_rte(float4 v, size_t i, half *p)
{
    for (int k = 0; k < 4; k++) p[4 * i + k] = (half)v[k];
}
#define convert_float4(v) __builtin_convertvector(v, float4)

/* ---- work-items: groups have one dimension ---- */
size_t emu_local(void), emu_group(uint d), emu_offset(uint d), emu_size(void);
#define get_local_id(d)      ((d) == 0 ? emu_local() : 0)
#define get_group_id(d)      emu_group(d)
#define get_global_id(d)     (emu_offset(d) + ((d) == 0 ? emu_group(0) * emu_size() + emu_local() : emu_group(d)))
#define get_global_offset(d) emu_offset(d)
void emu_barrier(void);
#define CLK_LOCAL_MEM_FENCE 1
#define barrier(f)          emu_barrier()

/* ---- Intel: cl_intel_subgroups(_short), cl_intel_subgroup_matrix_multiply_accumulate, _2d_block_io, _buffer_prefetch ---- */
uint emu_lane(void), emu_sub_group(void);
void emu_block_read(const void *p, int bytes, int count, void *to);
void emu_block_write(void *p, int bytes, int count, const void *from);
void emu_touch(const void *p, int bytes);
void emu_read_2d(const void *p, int width, int height, int pitch, int x, int y, int rows, int blocks, ushort *to);
void emu_dpas(int bf16, int lanes, const void *a, const void *b, float *c);
float emu_reduce(int max, float v);
int emu_any(int v);
#define intel_reqd_sub_group_size(n) annotate("sub-group")
#define get_sub_group_id()           emu_sub_group()
#define get_sub_group_local_id()     emu_lane()
#define sub_group_reduce_max(v)      emu_reduce(1, v)
#define sub_group_reduce_add(v)      emu_reduce(0, v)
#define sub_group_any(v)             emu_any(v)
#define READ(name, type, count, elem)                                                                                              \
    OVL type name(const elem *p)                                                                                                   \
    {                                                                                                                              \
        type v;                                                                                                                    \
        emu_block_read(p, sizeof(elem), count, &v);                                                                                \
        return v;                                                                                                                  \
    }
READ(intel_sub_group_block_read8, uint8, 8, uint)
READ(intel_sub_group_block_read4, uint4, 4, uint)
READ(intel_sub_group_block_read2, uint2, 2, uint)
READ(intel_sub_group_block_read_us2, ushort2, 2, ushort)
READ(intel_sub_group_block_read_us4, ushort4, 4, ushort)
#define WRITE(name, type, count)                                                                                                   \
    OVL void name(ushort *p, type v)                                                                                               \
    {                                                                                                                              \
        emu_block_write(p, 2, count, &v);                                                                                          \
    }
WRITE(intel_sub_group_block_write_us2, ushort2, 2)
WRITE(intel_sub_group_block_write_us4, ushort4, 4)
WRITE(intel_sub_group_block_write_us8, ushort8, 8)
#define cl_intel_subgroup_2d_block_io         1
#define cl_intel_subgroup_buffer_prefetch     1
#define intel_sub_group_block_prefetch_ui8(p) emu_touch(p, 32)
OVL void intel_sub_group_2d_block_read_16b_32r16x2c(void *p, int w, int h, int pitch, int2 at, ushort *to)
{
    emu_read_2d(p, w, h, pitch, at.x, at.y, 32, 2, to);
}
OVL void intel_sub_group_2d_block_prefetch_16b_32r16x2c(void *p, int w, int h, int pitch, int2 at)
{
}
#define DPAS(name, bf16)                                                                                                           \
    OVL float8 name(int8 a, int8 b, float8 c)                                                                                      \
    {                                                                                                                              \
        emu_dpas(bf16, 8, &a, &b, (float *)&c);                                                                                    \
        return c;                                                                                                                  \
    }                                                                                                                              \
    OVL float8 name(short8 a, int8 b, float8 c)                                                                                    \
    {                                                                                                                              \
        emu_dpas(bf16, 16, &a, &b, (float *)&c);                                                                                   \
        return c;                                                                                                                  \
    }
DPAS(intel_sub_group_bf16_bf16_matrix_mad_k16, 1)
DPAS(intel_sub_group_f16_f16_matrix_mad_k16, 0)

/* ---- AMD: unit 9 is MFMA 32x32x8 (wave of 64), 11 and 12 WMMA 16x16x16 (wave of 32) ---- */
void emu_mma(int unit, int bf16, const void *a, const void *b, int bytes, float *c);
uint emu_from_lane(uint v, uint lane);
#define MMA(name, unit, bf16, in, out)                                                                                             \
    OVL out name(in a, in b, out c)                                                                                                \
    {                                                                                                                              \
        emu_mma(unit, bf16, &a, &b, sizeof a, (float *)&c);                                                                        \
        return c;                                                                                                                  \
    }
MMA(emu_mfma_bf16, 9, 1, short4, float16)
MMA(emu_mfma_f16, 9, 0, half4, float16)
#define __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(a, b, c, x, y, z) emu_mfma_bf16(a, b, c)
#define __builtin_amdgcn_mfma_f32_32x32x8f16(a, b, c, x, y, z)     emu_mfma_f16(a, b, c)
MMA(__builtin_amdgcn_wmma_f32_16x16x16_bf16_w32, 11, 1, short16, float8)
MMA(__builtin_amdgcn_wmma_f32_16x16x16_f16_w32, 11, 0, half16, float8)
MMA(__builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12, 12, 1, short8, float8)
MMA(__builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12, 12, 0, half8, float8)
/* with the selectors 0x76543210, 0xfedcba98: each lane reads its own place in the other row of 16 */
#define __builtin_amdgcn_permlanex16(old, v, s0, s1, fi, bound) emu_from_lane(v, emu_lane() ^ 16)
#define __builtin_amdgcn_ds_bpermute(at, v)                     ((int)emu_from_lane((uint)(v), (uint)(at) / 4))

/* ---- NVIDIA: the functions of cl/nvidia/ptx.h that the kernels use, in place of that file.
 * ---- */
#define TN_PTX_H
#ifndef ACT
#define ACT 1
#endif
#define GROUP(items)            __attribute__((reqd_work_group_size(items, 1, 1)))
#define word_from_lane(v, mask) emu_from_lane(v, emu_lane() ^ (mask))
#define word_at_lane(v, lane)   emu_from_lane(v, lane)
#define from_lane(v, mask)      as_float(emu_from_lane(as_uint(v), emu_lane() ^ (mask)))
OVL float rsqrt(float a)
{
    return 1.0f / __builtin_sqrtf(a);
}
OVL uint take_bytes(uint a, uint b, uint which)
{
    const ulong both = (ulong)b << 32 | a;
    uint r = 0;
    for (int i = 0; i < 4; i++) {
        const uint digit = which >> 4 * i & 15u, byte = (uint)(both >> 8 * (digit & 7u)) & 255u;
        r |= (digit & 8u ? (byte & 128u ? 255u : 0u) : byte) << 8 * i;
    }
    return r;
}
OVL uint emu_word(float v)
{
#if ACT == 2
    return as_ushort((half)v);
#else
    const uint u = as_uint(v);
    return (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
#endif
}
OVL uint pack16(float low, float high)
{
    return emu_word(low) | emu_word(high) << 16;
}
OVL float2 unpack16(uint w)
{
#if ACT == 2
    return (float2)((float)as_half((ushort)(w & 0xffffu)), (float)as_half((ushort)(w >> 16)));
#else
    return (float2)(as_float(w << 16), as_float(w & 0xffff0000u));
#endif
}
void emu_mma80(int bf16, const uint *a, const uint *b, float *c);
#define MMA16816(c, a0, a1, a2, a3, b0, b1) emu_mma80(ACT == 1, (const uint[]){a0, a1, a2, a3}, (const uint[]){b0, b1}, &(c)[0])
#define GROUP_ID(d, items)                  ((int)((get_global_id(d) - get_local_id(d)) / (items)))
/* Local memory by the lower half of its addresses. Copies to it are made at once: what the waits are for is not seen here. */
uint emu_address(const void *p);
void *emu_at(uint address);
void emu_matrix(int transposed, uint at, uint *words);
#define LOCAL_ADDRESS(p) emu_address(p)
#define commit_copies()
#define WAIT_COPIES(left)
OVL void copy16(uint to, const __global ushort *from, int bytes)
{
    ushort *at = emu_at(to);
    for (int i = 0; i < 8; i++) at[i] = 2 * i < bytes ? from[i] : (ushort)0;
}
#define short_at(at) ((uint) * (ushort *)emu_at(at))
#define LDMATRIX(kind, d0, d1, d2, d3, at)                                                                                         \
    {                                                                                                                              \
        uint words[4];                                                                                                             \
        emu_matrix(sizeof(kind) > 1, at, words);                                                                                   \
        d0 = words[0], d1 = words[1], d2 = words[2], d3 = words[3];                                                                \
    }
