/* LEVELS maps of H0 x W0, H1 x W1, ... cells, which stand one after another in each sample (tn_levels): known when a kernel is
 * compiled, so that no division by them is one. */
#ifndef LEVELS
#define LEVELS 1
#define H0     4
#define W0     6
#endif
#ifndef H1
#define H1 0
#define W1 0
#endif
#ifndef H2
#define H2 0
#define W2 0
#endif
#ifndef H3
#define H3 0
#define W3 0
#endif
#ifndef H4
#define H4 0
#define W4 0
#endif
#ifndef H5
#define H5 0
#define W5 0
#endif
#ifndef H6
#define H6 0
#define W6 0
#endif
#ifndef H7
#define H7 0
#define W7 0
#endif
#define FIRST1 (H0 * W0)
#define FIRST2 (FIRST1 + H1 * W1)
#define FIRST3 (FIRST2 + H2 * W2)
#define FIRST4 (FIRST3 + H3 * W3)
#define FIRST5 (FIRST4 + H4 * W4)
#define FIRST6 (FIRST5 + H5 * W5)
#define FIRST7 (FIRST6 + H6 * W6)
#define CELLS  (FIRST7 + H7 * W7) /* positions of a sample */

__constant int level_h[8] = {H0, H1, H2, H3, H4, H5, H6, H7};
__constant int level_w[8] = {W0, W1, W2, W3, W4, W5, W6, W7};
__constant int level_first[8] = {0, FIRST1, FIRST2, FIRST3, FIRST4, FIRST5, FIRST6, FIRST7};

/* The level of position n of a sample. */
inline int level_of(int n)
{
    return (LEVELS > 1 && n >= FIRST1) + (LEVELS > 2 && n >= FIRST2) + (LEVELS > 3 && n >= FIRST3) + (LEVELS > 4 && n >= FIRST4) +
           (LEVELS > 5 && n >= FIRST5) + (LEVELS > 6 && n >= FIRST6) + (LEVELS > 7 && n >= FIRST7);
}
