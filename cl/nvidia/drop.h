/* Dropout on NVIDIA's matrix units, of two 16-bit numbers in a word, by the words of gpu/dropout_bits.cl: read or drawn. After
 * common.h and ptx.h. What is kept is to be scaled in the sum. */
#ifndef TN_DROP_H
#define TN_DROP_H

#ifdef BITS
#define P_BITS , const __global ushort *bits, uint bits_at
#define A_BITS , bits, bits_at
/* The first of the block of row r and column c, or of the last one where these are beyond. */
inline const __global ushort *bits_block(int r, int c, int rows, int cols P_BITS)
{
    const int across = cols / 32, row = min(r, rows - 1) / 16, column = min(c, cols - 1) / 32;
    return bits + bits_at + (uint)(row * across + column) * 32;
}
#define BITS_BLOCK 64 /* bytes */

/* Brings this item's part of blocks that lie one after another from `to` on: item 4b + i the i-th quarter of block b. */
inline void copy_bits(uint to, int item, const __global ushort *block)
{
    copy16(to + item * 16, block + item % 4 * 8, 16);
}

/* This lane's word of the block that was brought to `at`. */
inline uint bits_here(uint at, int lane)
{
    return short_at(at + lane * 2);
}
#else
#define P_BITS
#define A_BITS
#endif

/* A word is spread before it is asked for a pair. */
inline uint spread_bits(uint word)
{
    return take_bytes(word, 0, 0x4140u);
}

/* w with those of pair `pair` zeroed that were not kept. */
inline uint keep_pair(uint w, uint spread, int pair)
{
    return w & take_bytes(spread << (15 - pair), 0, 0xbb99u);
}

/* The spread word of a lane whose fragment is the transposed one: as pair 2j+h, rows 2q+8h and 2q+1+8h of column 8j+r. */
inline uint spread_below(uint word, int lane)
{
    const int from = lane % 4 * 8 + lane / 8;
    const uint first = word_at_lane(word, from), second = word_at_lane(word, from + 4);
    return take_bytes(first, second, lane & 4 ? 0x0501u : 0x0400u);
}

/* This lane's word of gpu/dropout_bits.cl, drawn: of the block whose first column is c and whose row r has the lane's upper ones.
 * `width`, of the mask's rows, is even. */
inline uint bits_drawn(int r, int c, int width, uint seed, uint threshold)
{
    const uint at = (uint)r * (uint)width + (uint)c + 2 * ((uint)get_local_id(0) & 3);
    if (width % 16 == 0) return tn_kept_lane(seed, WORD_OF(at), 2 * (uint)width, threshold);
    uint bits = 0;
    _Pragma("nounroll") for (int pair = 0; pair < 8; pair++)
    {
        const uint i = at + (uint)(pair % 2 * 8) * (uint)width + (uint)(pair / 2 * 8);
        bits |= (tn_kept(seed, WORD_OF(i), threshold) >> (BYTE_OF(i) + 7) & 0x101u) << pair;
    }
    return bits;
}
#endif
