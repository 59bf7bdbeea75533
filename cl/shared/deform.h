/* Where multi-scale deformable attention samples (Zhu et al. 2020). Needs common.h and levels.h.
 *
 * samples [B*CELLS, 3*HEADS*EACH]: offsets (x, y) in pixels of their level by head, level and point, then as many logits, of which
 * each head has a softmax. A pair is a query and one of its heads: pair p is query p / HEADS, a row of all tensors. */
#ifndef HD
#define HD 32 /* width of a head */
#endif
#ifndef HEADS
#define HEADS 8
#endif
#ifndef POINTS
#define POINTS 4
#endif
#define EACH  (LEVELS * POINTS) /* samples of a pair */
#define WIDTH (HEADS * HD)
#define ROW   (3 * HEADS * EACH)

/* Four cells and what lies between them: the upper left one is (y, x), which may be outside as may be the others. */
typedef struct {
    int y, x;
    float ly, lx;
} place_t;

/* The middle of cell i of `from` in pixels of `to`, which a division by a power of two and by itself leaves exact: where samples
 * lie on cells, as they do before anything is trained, slopes depend on that. */
inline float middle(int i, int from, int to)
{
    const float a = (float)((2 * i + 1) * to), b = (float)(2 * from), q = a / b;
    return q + fma(-q, b, a) / b - 0.5f;
}

/* Where sample s (level and point) of a pair lies; false where no cell of the level is near. */
inline bool place_of(place_t *p, const __global act_t *samples, int pair, int s)
{
    const int query = pair / HEADS, n = query % CELLS, own = level_of(n), cell = n - level_first[own], to = s / POINTS;
    const size_t at = (size_t)query * ROW + 2 * ((pair % HEADS) * EACH + s);
    const float x = middle(cell % level_w[own], level_w[own], level_w[to]) + LD(ACT, samples, at);
    const float y = middle(cell / level_w[own], level_h[own], level_h[to]) + LD(ACT, samples, at + 1);
    const bool near = x >= -1.0f && y >= -1.0f && x < (float)level_w[to] && y < (float)level_h[to]; /* no NaN is */
    const float fx = near ? floor(x) : 0.0f, fy = near ? floor(y) : 0.0f;
    p->x = (int)fx, p->y = (int)fy;
    p->lx = near ? x - fx : 0.0f, p->ly = near ? y - fy : 0.0f;
    return near;
}

inline size_t logit_at(int pair, int s)
{
    return (size_t)(pair / HEADS) * ROW + (2 * HEADS + pair % HEADS) * EACH + s;
}
