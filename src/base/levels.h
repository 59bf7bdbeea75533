/** Maps of several sizes, their positions one after another in each sample, as multi-scale features are handed on. */
#ifndef TN_LEVELS_H
#define TN_LEVELS_H

enum { TN_MAX_LEVELS = 8 };

typedef struct tn_levels {
    int n, h[TN_MAX_LEVELS], w[TN_MAX_LEVELS];
} tn_levels;

/** Positions of the first `count` levels: where the next one begins; of a sample where count is l->n. */
static inline int tn_levels_rows(const tn_levels *l, int count)
{
    int rows = 0;
    for (int i = 0; i < count; i++) rows += l->h[i] * l->w[i];
    return rows;
}
#endif
