/* A convolution's left matrix as Hopper's copy engine cuts it out of images (a tensor map of rank 4, tensor_map.cl). The outputs
 * lie on a grid of h x w places an image, taken in blocks of `tall` x `wide`, a tile each; output (i, j) depends on the pixels (i *
 * stride + top + ky, j * stride + left + kx), `channels` of them side by side, tap by tap. */

/* As patch_grid of src/ops/conv_wgmma.c. */
typedef struct {
    int h, w, tall, wide, top, left, stride, kw, channels;
} patch_grid;

/* Place (i, j) of the grid is pixel (i * step + y, j * step + x) of images h x w. As place_grid of src/ops/conv_wgmma.c. */
typedef struct {
    int h, w, step, y, x;
} place_grid;

inline int blocks_across(const patch_grid *g)
{
    return (g->w + g->wide - 1) / g->wide;
}

inline int blocks_down(const patch_grid *g)
{
    return (g->h + g->tall - 1) / g->tall;
}

/* The first place of a block, and its image. */
typedef struct {
    int image, i, j;
} block_of;

inline block_of block_at(const patch_grid *g, int n)
{
    const int across = blocks_across(g), line = n / across, down = blocks_down(g);
    const block_of b = {line / down, line % down * g->tall, n % across * g->wide};
    return b;
}

/* The next box of a tile: from which channel and pixel on, and where along K it belongs. */
typedef struct {
    int image, x, y, channel, k, first_x, taps; /* taps: that are left of a row of the kernel */
} patch_walk;

inline patch_walk first_patch(const patch_grid *g, int n)
{
    const block_of b = block_at(g, n);
    const int x = b.j * g->stride + g->left;
    const patch_walk w = {b.image, x, b.i * g->stride + g->top, 0, 0, x, g->kw};
    return w;
}

inline void next_patch(const patch_grid *g, patch_walk *w)
{
    const int step = min(g->channels - w->channel, BK);
    w->k += step;
    w->channel += step;
    if (w->channel < g->channels) return;
    w->channel = 0;
    w->x++;
    if (--w->taps) return;
    w->taps = g->kw, w->x = w->first_x, w->y++;
}

/* The pixel, counted through all images, of a block's r-th place; M where there is none. */
inline int place_of(const patch_grid *g, const place_grid *to, const block_of *b, int r, int M)
{
    const int i = b->i + r / g->wide, j = b->j + r % g->wide;
    if (r >= g->tall * g->wide || i >= g->h || j >= g->w) return M;
    return (b->image * to->h + i * to->step + to->y) * to->w + j * to->step + to->x;
}

/* Of places r and r + 8 of the n-th block. */
inline int2 places_of(const patch_grid *g, const place_grid *to, int r, int n, int M)
{
    const block_of b = block_at(g, n);
    return (int2)(place_of(g, to, &b, r, M), place_of(g, to, &b, r + 8, M));
}
