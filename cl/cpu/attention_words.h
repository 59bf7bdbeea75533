/* The words that attention multiplies (vectors.h): neighbours with DOT are such along the head's columns for scores and along the
 * keys or queries for sums of rows. Scores, sums and what the weights are made of stay float32. Needs vectors.h, HD and HV. */
#ifdef DOT
inline void load_words(uint16 v[HD / 32], const __global act_t *p, bool there)
{
    UNROLL(j, HD / 32) v[j] = there ? ((const __global loose_pairs *)p)[j].v : (uint16)(0);
}

/* Two rows as one of pairs. */
inline void join_rows(uint16 v[HV], const __global act_t *a, bool a_there, const __global act_t *b, bool b_there)
{
    UNROLL(j, HV)
    {
        const uint16 lo = a_there ? as_uint16(LDV(ACT, a, 16 * j)) >> 16 : (uint16)(0);
        v[j] = lo | (b_there ? as_uint16(LDV(ACT, b, 16 * j)) : (uint16)(0));
    }
}

/* Rounded: each lane of a and b a pair. */
inline uint16 join_lanes(float16 a, float16 b)
{
    const ushort32 u = __builtin_astype(round_row(a, b), ushort32);
    return __builtin_astype(__builtin_shufflevector(u, u, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10,
                                                    26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31),
                            uint16);
}

/* 2^x to 2.6e-6 of itself (own fit on -1/2 to 1/2), for what 16 bits will hold: x's distance from a whole number, and the power of
 * that number, are one instruction each, which needs no care for the smallest. NaN stays. */
inline float16 weight_of(float16 x)
{
    float16 f, r;
    __asm__("vreduceps $0, %1, %0" : "=v"(f) : "v"(x));
    float16 p = fma(f, (float16)(9.57010198e-3f), (float16)(5.59178609e-2f));
    p = fma(f, p, (float16)(2.40247448e-1f));
    p = fma(f, p, (float16)(6.93121815e-1f));
    p = fma(f, p, (float16)(9.99999261e-1f));
    __asm__("vscalefps %2, %1, %0" : "=v"(r) : "v"(p), "v"(x - f));
    return r;
}

/* Vector j of a row of weights, neighbours in pairs. */
#define KEEP_ROW(row, j, value) ((__global ushort16 *)(row))[j] = round16(value)
#else
inline void load_words(float16 v[HV], const __global act_t *p, bool there)
{
    UNROLL(j, HV) v[j] = there ? LDV(ACT, p, 16 * j) : (float16)(0.0f);
}

inline void join_rows(float16 v[HV], const __global act_t *a, bool there, const __global act_t *b, bool b_there)
{
    load_words(v, a, there);
}

inline float16 join_lanes(float16 a, float16 b)
{
    return a;
}
#define weight_of               exp2_fast
#define KEEP_ROW(row, j, value) VEC(row, j) = value
#endif
