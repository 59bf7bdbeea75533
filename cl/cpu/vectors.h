/* What the kernels of CPU devices share: sixteen floats at once in memory, products in blocks of registers, fast functions, a
 * transpose, scratch memory. Needs common.h with VW 16, and clang (which PoCL's and Intel's compilers are).
 *
 * WIDE 1: 32 registers of 16 floats (AVX-512); 0: 16 of 8 (AVX2), where a float16 takes two. */
#ifndef WIDE
#define WIDE 0
#endif

/* Scratch is read and written as what it is, aligned vectors; rows of tensors as common.h has it. */
#define VEC(p, j)  (((__global float16 *)(p))[j])
#define GVEC(p, j) (((__global loose16 *)(p))[j].v)

#define UNROLL(i, n)       _Pragma("unroll") for (int i = 0; i < (n); i++)
#define CLEAR(acc, M_, V_) UNROLL(i, M_) UNROLL(j, V_) acc[i][j] = (float16)(0.0f)
#define ADD_FMA(acc, a, b) acc = fma(a, b, acc)
/* Two products of bfloat16 a lane, a pair being a uint: AVX512-BF16. */
#define ADD_DOT(acc, a, b) __asm__("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b))
/* acc[i][j] += sum over k of a(i, k) * b(k, j): M_ broadcast scalars by V_ vectors of type T_; a and b are expressions
 * in i, j and k, and ADD_ is ADD_FMA or ADD_DOT. */
#define PRODUCT(T_, ADD_, acc, M_, V_, K_, a, b)                                                                                   \
    for (int k = 0; k < (K_); k++) {                                                                                               \
        T_ b_[V_];                                                                                                                 \
        UNROLL(j, V_) b_[j] = b;                                                                                                   \
        UNROLL(i, M_)                                                                                                              \
        {                                                                                                                          \
            const T_ a_ = (T_)(a);                                                                                                 \
            UNROLL(j, V_) ADD_(acc[i][j], a_, b_[j]);                                                                              \
        }                                                                                                                          \
    }

/* 32 bfloat16, or 16 pairs of them, as a matrix has them. */
typedef struct __attribute__((packed, aligned(2))) {
    uint16 v;
} loose_pairs;

/* What a product takes, PER elements a word: a float32, or with DOT two neighbours in bfloat16. Sixteen of them as scratch has
 * them, and as they may lie anywhere. */
#ifdef DOT
#define PER 2
typedef uint word;
typedef uint16 word16;
#define ADD_WORDS         ADD_DOT
#define LOOSE_WORDS(p, j) (((const __global loose_pairs *)(p))[j].v)
#else
#define PER         1
typedef float word;
typedef float16 word16;
#define ADD_WORDS   ADD_FMA
#define LOOSE_WORDS GVEC
#endif
#define WVEC(p, j) (((__global word16 *)(p))[j])

#ifdef __AVX512F__
/* Rounding to bfloat16 (AVX512-BF16): x's elements, then y's; and one vector. */
inline uint16 round_row(float16 x, float16 y)
{
    uint16 r;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(r) : "v"(x), "v"(y));
    return r;
}
inline ushort16 round16(float16 v)
{
    ushort16 r;
    __asm__("vcvtneps2bf16 %1, %0" : "=v"(r) : "v"(v));
    return r;
}
#endif

/* Asks for a line of memory; beyond a buffer's end that does no harm. */
#define PREFETCH(p) __builtin_prefetch((const void *)(size_t)(p))

/* ---- across a vector ---- */

#define LANE ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))

inline float sum16(float16 v)
{
    const float8 a = v.lo + v.hi;
    const float4 b = a.lo + a.hi;
    return (b.x + b.y) + (b.z + b.w);
}

/* fmax, less its care for NaN: one instruction. Of a NaN and a number it gives b. */
inline float16 greater16(float16 a, float16 b)
{
    return a > b ? a : b;
}

inline float max16(float16 v)
{
    const float8 a = fmax(v.lo, v.hi);
    const float4 b = fmax(a.lo, a.hi);
    return fmax(fmax(b.x, b.y), fmax(b.z, b.w));
}

/* The first n lanes of v, `rest` in the others. */
inline float16 first_lanes(float16 v, int n, float rest)
{
    return select((float16)(rest), v, LANE < n);
}

/* A 16 x 16 transpose: four times, the even lanes of row pairs, then the odd ones (a rotation of the index's bits). */
inline void transpose16(float16 t[16])
{
    for (int pass = 0; pass < 4; pass++) {
        float16 u[16];
        UNROLL(i, 8)
        {
            u[i] = (float16)(t[2 * i].even, t[2 * i + 1].even);
            u[i + 8] = (float16)(t[2 * i].odd, t[2 * i + 1].odd);
        }
        UNROLL(i, 16) t[i] = u[i];
    }
}

/* ---- dropout: all bits of those that are kept ---- */

typedef char char32 __attribute__((ext_vector_type(32)));
typedef ushort ushort32 __attribute__((ext_vector_type(32)));
typedef short short32 __attribute__((ext_vector_type(32)));
typedef struct __attribute__((packed)) {
    char32 v;
} loose_chars;
DECIDED(uint8, tn_decided8)
DECIDED(uint16, tn_decided16)

/* Elements i to i + 31, i a multiple of 16: of a word, the pair that comes first and the one 8 on. */
inline char32 kept_groups(uint seed, uint i, uint threshold)
{
    const uint8 k = tn_decided8(seed, (uint8)(WORD_OF(i)) + (uint8)(0, 1, 2, 3, 4, 5, 6, 7), threshold) ^ FLIPPED(threshold);
    const ushort16 p = as_ushort16(k);
    const ushort16 ordered = __builtin_shufflevector(p, p, 0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    return __builtin_astype(ordered, char32) < (char32)(0);
}

/* The same for an even i: a lane has a pair, and its word for itself. */
inline char32 kept_neighbours(uint seed, uint i, uint threshold)
{
    const uint16 at = (uint16)(i) + 2 * as_uint16(LANE);
    const uint16 k = (tn_decided16(seed, WORD_OF(at), threshold) ^ FLIPPED(threshold)) >> BYTE_OF(at);
    return __builtin_astype(__builtin_convertvector(k, ushort16), char32) < (char32)(0);
}

/* For any i. */
inline char32 kept32(uint seed, uint i, uint threshold)
{
    if (ALIGNED || i % 16 == 0) return kept_groups(seed, i, threshold);
    if (i % 2 == 0) return kept_neighbours(seed, i, threshold);
    const char32 from[2] = {kept_neighbours(seed, i - 1, threshold), kept_neighbours(seed, i + 31, threshold)};
    return ((const loose_chars *)((const char *)from + 1))->v;
}

inline float16 masked16(float16 v, char16 kept)
{
    return as_float16(as_int16(v) & __builtin_convertvector(kept, int16));
}

/* Of numbers of 16 bits. */
inline ushort32 masked32(ushort32 v, char32 kept)
{
    return v & __builtin_astype(__builtin_convertvector(kept, short32), ushort32);
}

/* ---- scratch ----
 *
 * One work-item a work-group takes one of `slots` pieces of global memory for as long as it runs: as many as the device has
 * threads, so that each finds one free at once, and finds it in its own core's cache. busy [slots * 16] is 0 before and after. */
#define P_SCRATCH , __global float *scratch, uint slot_floats, volatile __global int *busy, int slots

inline int slot_take(volatile __global int *busy, int slots)
{
    int s = 0;
    while (atomic_cmpxchg(busy + 16 * s, 0, 1)) s = s + 1 < slots ? s + 1 : 0;
    return s;
}

/* Where a slot begins: at a multiple of a vector. slot_floats has 16 floats for that. */
inline __global float *slot_at(__global float *scratch, size_t floats)
{
    const size_t at = (size_t)(scratch + floats);
    return (__global float *)((at + 63) & ~(size_t)63);
}

inline void slot_leave(volatile __global int *busy, int slot)
{
    mem_fence(CLK_GLOBAL_MEM_FENCE);
    atomic_xchg(busy + 16 * slot, 0);
}
