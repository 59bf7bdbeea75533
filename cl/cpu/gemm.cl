/* The product for CPU devices: no local memory, one work-item a work-group, float16 accumulators in registers.
 *
 * B lies in panels (gemm_pack.cl), or is used where it lies; an item makes an MR x NR block of C, broadcasting A. NRV is NR/16.
 * Items next to each other share a panel (it stays in L2) and walk down A. Options: shared/gemm.h, and DIRECT   B is row-major,
 * stored as BT, perhaps with MASK_B; N is a multiple of NR DOT      A and B in bfloat16, multiplied in pairs along K (AVX512-BF16);
 * K is even, A is not transposed TURN     rotary embedding of heads as wide as a panel: of the first turn_cols columns, but for
 * `skip` of `tokens` rows */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#if defined(CT) && CT != 0
#define COARSE 1
#endif
#include "act.h"
#include "step.h"
#include "gemm.h"
#ifndef MR
#define MR 6
#endif
#ifndef NRV
#define NRV 4
#endif
#define NR (16 * NRV)

#ifdef PAIR
#define P_PAIR                                                                                                                     \
    , const __global TYPE(A2T) * A2, uint a2_off, int lda2, const __global float *P2, uint p2_panel, int p2_row, uint p2_off,      \
        int K2, int part, float pair_scale
#else
#define P_PAIR
#endif
#ifdef TURN
#define TURN_WIDTH NR
#include "turn.h"
#define P_TURN , const __global float2 *table, int tokens, int skip, int turn_cols
#else
#define P_TURN
#endif

typedef struct __attribute__((packed, aligned(2))) {
    uint v;
} loose_pair;

#define EACH_ROW    UNROLL(i, MR)
#define EACH_VECTOR UNROLL(j, NRV)

/* acc += a row of B times a value for each row of A. */
#define STEP(b_value, a_value)                                                                                                     \
    {                                                                                                                              \
        float16 b[NRV];                                                                                                            \
        EACH_VECTOR b[j] = b_value;                                                                                                \
        EACH_ROW                                                                                                                   \
        {                                                                                                                          \
            const float16 a = (float16)(a_value);                                                                                  \
            EACH_VECTOR acc[i][j] = fma(a, b[j], acc[i][j]);                                                                       \
        }                                                                                                                          \
    }

/* ---- A and B: what panel_t is, and MAIN_STEP with the value of A's row i ---- */

#ifdef DOT
typedef uint panel_t; /* two neighbours along K */
#define A_STEP        2
#define A_VALUE(i, k) ((const __global loose_pair *)(row[i] + (k)))->v
#define MAIN_STEP(k, a_value)                                                                                                      \
    {                                                                                                                              \
        uint16 b[NRV];                                                                                                             \
        EACH_VECTOR b[j] = ((const __global loose_pairs *)p)[j].v;                                                                 \
        EACH_ROW                                                                                                                   \
        {                                                                                                                          \
            const uint16 a = (uint16)(a_value);                                                                                    \
            EACH_VECTOR ADD_DOT(acc[i][j], a, b[j]);                                                                               \
        }                                                                                                                          \
    }
#else
#define A_STEP        1
#define A_VALUE(i, k) LD(AT, row[i], TA ? (size_t)(k)*lda : (size_t)(k))
#ifndef DIRECT
typedef float panel_t;
#define MAIN_STEP(k, a_value) STEP(GVEC(p, j), a_value)
#elif defined(MASK_B)
typedef TYPE(BT) panel_t;
#define MAIN_STEP(k, a_value)                                                                                                      \
    STEP(LDV(BT, p, 16 * j) * KEEP(b_seed, (uint)(k)*b_width + (uint)(n0 + 16 * j), b_threshold, b_keep), a_value)
#else
typedef TYPE(BT) panel_t;
#define MAIN_STEP(k, a_value) STEP(LDV(BT, p, 16 * j), a_value)
#endif
#endif

/* What lies a whole row of a matrix apart no hardware follows: it is asked for, C and what its end reads before the LAST products,
 * rows of A and B AHEAD steps before their turn (beyond the end that does no harm). */
#define AHEAD 24
#ifdef DIRECT
#define ASK_B PREFETCH(p + (size_t)AHEAD * p_row);
#else
#define ASK_B
#endif
#if TA
#define ASK_A(k) PREFETCH(row[0] + (size_t)((k) + AHEAD) * lda);
#else
#define ASK_A(k)
#endif
/* The block's lines of a matrix, `write` 1: to be written. */
#define ASK_BLOCK(t, p, off, ld, write)                                                                                            \
    EACH_ROW for (int c = 0; c < NR; c += 64 / (int)sizeof(TYPE(t)))                                                               \
        __builtin_prefetch((const void *)(size_t)((p) + (off) + (size_t)min(m0 + i, M - 1) * (ld) + n0 + c), write);
#if SPLIT
#define ASK_C
#else
#define ASK_C ASK_BLOCK(CT, C, c_at, ldc, 1)
#endif
#ifdef SLOPE
#define ASK_SLOPE ASK_BLOCK(LT, slope, slope_off, slope_ld, 0)
#else
#define ASK_SLOPE
#endif
#ifdef RESIDUAL
#define ASK_RESIDUAL ASK_BLOCK(RT, residual, residual_off, residual_ld, 0)
#else
#define ASK_RESIDUAL
#endif
#define ASK_END                                                                                                                    \
    {                                                                                                                              \
        ASK_C ASK_SLOPE ASK_RESIDUAL                                                                                               \
    }
#define LAST (64 * A_STEP) /* of K: what is asked for earlier, B drives out of the first cache again */

/* ---- the end of a block ---- */

/* cnt sums become what is stored. */
#if SPLIT
#define END(s, m, n, cnt) STN(0, (__global float *)C, ((size_t)zb * M + (m)) * N + (n), s, cnt)
#else
#define END(sum, m, n, cnt)                                                                                                        \
    {                                                                                                                              \
        const size_t at = c_at + (size_t)(m)*ldc + (n);                                                                            \
        float16 s = alpha * (sum);                                                                                                 \
        EPILOGUE(s, m, n, cnt)                                                                                                     \
        if (beta != 0.0f) s += beta * LDN(CT, C, at, cnt);                                                                         \
        STN(CT, C, at, s, cnt);                                                                                                    \
    }
#endif

/* ---- dropout; of A 32 elements of a row at once, zeros from n on ---- */

#ifdef MASK_E
/* A row of the second pair's product with its dropout; element i is its first. */
inline void drop_row(float16 v[NRV], uint seed, uint i, uint threshold, float keep)
{
    for (int j = 0; j < NRV; j += 2) {
        const char32 kept = kept32(seed, i + 16 * j, threshold);
        v[j] = masked16(v[j], kept.lo) * keep;
        if (j + 1 < NRV) v[j + 1] = masked16(v[j + 1], kept.hi) * keep;
    }
}
#endif

#ifdef MASK_A
typedef struct {
    float16 lo, hi;
} float32s;

#define INLINED __attribute__((always_inline)) inline /* what depends on the threshold alone is worked out once for all rows */
#ifdef DOT
typedef ushort32 masked_t;
#define MASKED_VALUE uint
typedef struct __attribute__((packed, aligned(2))) {
    ushort32 v;
} loose_halves;
INLINED ushort32 masked_row(const __global ushort *A, size_t at, int n, uint seed, uint i, uint threshold)
{
    ushort32 v = (ushort32)(0);
    if (n >= 32) v = ((const __global loose_halves *)(A + at))->v;
    else
        for (int k = 0; k < n; k++) v[k] = A[at + k];
    return masked32(v, kept32(seed, i, threshold));
}
#else
typedef float32s masked_t;
#define MASKED_VALUE float
INLINED float32s masked_row(const __global TYPE(AT) * A, size_t at, int n, uint seed, uint i, uint threshold)
{
    const char32 kept = kept32(seed, i, threshold);
    float32s v;
    v.lo = masked16(LDN(AT, A, at, n), kept.lo);
    v.hi = n > 16 ? masked16(LDN(AT, A, at + 16, n - 16), kept.hi) : (float16)(0.0f);
    return v;
}
#endif
#endif

/* Items (m_inner blocks of MR rows, panels, outer row blocks * splits * batch). p_panel and p_row are P's strides. */
__kernel void gemm_panel(const __global TYPE(AT) * A, uint a_off, int lda, const __global panel_t *P, uint p_off, uint p_panel,
                         int p_row, __global TYPE(CT) * C, uint c_off, int ldc, int M, int N, int K, int k_chunk, int inner,
                         int outers, float alpha, float beta P_BATCH P_STEP P_MASK_A P_MASK_B P_PAIR P_MASK_E P_TURN P_EPILOGUE)
{
    const int zb = (int)get_global_id(2) / outers, outer = (int)get_global_id(2) % outers;
    const int m0 = (outer * inner + (int)get_global_id(0)) * MR;
    const int panel = (int)get_global_id(1), n0 = panel * NR;
    size_t a_at = a_off, p_at = p_off, c_at = c_off;
    int z = zb;
    if (m0 >= M) return;
#ifdef BATCH
    const int item = zb / splits;
    z = zb % splits;
    a_at += (size_t)item * a_step, p_at += (size_t)item * b_step, c_at += (size_t)item * c_step;
#endif
    const int k_begin = SPLIT ? z * k_chunk : 0, k_end = SPLIT ? min(K, k_begin + k_chunk) : K;
    const __global TYPE(AT) * row[MR]; /* pointers: compilers put sums of indices into vectors */
    float16 acc[MR][NRV];
    CLEAR(acc, MR, NRV);

#ifdef PAIR
    if (!SPLIT || z == 0) {
        const __global float *p2 = P2 + p2_off + (size_t)panel * p2_panel;
        const __global TYPE(A2T) * row2[MR];
        EACH_ROW row2[i] = A2 + a2_off + (size_t)min(m0 + i, M - 1) * lda2 + (TB2 ? n0 / part * K2 : 0); /* a panel: of one part */
        for (int k = 0; k < K2; k++, p2 += p2_row) STEP(GVEC(p2, j), LD(A2T, row2[i], k))
#ifdef MASK_E
        const uint e_seed = tn_hash(step->seed, e_salt);
        EACH_ROW drop_row(acc[i], e_seed, (uint)(m0 + i) * (uint)N + (uint)n0, e_threshold, e_keep);
#endif
        EACH_ROW EACH_VECTOR acc[i][j] *= pair_scale;
    }
#endif
    const __global panel_t *p = P + p_at + (size_t)panel * p_panel + (size_t)(k_begin / A_STEP) * p_row;
    EACH_ROW row[i] = A + a_at + (size_t)min(m0 + i, M - 1) * (TA ? 1 : lda);
#ifdef MASK_B
    const uint b_seed = tn_hash(step->seed, b_salt);
#endif
#ifdef MASK_A
    const uint a_seed = tn_hash(step->seed, a_salt);
    ASK_END;
    for (int k0 = k_begin; k0 < k_end; k0 += 32) { /* 32 masks at once; what is kept stays as it is */
        const int kn = min(32, k_end - k0);
        masked_t masked[MR];
        EACH_ROW masked[i] = masked_row(row[i], k0, kn, a_seed, (uint)min(m0 + i, M - 1) * a_width + (uint)k0, a_threshold);
        for (int k = 0; k * A_STEP < kn; k++, p += p_row) MAIN_STEP(k0 + k, ((const MASKED_VALUE *)&masked[i])[k])
    }
    EACH_ROW EACH_VECTOR acc[i][j] *= a_keep;
#else
    int k = k_begin;
    _Pragma("nounroll") for (int last = 0; last < 2; last++)
    {
        const int stop = last ? k_end : k_end - LAST;
        for (; k < stop; k += A_STEP, p += p_row) {
            ASK_B ASK_A(k) MAIN_STEP(k, A_VALUE(i, k))
        }
        if (!last) ASK_END;
    }
#endif

#ifdef TURN
    EACH_ROW
    {
        const int m = m0 + i;
        EACH_VECTOR
        {
            acc[i][j] *= alpha;
            E_BIAS(acc[i][j], n0 + 16 * j, 16)
        }
        if (m < M) {
            if (n0 < turn_cols && m % tokens >= skip) turn_columns(acc[i], table + (size_t)(m % tokens - skip) * (NR / 2), 1.0f);
            EACH_VECTOR STN(CT, C, c_at + (size_t)m * ldc + n0 + 16 * j, acc[i][j], 16);
        }
    }
#else
    if (m0 + MR <= M && n0 + NR <= N) {
        EACH_ROW EACH_VECTOR END(acc[i][j], m0 + i, n0 + 16 * j, 16);
        return;
    }
    float16 edge[MR][NRV]; /* indexed by what is not known before: the whole blocks' sums stay in registers */
    EACH_ROW EACH_VECTOR edge[i][j] = acc[i][j];
    _Pragma("nounroll") for (int i = 0; i < MR && m0 + i < M; i++)
        _Pragma("nounroll") for (int n = n0; n < n0 + NR && n < N; n += 16) END(edge[i][(n - n0) / 16], m0 + i, n, min(16, N - n));
#endif
}
