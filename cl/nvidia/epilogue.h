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
    __asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
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

/* One pair of neighbours: the sum v of columns n, n+1; s: its word of the extra, in or out. */
inline float2 end_pair(float2 v, uint *s, int n P_END)
{
#ifndef TURN /* turn_pieces has done these */
    v = SCALED(v);
#ifdef BIAS
    v += *(const __global float2 *)(bias + n);
#endif
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
inline void finish(const float *d, const uint4 *e, int2 rows, int c, int M, int N P_LAID P_END)
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
            const float2 v = end_pair((float2)(d[4 * j + 2 * h], d[4 * j + 2 * h + 1]), &s[j], n A_END);
            w[j] = pack16(v.x, v.y);
        }
#ifdef PRE
        const uint4 keep = TRANSPOSED((uint4)(s[0], s[1], s[2], s[3]), q, 1);
        store16_if(in, extra + e_off + (size_t)row * lde + mine, keep);
#endif
        const uint4 out = TRANSPOSED((uint4)(w[0], w[1], w[2], w[3]), q, OUT_HALF);
        store16_if(in, C + c_off + (size_t)row * ldc + mine, out);
    }
}

#ifdef TURN
/* Scales and biases 64 columns, from c on, of rows r and r+8, and turns them where they are a head's of q or k (rotary embedding,
 * Su et al. 2021, in halves): a and b are this lane's parts of columns c to c+31 and c+32 to c+63, so column and partner meet in a
 * lane. Into x and y: sums that are written to in place would have the compiler run the products one by one. The first `skip`
 * tokens of a sample are not turned. */
inline void turn_pieces(float *x, float *y, const float *a, const float *b, int r, int c P_END)
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
            float2 lo = SCALED((float2)(a[i], a[i + 1])), hi = SCALED((float2)(b[i], b[i + 1]));
#ifdef BIAS
            lo += *(const __global float2 *)(bias + c + 8 * j + 2 * q);
            hi += *(const __global float2 *)(bias + c + 32 + 8 * j + 2 * q);
#endif
            x[i] = lo.x * w.x - hi.x * w.y, x[i + 1] = lo.y * w.z - hi.y * w.w;
            y[i] = hi.x * w.x + lo.x * w.y, y[i + 1] = hi.y * w.z + lo.y * w.w;
        }
    }
}

/* Ends the kernel's x-th and x+1-th pieces of 32 columns, a head's halves: SUMS_OF, ROW, ROWS and COLUMN are the kernel's own. */
#define FINISH_TURNED(x)                                                                                                           \
    {                                                                                                                              \
        float lo[16], hi[16];                                                                                                      \
        turn_pieces(lo, hi, SUMS_OF(x), SUMS_OF((x) + 1), ROW(x), COLUMN(x) A_END);                                                \
        finish(lo, held, ROWS(x), COLUMN(x), M, N A_LAID A_END);                                                                   \
        finish(hi, held, ROWS(x), COLUMN((x) + 1), M, N A_LAID A_END);                                                             \
    }
#endif

/* The second pair's product before the first one's is added to it: this lane's part of 32 columns, from c on, of rows r and r+8, 16
 * elements. Which of them dropout keeps, a bit each, can be drawn long before. */
inline uint kept_bits(int r, int c, int N, uint seed, uint threshold)
{
    uint bits = 0;
    UNROLL for (int j = 0; j < 4; j++) UNROLL for (int h = 0; h < 2; h++)
    { /* N is even: neighbours are a pair */
        const uint at = (uint)((r + h * 8) * N + c + 8 * j + 2 * ((int)get_local_id(0) & 3)), w = tn_draws(seed, at >> 1);
        bits |= ((w & 0xffffu) >= threshold ? 1u : 0u) << (4 * j + 2 * h) | ((w >> 16) >= threshold ? 2u : 0u) << (4 * j + 2 * h);
    }
    return bits;
}

inline void settle(float *d, uint kept, float scale)
{
    UNROLL for (int e = 0; e < 16; e++) d[e] = kept >> e & 1 ? d[e] * scale : 0.0f;
}

/* The same, of a word of gpu/dropout_bits.cl. */
inline void settle_pairs(float *d, uint kept, float scale)
{
    UNROLL for (int e = 0; e < 16; e++) d[e] = kept >> (e / 2 + e % 2 * 8) & 1 ? d[e] * scale : 0.0f;
}
