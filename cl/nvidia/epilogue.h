/* The end of a product on NVIDIA's matrix units. Needs common.h, step.h, ptx.h and matrix_unit.h.
 *
 * The matrix unit leaves a 16 x 8 block so: lane 4r+q holds columns 2q, 2q+1 of rows r and r+8. Stored from there, a warp would
 * write 16-byte pieces of four bytes each; so four blocks are transposed inside each quad of lanes first, after which lane q holds
 * all eight columns of block q, and reads and writes 16 bytes: by shuffles, or where LAID is defined by way of a kilobyte of local
 * memory that a warp has at `laid` (P_LAID), in two halves for the calls in turn. */

/* Lane q's word i becomes lane i's word q: its own inverse. (Word by word: a choice between two vectors would be compiled to a
 * branch that splits the warp.) */
inline uint4 quad_transpose(uint4 w, int q)
{
    const bool odd = q & 1, high = q & 2;
    uint a = word_from_lane(odd ? w.x : w.y, 1), b = word_from_lane(odd ? w.z : w.w, 1);
    w.x = odd ? a : w.x, w.y = odd ? w.y : a, w.z = odd ? b : w.z, w.w = odd ? w.w : b;
    a = word_from_lane(high ? w.x : w.z, 2), b = word_from_lane(high ? w.y : w.w, 2);
    w.x = high ? a : w.x, w.z = high ? w.z : a, w.y = high ? b : w.y, w.w = high ? w.w : b;
    return w;
}

#ifdef LAID
#define P_LAID                 , uint laid
#define A_LAID                 , laid
#define TRANSPOSED(w, q, half) laid_transpose(w, laid + (half)*512)
/* The same by way of 512 bytes: eight rows of 64, whose 16-byte pieces lie so that eight of a column fall on different banks. Who
 * writes there next has passed another call's barrier, which all reads come before. */
inline uint4 laid_transpose(uint4 w, uint at)
{
    const uint lane = get_local_id(0) & 31, in = lane & 7, out = lane >> 2;
    uint4 r;
    __asm volatile(HIDDEN "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                       at + in * 64 + ((lane >> 3 ^ (in >> 1 & 3)) << 4)),
                   "r"(w.x), "r"(w.y), "r"(w.z), "r"(w.w)
                   : "memory");
    sync_warp();
    __asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
                   : "r"(at + out * 64 + (((lane & 3) ^ (out >> 1 & 3)) << 4))
                   : "memory");
    return r;
}
#else
#define P_LAID
#define A_LAID
#define TRANSPOSED(w, q, half) quad_transpose(w, q)
#endif
#ifdef PRE
#define OUT_HALF 0
#else
#define OUT_HALF h
#endif

/* Reads the extra of 32 columns, from c on, of rows r and r+8, and brings it to the lanes that end them. */
inline void fetch(uint4 *held, int r, int c, int M, int N P_END)
{
#if READS
    const int mine = c + 8 * ((int)get_local_id(0) & 3);
    UNROLL for (int h = 0; h < 2; h++)
    {
        const bool in = r + 8 * h < M && mine < N;
        const size_t at = in ? e_off + (size_t)(r + 8 * h) * lde + mine : e_off;
        __asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];" /* an ordinary load would be moved down to its use */
                       : "=r"(held[h].x), "=r"(held[h].y), "=r"(held[h].z), "=r"(held[h].w)
                       : "l"(extra + at));
    }
    UNROLL for (int h = 0; h < 2; h++) held[h] = quad_transpose(held[h], (int)get_local_id(0) & 3);
#endif
}

#ifdef ALPHA_ONE
#define SCALED(v) (v)
#else
#define SCALED(v) (alpha * (v))
#endif

/* ---- a layer norm in front: of A's rows x normed the product is (x B - mean u) / deviation, u the sums of B's columns ---- */
#define SUM_COLUMNS 64 /* of a block of sums (portable/row_sums.cl) */
#ifdef NORM
#define P_ROW_SUMS , const __global float2 *restrict row_sums, float norm_eps
#define P_RSTD     , const float *rstd
#define A_RSTD(x)  , &rstd[2 * ((x) / PIECES_ACROSS)]
#define A_RSTD_    , rstd
/* Row r's sums in every step-th of its NORM blocks, from the first on. */
inline float2 blocks_sum(const __global float2 *restrict row_sums, int r, int M, int first, int step)
{
    float2 t = 0.0f;
    UNROLL for (int b = 0; b < NORM; b += step)
    {
        const float2 s = row_sums[min(b + first, NORM - 1) * M + min(r, M - 1)];
        t += b + first < NORM ? s : (float2)0.0f;
    }
    return t;
}

/* -mean and 1 / deviation of the row with these sums. */
inline float2 norm_of(float2 t, float eps)
{
    t *= 1.0f / (NORM * SUM_COLUMNS);
    return (float2)(-t.x, rsqrt(max(t.y - t.x * t.x, 0.0f) + eps));
}

/* Of row r, by a quad of lanes that share the reading. */
inline float2 norm_by_quad(const __global float2 *restrict row_sums, int r, int M, float eps)
{
    float2 t = blocks_sum(row_sums, r, M, (int)get_local_id(0) & 3, 4);
    UNROLL for (int k = 1; k < 4; k *= 2) t += (float2)(from_lane(t.x, k), from_lane(t.y, k));
    return norm_of(t, eps);
}

/* What this lane's part of 32 columns, from c on, of two rows begins with: -mean u. Long before the product, which is added to it.
 */
inline void begin_normed(float *d, const float *less, int c, int N P_END)
{
    UNROLL for (int j = 0; j < 4; j++)
    {
        const int n = min(c + 8 * j + 2 * ((int)get_local_id(0) & 3), N - 2);
        const float2 u = *(const __global float2 *)(column_sums + n);
        UNROLL for (int h = 0; h < 2; h++) d[4 * j + 2 * h] = less[h] * u.x, d[4 * j + 2 * h + 1] = less[h] * u.y;
    }
}
/* For all of a kernel's pieces, from NORM_OF(row); rstd stays. */
#define ROWS_DOWN (PIECE_COUNT / PIECES_ACROSS)
#define BEGIN_NORMED                                                                                                               \
    float less[2 * ROWS_DOWN], rstd[2 * ROWS_DOWN];                                                                                \
    UNROLL for (int i = 0; i < 2 * ROWS_DOWN; i++)                                                                                 \
    {                                                                                                                              \
        const float2 norm = NORM_OF(ROW(i / 2 * PIECES_ACROSS) + i % 2 * 8);                                                       \
        less[i] = norm.x, rstd[i] = norm.y;                                                                                        \
    }                                                                                                                              \
    UNROLL for (int x = 0; x < PIECE_COUNT; x++) begin_normed(SUMS_OF(x), &less[2 * (x / PIECES_ACROSS)], COLUMN(x), N A_END);
#else
#define P_ROW_SUMS
#define P_RSTD
#define A_RSTD(x)
#define A_RSTD_
#endif

/* The sum v of columns n, n+1 of row h, scaled and biased. */
inline float2 begin_pair(float2 v, int n, int h P_RSTD P_END)
{
    v = SCALED(v);
#ifdef NORM
    v *= rstd[h];
#endif
#ifdef BIAS
    v += *(const __global float2 *)(bias + n);
#endif
    return v;
}

/* ---- the sums and the sums of squares of C's rows, for a norm behind it ---- */
#ifdef ROW_SUMS
#define P_RUNNING , float *running
#define A_RUNNING , running
#define RUN_SUMS  float running[4] = {0, 0, 0, 0};
/* This lane's share of 64 columns, to c + 31, of two rows: four sums, which the quad's lanes divide among themselves. */
inline void put_sums(float *running, int2 rows, int c, int M, int N P_END)
{
    const int lane = (int)get_local_id(0);
    const bool odd = lane & 1, high = lane & 2;
    const float s = (odd ? running[2] : running[0]) + from_lane(odd ? running[0] : running[2], 1),
                t = (odd ? running[3] : running[1]) + from_lane(odd ? running[1] : running[3], 1);
    const float all = (high ? t : s) + from_lane(high ? s : t, 2);
    const int row = odd ? rows.y : rows.x;
    store4_if(row < M && c < N, sums + 2 * (c / SUM_COLUMNS * M + row) + (high ? 1 : 0), all);
    UNROLL for (int i = 0; i < 4; i++) running[i] = 0.0f;
}
#else
#define P_RUNNING
#define A_RUNNING
#define RUN_SUMS
#endif

/* One pair of neighbours: the sum v of columns n, n+1 of row h; s: its word of the extra, in or out. */
inline float2 end_pair(float2 v, uint *s, int n, int h P_RSTD P_END)
{
#ifndef TURN /* turn_pieces has done it */
    v = begin_pair(v, n, h A_RSTD_ A_END);
#endif
#ifdef PRE_SLOPE
    float low, high;
    v = (float2)(gelu_and_slope(v.x, &low), gelu_and_slope(v.y, &high));
    *s = pack16(low, high);
#else
#ifdef PRE
    *s = pack16(v.x, v.y);
#endif
#ifdef ACTIVATE
    v.x = gelu(v.x), v.y = gelu(v.y);
#endif
#endif
#ifdef READY
    v *= unpack16(*s);
#elif defined(SLOPE)
    const float2 u = unpack16(*s);
    v.x *= gelu_slope(u.x), v.y *= gelu_slope(u.y);
#endif
#ifdef SCALE
    v *= *(const __global float2 *)(scale + n);
#endif
#ifdef RESIDUAL
    v += unpack16(*s);
#endif
    return v;
}

/* Ends 32 columns, from c on, of two rows (those below M): d[4j .. 4j+3] is this lane's part of the j-th 16 x 8 block, the j-th
 * words of e[0] and e[1] the extra that goes with it. */
inline void finish(const float *d, const uint4 *e, int2 rows, int c, int M, int N P_RSTD P_RUNNING P_LAID P_END)
{
    const int q = (int)get_local_id(0) & 3, mine = c + 8 * q;
    UNROLL for (int h = 0; h < 2; h++)
    {
        const int row = h ? rows.y : rows.x;
        const bool in = row < M && mine < N;
        uint w[4], s[4];
#if READS
        s[0] = e[h].x, s[1] = e[h].y, s[2] = e[h].z, s[3] = e[h].w;
#endif
        UNROLL for (int j = 0; j < 4; j++)
        {
            const int n = min(c + 8 * j + 2 * q, N - 2);
            const float2 v = end_pair((float2)(d[4 * j + 2 * h], d[4 * j + 2 * h + 1]), &s[j], n, h A_RSTD_ A_END);
            w[j] = pack16(v.x, v.y);
#ifdef ROW_SUMS
            running[2 * h] += v.x + v.y, running[2 * h + 1] = fma(v.x, v.x, fma(v.y, v.y, running[2 * h + 1]));
#endif
        }
#ifdef PRE
        const uint4 keep = TRANSPOSED((uint4)(s[0], s[1], s[2], s[3]), q, 1);
        store16_if(in, extra + e_off + (size_t)row * lde + mine, keep);
#endif
        const uint4 out = TRANSPOSED((uint4)(w[0], w[1], w[2], w[3]), q, OUT_HALF);
        store16_if(in, C + c_off + (size_t)row * ldc + mine, out);
    }
#ifdef ROW_SUMS
    if (c % SUM_COLUMNS) put_sums(running, rows, c, M, N A_END);
#endif
}

#ifdef TURN
/* Scales and biases 64 columns, from c on, of rows r and r+8, and turns them where they are a head's of q or k (rotary embedding,
 * Su et al. 2021, in halves): a and b are this lane's parts of columns c to c+31 and c+32 to c+63, so column and partner meet in a
 * lane. Into x and y: sums that are written to in place would have the compiler run the products one by one. The first `skip`
 * tokens of a sample are not turned. */
inline void turn_pieces(float *x, float *y, const float *a, const float *b, int r, int c, int N P_RSTD P_END)
{
    const int q = (int)get_local_id(0) & 3;
    UNROLL for (int h = 0; h < 2; h++)
    {
        const int at = (r + 8 * h) % tokens - skip;
        const bool turns = at >= 0 && c < turned;
        const __global float4 *t = (const __global float4 *)(table + max(at, 0) * 64) + q; /* cos, sin, cos, sin */
        UNROLL for (int j = 0; j < 4; j++)
        {
            const int i = 4 * j + 2 * h;
            float4 w = t[4 * j];
            w = (float4)(turns ? w.x : 1.0f, turns ? w.y : 0.0f, turns ? w.z : 1.0f, turns ? w.w : 0.0f);
            const int n = min(c + 8 * j + 2 * q, N - 34);
            const float2 lo = begin_pair((float2)(a[i], a[i + 1]), n, h A_RSTD_ A_END),
                         hi = begin_pair((float2)(b[i], b[i + 1]), n + 32, h A_RSTD_ A_END);
            x[i] = lo.x * w.x - hi.x * w.y, x[i + 1] = lo.y * w.z - hi.y * w.w;
            y[i] = hi.x * w.x + lo.x * w.y, y[i + 1] = hi.y * w.z + lo.y * w.w;
        }
    }
}

/* Ends the kernel's x-th and x+1-th pieces of 32 columns, a head's halves: SUMS_OF, ROW, ROWS and COLUMN are the kernel's own. */
#define FINISH_TURNED(x)                                                                                                           \
    {                                                                                                                              \
        float lo[16], hi[16];                                                                                                      \
        turn_pieces(lo, hi, SUMS_OF(x), SUMS_OF((x) + 1), ROW(x), COLUMN(x), N A_RSTD(x) A_END);                                   \
        finish(lo, held, ROWS(x), COLUMN(x), M, N A_RSTD(x) A_RUNNING A_LAID A_END);                                               \
        finish(hi, held, ROWS(x), COLUMN((x) + 1), M, N A_RSTD(x) A_RUNNING A_LAID A_END);                                         \
    }
#endif

/* The second pair's product before the first one's is added to it: this lane's part of 32 columns of two rows, 16 elements. What
 * dropout keeps of them is a word of gpu/dropout_bits.cl, which can be drawn long before. */
inline void settle(float *d, uint kept, float scale)
{
    UNROLL for (int e = 0; e < 16; e++) d[e] = kept >> (e / 2 + e % 2 * 8) & 1 ? d[e] * scale : 0.0f;
}
