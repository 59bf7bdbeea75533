/* Dropout of two 16-bit numbers in a word. After common.h and ptx.h. What is kept is to be scaled in the sum. */
#ifndef TN_DROP_H
#define TN_DROP_H

/* w, whose low and high number have the draws in the same halves of `draws`, with those below the threshold zeroed. Both at once:
 * the 15 lower bits are compared by a carry into the 16th, which decides with the draw's own as the threshold's says. */
inline uint drop16(uint w, uint draws, uint threshold)
{
    const uint carry = (draws & 0x7fff7fffu) + (0x8000u - (threshold & 0x7fffu)) * 0x10001u;
    const uint either = threshold < 0x8000u ? ~0u : 0u, keep = (carry & draws) | ((carry | draws) & either);
    return w & take_bytes(keep, 0, 0xbb99u); /* each half's top bit, all over it */
}

/* Words of gpu/dropout_bits.cl. A word is spread before it is asked for a pair. */
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

/* Elements i (even) and i + 1. */
inline uint drop_neighbours(uint w, uint seed, uint i, uint threshold)
{
    return drop16(w, tn_draws(seed, i >> 1), threshold);
}

/* Element i and the one below it, `width` (even) on. Column i % 2 of a pair: a lane and lane ^ 4 hold neighbouring columns and the
 * same two rows, so each draws for one row. */
inline uint drop_below(uint w, uint seed, uint i, uint width, uint threshold)
{
    const uint odd = i & 1, mine = tn_draws(seed, (i >> 1) + odd * (width >> 1)), other = word_from_lane(mine, 4);
    return drop16(w, take_bytes(mine, other, odd ? 0x3276u : 0x5410u), threshold);
}
#endif
