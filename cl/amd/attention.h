/* What the attention kernels for AMD's matrix units share; after units.h. Head width 64; a group has WAVES waves. */
#define WAVES 4
#define ITEMS (WAVES * WAVE)
#define PITCH 72          /* words in a row of a tile: 16-byte reads of eight rows meet no bank twice */
#define PARTS (COUNT / 8) /* products of depth 16 that a block of scores is good for */
/* Which row of 16 stands at place p of a column: the order in which scores become right operands as they stand. */
#if UNIT == 9
#define ROW_AT(p) (((p)&3) | ((p)&4) << 1 | ((p)&8) >> 1)
#elif UNIT == 11
#define ROW_AT(p) ((p) % 8 * 2 + (p) / 8)
#else
#define ROW_AT(p) (p)
#endif

/* `rows` rows of a head from k0 on as they lie, PITCH words each; zeros from n on. */
inline void put_straight(__local ushort *tile, const __global ushort *from, int ld, int k0, int n, const int rows)
{
    for (int x = (int)get_local_id(0); x < rows * 8; x += ITEMS) {
        const int r = x / 8, at = x % 8 * 8;
        *(__local uint4 *)(tile + r * PITCH + at) =
            k0 + r < n ? *(const __global uint4 *)(from + (size_t)(k0 + r) * ld + at) : (uint4)(0);
    }
}

/* The same transposed, rows + 8 words to a column, in the order of ROW_AT: an item has two neighbouring places of 8 columns. */
inline void put_turned(__local ushort *tile, const __global ushort *from, int ld, int k0, int n, const int rows)
{
    for (int x = (int)get_local_id(0); x < rows / 2 * 8; x += ITEMS) {
        const int p = x % (rows / 2) * 2, at = x / (rows / 2) * 8, first = p / 16 * 16 + ROW_AT(p % 16);
        const int second = p / 16 * 16 + ROW_AT(p % 16 + 1);
        const ushort8 low = k0 + first < n ? *(const __global ushort8 *)(from + (size_t)(k0 + first) * ld + at) : (ushort8)(0);
        const ushort8 high = k0 + second < n ? *(const __global ushort8 *)(from + (size_t)(k0 + second) * ld + at) : (ushort8)(0);
        UNROLL for (int i = 0; i < 8; i++) *(__local uint *)(tile + (at + i) * (rows + 8) + p) = low[i] | (uint)high[i] << 16;
    }
}

/* A block of scores, in words of two (w[COUNT / 2]), becomes right operands. On gfx11 even keys come first, which the lower half has. */
inline void pack_words(operand p[PARTS], const uint w[COUNT / 2], int half_wave)
{
#if UNIT == 11
    uint got[4];
    UNROLL for (int e = 0; e < 4; e++) got[e] = SWAP_HALVES(w[e]);
    const uint4 mine = (uint4)(w[0], w[1], w[2], w[3]), other = (uint4)(got[0], got[1], got[2], got[3]);
    p[0] = as_ushort16((uint8)(half_wave ? other : mine, half_wave ? mine : other));
#else
    UNROLL for (int x = 0; x < PARTS; x++) p[x] = as_ushort8((uint4)(w[4 * x], w[4 * x + 1], w[4 * x + 2], w[4 * x + 3]));
#endif
}

/* acc * part, columns i*U .. i*U+U-1 of the lane's row, to `to`, where `in`. */
inline void store_block(__global ushort *to, sums acc, float part, bool in, int half_wave)
{
#if UNIT == 9
    UNROLL for (int e = 0; e < 16; e += 4) {
        words w;
        UNROLL for (int x = 0; x < 4; x++) w[x] = to_word(acc[e + x] * part);
        if (in) *(__global words *)(to + ROW_OF(e)) = w;
    }
#else
    words w;
#if UNIT == 11 /* the halves hold even and odd columns: they trade four for four */
    UNROLL for (int e = 0; e < 4; e++) {
        const float low = acc[e], high = acc[e + 4], got = as_float(SWAP_HALVES(as_uint(half_wave ? low : high)));
        w[2 * e] = to_word((half_wave ? got : low) * part), w[2 * e + 1] = to_word((half_wave ? high : got) * part);
    }
#else
    UNROLL for (int e = 0; e < 8; e++) w[e] = to_word(acc[e] * part);
#endif
    if (in) *(__global words *)(to + 8 * half_wave) = w;
#endif
}
