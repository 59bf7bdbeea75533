/* Dropout of two 16-bit numbers in a word. After common.h and ptx.h. What is kept is to be scaled in the sum. */
#ifndef TN_DROP_H
#define TN_DROP_H

/* w, whose low number has the 16-bit draw `low` and its high one `high`, with those below the threshold zeroed. */
inline uint drop16(uint w, uint low, uint high, uint threshold)
{
    return w & ((low >= threshold ? 0xffffu : 0u) | (high >= threshold ? 0xffff0000u : 0u));
}

/* Elements i (even) and i + 1. */
inline uint drop_neighbours(uint w, uint seed, uint i, uint threshold)
{
    const uint d = tn_draws(seed, i >> 1);
    return drop16(w, d & 0xffffu, d >> 16, threshold);
}

/* Element i and the one below it, `width` (even) on. Column i % 2 of a pair: a lane and lane ^ 4 hold neighbouring columns and the
 * same two rows, so each draws for one row. */
inline uint drop_below(uint w, uint seed, uint i, uint width, uint threshold)
{
    const uint odd = i & 1, mine = tn_draws(seed, i + odd * width >> 1), other = word_from_lane(mine, 4), shift = odd * 16;
    const uint top = odd ? other : mine, bottom = odd ? mine : other;
    return drop16(w, top >> shift & 0xffffu, bottom >> shift & 0xffffu, threshold);
}
#endif
