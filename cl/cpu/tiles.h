/* AMX: a tile is 16 rows of 16 pairs of bfloat16, pairs being neighbours along K; 16 x 16 products of float32 are summed. Needs
 * common.h with VW 16 and vectors.h, and AVX512-BF16.
 *
 * PoCL's compiler takes such a processor for one without tiles: inline assembly alone names them, and what is in one stays there
 * because nothing else of the kernel touches it. The library has asked the system for the tiles (src/device/amx.h).
 *
 * A row of a left tile is a row of A; a row of a right tile is a pair of rows of B, for 16 of its columns. */
#define TILE 256 /* a tile's words of 32 bits */

#define PAIRS(p, r) (((__global uint16 *)(p))[r]) /* row r of the tile at p */

/* ---- rows of a matrix ---- */

/* The first n of 32 elements at p, zeros for the others. Nothing beyond the n-th is touched. */
inline uint16 first_pairs(const __global ushort *p, int n)
{
    uint16 v;
    if (n >= 32) return ((const __global loose_pairs *)p)->v;
    const uint mask = n > 0 ? (1u << n) - 1u : 0u;
    __asm__("vmovdqu16 (%1), %0 %{%2%} %{z%}" : "=v"(v) : "r"(p), "Yk"(mask));
    return v;
}

/* Rows k and k + 1 of 32 columns become row k/2 of two right tiles. */
inline void pair_rows(uint16 *left, uint16 *right, uint16 a, uint16 b)
{
    const uint16 even = (a & 0xffffu) | b << 16, odd = a >> 16 | (b & 0xffff0000u);
    *left = __builtin_shufflevector(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *right = __builtin_shufflevector(even, odd, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

inline void transpose_pairs(uint16 t[16])
{
    float16 f[16];
    UNROLL(r, 16) f[r] = as_float16(t[r]);
    transpose16(f);
    UNROLL(r, 16) t[r] = as_uint16(f[r]);
}

inline void tile_put(__global uint *to, const uint16 t[16])
{
    UNROLL(r, 16) PAIRS(to, r) = t[r];
}

inline uint16 masked_pairs(uint16 v, char32 kept)
{
    return __builtin_astype(masked32(__builtin_astype(v, ushort32), kept), uint16);
}

/* ---- rounding ---- */

/* Lane i is the pair (x[i], y[i]). */
inline uint16 round_pairs(float16 x, float16 y)
{
    return (as_uint16(x) + 0x8000u) >> 16 | ((as_uint16(y) + 0x8000u) & 0xffff0000u);
}

/* Pairs (x[i], y[i]) in parts of bfloat16 that sum up to them, to the last of float32's bits or nearly. */
inline void cut_pairs(uint16 t[3], float16 x, float16 y)
{
    UNROLL(i, 3)
    {
        t[i] = round_pairs(x, y);
        x -= as_float16(t[i] << 16), y -= as_float16(t[i] & 0xffff0000u);
    }
}

inline void round_1(__global ushort *p, size_t at, float16 v)
{
    ((__global loose_half *)(p + at))->v = round16(v);
}
#define round_0            stv_0
#define round_2            stv_2
#define ROUND(t, p, at, v) CAT(round_, t)(p, at, v)

/* ---- the tiles: 0 to 3 hold the sums of a 32 x 32 block, 4 and 5 are left ones, 6 and 7 right ones ---- */

/* room: 16 words of scratch. */
inline void tiles_begin(__global uint *room)
{
    __global uchar *c = (__global uchar *)room;
    for (int i = 0; i < 16; i++) room[i] = 0;
    c[0] = 1;                                                       /* the palette */
    for (int i = 0; i < 8; i++) c[16 + 2 * i] = 64, c[48 + i] = 16; /* bytes of a row, rows */
    __asm__ volatile("ldtilecfg (%0)" ::"r"(c) : "memory");
}
#define TILES_END()  __asm__ volatile("tilerelease" ::: "memory")
#define TILES_ZERO() __asm__ volatile("tilezero %%tmm0\n tilezero %%tmm1\n tilezero %%tmm2\n tilezero %%tmm3" ::: "memory")
#define LOAD_LEFT(p, q)                                                                                                            \
    __asm__ volatile("tileloadd (%0,%2,1), %%tmm4\n tileloadd (%1,%2,1), %%tmm5" ::"r"(p), "r"(q), "r"(64l) : "memory")
#define LOAD_RIGHT(p, q)                                                                                                           \
    __asm__ volatile("tileloadd (%0,%2,1), %%tmm6\n tileloadd (%1,%2,1), %%tmm7" ::"r"(p), "r"(q), "r"(64l) : "memory")
#define MULTIPLY()                                                                                                                 \
    __asm__ volatile("tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n"                                       \
                     "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n tdpbf16ps %%tmm7, %%tmm5, %%tmm3" ::                                      \
                         : "memory")
/* The 32 x 32 sums to and from p, whose rows are `ld` floats apart. */
#define TILES_STORE(p, ld)                                                                                                         \
    __asm__ volatile("tilestored %%tmm0, (%0,%2,1)\n tilestored %%tmm1, 64(%0,%2,1)\n"                                             \
                     "tilestored %%tmm2, (%1,%2,1)\n tilestored %%tmm3, 64(%1,%2,1)" ::"r"(p),                                     \
                     "r"((p) + 16 * (ld)), "r"(4l * (ld))                                                                          \
                     : "memory")
#define TILES_LOAD(p, ld)                                                                                                          \
    __asm__ volatile("tileloadd (%0,%2,1), %%tmm0\n tileloadd 64(%0,%2,1), %%tmm1\n"                                               \
                     "tileloadd (%1,%2,1), %%tmm2\n tileloadd 64(%1,%2,1), %%tmm3" ::"r"(p),                                       \
                     "r"((p) + 16 * (ld)), "r"(4l * (ld))                                                                          \
                     : "memory")

/* The sums += 32 rows by 32 columns over `depth` tiles of K, which lie next to each other from a and b on; next_a, next_b: tiles to
 * the lower rows and to the right columns. */
#define TILES_PRODUCT(a, next_a, b, next_b, depth)                                                                                 \
    for (int k_ = 0; k_ < (depth); k_++) {                                                                                         \
        const __global uint *a_ = (a) + k_ * TILE, *b_ = (b) + k_ * TILE;                                                          \
        LOAD_LEFT(a_, a_ + (size_t)(next_a)*TILE);                                                                                 \
        LOAD_RIGHT(b_, b_ + (size_t)(next_b)*TILE);                                                                                \
        MULTIPLY();                                                                                                                \
    }

/* The same of float32 in three parts (cut_pairs): of each of K's tiles the parts lie next to each other, largest first. What is
 * left out is below 2^-24 of a product. */
#define PARTS         3
#define PART_LEFT(i)  LOAD_LEFT(a_ + (i)*TILE, a_ + (i)*TILE + (size_t)(down_)*TILE)
#define PART_RIGHT(i) LOAD_RIGHT(b_ + (i)*TILE, b_ + (i)*TILE + (size_t)(across_)*TILE)
#define PARTS_PRODUCT(a, next_a, b, next_b, depth)                                                                                 \
    for (int k_ = 0, down_ = (next_a), across_ = (next_b); k_ < (depth); k_++) {                                                   \
        const __global uint *a_ = (a) + k_ * PARTS * TILE, *b_ = (b) + k_ * PARTS * TILE;                                          \
        PART_LEFT(2);                                                                                                              \
        PART_RIGHT(0);                                                                                                             \
        MULTIPLY();                                                                                                                \
        PART_LEFT(1);                                                                                                              \
        MULTIPLY();                                                                                                                \
        PART_RIGHT(1);                                                                                                             \
        MULTIPLY();                                                                                                                \
        PART_LEFT(0);                                                                                                              \
        MULTIPLY();                                                                                                                \
        PART_RIGHT(2);                                                                                                             \
        MULTIPLY();                                                                                                                \
        PART_RIGHT(0);                                                                                                             \
        MULTIPLY();                                                                                                                \
    }
