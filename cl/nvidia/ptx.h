/* PTX instructions that the kernels for NVIDIA's matrix units share, one function or macro each (PTX ISA 8.x). Needs OpenCL C
 * only; sm_80 and later. Storage: ACT 1 bfloat16, 2 float16 (as common.h); sums are float32.
 *
 * The driver compiles OpenCL C for a target without Hopper's own instructions. Those stand behind HIDDEN, as assembly comments;
 * a source that has any is "rewritten PTX": src/device/ptx.c takes the program's PTX, uncomments them, raises the target and
 * builds that text. A hidden instruction is one line. */
#ifndef TN_PTX_H
#define TN_PTX_H
#ifndef ACT
#define ACT 1
#endif
#define STR_(x) #x
#define STR(x)  STR_(x)
#define UNROLL  _Pragma("unroll")

#ifndef HIDDEN /* a trial build as CUDA C++ has its own */
#define HIDDEN           "//@@ "
#define GROUP(items)     __attribute__((reqd_work_group_size(items, 1, 1)))
#define LOCAL_ADDRESS(p) ((uint)(ulong)(p))
#endif
/* At the top of a kernel: so many groups must fit a multiprocessor, which bounds the registers of an item. Once rewritten. */
#define MIN_GROUPS(n) __asm volatile("//@@minnctapersm " STR(n))

/* The group's number, the same for all its items in a way that the compiler sees (uniform registers). Not get_group_id, which
 * begins at 0 in each slice of a launch. */
#define GROUP_ID(d, items) ((int)((get_global_id(d) - get_local_id(d)) / (items)))

#if ACT == 2
#define T16 "f16"
#else
#define T16 "bf16"
#endif

/* ---- two 16-bit numbers in a word ---- */

inline uint pack16(float low, float high)
{
    uint r;
    __asm("cvt.rn." T16 "x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

inline float2 unpack16(uint w)
{
#if ACT == 2
    float2 r;
    __asm("{ .reg .b16 l, h; mov.b32 {l, h}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, h; }" : "=f"(r.x), "=f"(r.y) : "r"(w));
    return r;
#else
    return (float2)(as_float(w << 16), as_float(w & 0xffff0000u));
#endif
}

/* Four bytes of b above a, one for each digit of `which`, the lowest first (prmt): 0 to 3 a's, 4 to 7 b's; 8 more: its top bit, all
 * over. */
inline uint take_bytes(uint a, uint b, uint which)
{
    uint r;
    __asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(which));
    return r;
}

/* Stores where `yes`, without the branch that a condition would be: it would cut what the compiler can interleave into pieces.
 * Other loads may come before it: it is not for what is read again. */
inline void store16_if(bool yes, __global ushort *to, uint4 v)
{
    __asm volatile("{ .reg .pred p; setp.ne.s32 p, %5, 0; @p st.global.v4.b32 [%0], {%1, %2, %3, %4}; }" ::"l"(to), "r"(v.x),
                   "r"(v.y), "r"(v.z), "r"(v.w), "r"((int)yes));
}

inline void store4_if(bool yes, __global float *to, float v)
{
    __asm volatile("{ .reg .pred p; setp.ne.s32 p, %2, 0; @p st.global.f32 [%0], %1; }" ::"l"(to), "f"(v), "r"((int)yes));
}

/* ---- lanes ---- */

inline void sync_warp(void) /* what its lanes did to memory before is there for all of them */
{
    __asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
}

inline uint word_from_lane(uint v, int mask) /* the value of lane ^ mask */
{
    uint r;
    __asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, -1;" : "=r"(r) : "r"(v), "r"(mask));
    return r;
}

inline uint word_at_lane(uint v, int lane)
{
    uint r;
    __asm volatile("shfl.sync.idx.b32 %0, %1, %2, 31, -1;" : "=r"(r) : "r"(v), "r"(lane));
    return r;
}

inline float from_lane(float x, int mask)
{
    return as_float(word_from_lane(as_uint(x), mask));
}

inline int any_lane(int yes)
{
    int r;
    __asm volatile("{ .reg .pred p; setp.ne.s32 p, %1, 0; vote.sync.any.pred p, p, -1; selp.s32 %0, 1, 0, p; }"
                   : "=r"(r)
                   : "r"(yes));
    return r;
}

/* ---- fast arithmetic: without the handling of denormals that native_exp2 brings along ---- */

inline float exp2_fast(float x)
{
    float r;
    __asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}

inline float fma_held(float a, float b, float c) /* in [0, 1] */
{
    float r;
    __asm("fma.rn.sat.f32 %0, %1, %2, %3;" : "=f"(r) : "f"(a), "f"(b), "f"(c));
    return r;
}

/* ---- copies to local memory that go on beside the arithmetic ---- */

inline void copy16(uint to, const __global ushort *from, int bytes) /* bytes: 16, or 0 to write zeros */
{
    __asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

inline void copy4(uint to, const __global float *from, int bytes) /* bytes: 4, or 0 */
{
    __asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

inline void commit_copies(void)
{
    __asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until at most `left` (a literal) of the latest commits are under way. */
#define WAIT_COPIES(left) __asm volatile("cp.async.wait_group " STR(left) ";" ::: "memory")

/* ---- the matrix unit of a warp: c[16x8] += a[16x16] b[16x8] ----
 * Lane 4r+q holds of a: rows r, r+8 and columns 2q, 2q+1, then the same of columns 8 on; of b: rows 2q, 2q+1 (and 8 on) of column
 * r; of c: columns 2q, 2q+1 of rows r (c[0], c[1]) and r+8 (c[2], c[3]). */
#define MMA16816(c, a0, a1, a2, a3, b0, b1)                                                                                        \
    __asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." T16 "." T16 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "      \
                   "{%0, %1, %2, %3};"                                                                                             \
                   : "+f"((c)[0]), "+f"((c)[1]), "+f"((c)[2]), "+f"((c)[3])                                                        \
                   : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1))

/* 16 bits of local memory. */
inline uint short_at(uint at)
{
    ushort r;
    __asm volatile("ld.shared.u16 %0, [%1];" : "=h"(r) : "r"(at) : "memory");
    return r;
}

/* Four 8 x 8 blocks of 16-bit numbers from local memory; lane l's `at` is row l % 8 of block l / 8. kind "": lane 4r+q gets
 * columns 2q, 2q+1 of row r; ".trans": rows 2q, 2q+1 of column r. */
#define LDMATRIX(kind, d0, d1, d2, d3, at)                                                                                         \
    __asm volatile("ldmatrix.sync.aligned.m8n8.x4" kind ".shared.b16 {%0, %1, %2, %3}, [%4];"                                      \
                   : "=r"(d0), "=r"(d1), "=r"(d2), "=r"(d3)                                                                        \
                   : "r"(at)                                                                                                       \
                   : "memory")
#endif
