#include "graph_draw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool chance(drawing *d, double p)
{
    return tn_rng_uniform(&d->r) < p;
}

static int below(drawing *d, int n)
{
    return (int)tn_rng_below(&d->r, (uint32_t)n);
}

/* Most slots are trained, some are frozen. */
static int slot(drawing *d, int ndim, int a, int b, int k, tn_init init, bool frozen)
{
    char name[32];
    snprintf(name, sizeof name, "slot.%d", d->m->n_slots);
    const tn_slot s = {.ndim = ndim,
                       .shape = {a, b, k, k},
                       .group = TN_GROUP_HEAD,
                       .trainable = !frozen && chance(d, 0.75),
                       .buffer = frozen,
                       .init = init};
    return tn_model_add(d->m, s, name);
}

static int matrix(drawing *d, int rows, int cols)
{
    return slot(d, 2, rows, cols, 0, TN_INIT_TRUNC, false);
}

static int vector(drawing *d, int n, tn_init init)
{
    return slot(d, 1, n, 0, 0, init, false);
}

static int tensor(drawing *d, int rows, int cols, const char *name)
{
    return tn_graph_tensor(d->g, TN_G_ACT, TN_F32, rows, cols, name);
}

/* A node x -> new tensor [rows, cols]; mark it when it is filled. */
static tn_gnode *node(drawing *d, tn_opcode op, int x, int rows, int cols)
{
    const int y = tensor(d, rows, cols, tn_opcode_name(op));
    tn_gnode *n = tn_graph_node(d->g, op);
    n->in[0] = x, n->out[0] = y;
    return n;
}

static tn_gnode *same_shape(drawing *d, tn_opcode op, int x)
{
    return node(d, op, x, d->g->t[x].rows, d->g->t[x].cols);
}

static int mark(drawing *d, const tn_gnode *n)
{
    const tn_gnode copy = *n;
    tn_graph_mark(d->g, &copy, tn_is_trained, &d->trained);
    return copy.out[0];
}

/* One of the pool, the later ones more often. */
static int pick(drawing *d, const int *pool, int n)
{
    const int recent = n < 4 ? n : 4;
    return chance(d, 0.6) ? pool[n - 1 - below(d, recent)] : pool[below(d, n)];
}

static int token(drawing *d)
{
    return pick(d, d->tokens, d->n_tokens);
}

static int image(drawing *d)
{
    return pick(d, d->images, d->n_images);
}

static void keep(drawing *d, int t)
{
    if (d->g->t[t].rows == DRAW_B * DRAW_N) d->tokens[d->n_tokens++] = t;
    else d->images[d->n_images++] = t;
}

static int either(drawing *d)
{
    return chance(d, 0.5) ? token(d) : image(d);
}

/* ---- linear layers ---- */

static tn_gpart part(drawing *d, int in, int cols, bool adapted, bool bias)
{
    tn_gpart p = {.w = matrix(d, cols, in), .bias = -1, .a = -1, .b = -1, .m = -1, .cols = cols, .in = in};
    if (bias) p.bias = vector(d, cols, TN_INIT_ZERO);
    if (!adapted) return p;
    p.r = 2, p.scale = 0.7f;
    p.a = matrix(d, p.r, in);
    p.b = matrix(d, cols, p.r);
    return p;
}

static int adapters(drawing *d, int x, const tn_gpart *parts, int n_parts)
{
    int ranks = 0;
    for (int i = 0; i < n_parts; i++) ranks += parts[i].r;
    if (!ranks) return -1;
    tn_gnode *n = node(d, TN_OP_LINEAR_T, x, d->g->t[x].rows, ranks);
    n->n_parts = n_parts;
    for (int i = 0; i < n_parts; i++) n->part[i].a = parts[i].a, n->part[i].r = parts[i].r;
    n->a.linear_t = (tn_attr_lora){.dropout = chance(d, 0.4) ? 0.3f : 0, .salt = d->salt++};
    return mark(d, n);
}

static int product(drawing *d, int x, int t, const tn_gpart *parts, int n_parts)
{
    int cols = 0;
    for (int i = 0; i < n_parts; i++) cols += parts[i].cols;
    tn_gnode *n = node(d, TN_OP_LINEAR, x, d->g->t[x].rows, cols);
    n->in[1] = t, n->n_parts = n_parts;
    memcpy(n->part, parts, sizeof *parts * (size_t)n_parts);
    return mark(d, n);
}

/* Sometimes a second product reads the same t. */
static int linear(drawing *d, int x, int cols, int n_parts)
{
    tn_gpart parts[TN_NODE_PARTS];
    for (int i = 0; i < n_parts; i++) parts[i] = part(d, d->g->t[x].cols, cols / n_parts, chance(d, 0.6), chance(d, 0.7));
    const int t = adapters(d, x, parts, n_parts), y = product(d, x, t, parts, n_parts);
    if (t < 0 || !chance(d, 0.2)) return y;
    for (int i = 0; i < n_parts; i++) parts[i].w = matrix(d, cols / n_parts, d->g->t[x].cols);
    return draw_residual(d, y, product(d, x, t, parts, n_parts), false);
}

int draw_linear(drawing *d, int x, int cols)
{
    const tn_gpart p = part(d, d->g->t[x].cols, cols, false, true);
    return product(d, x, -1, &p, 1);
}

static void draws_linear(drawing *d)
{
    keep(d, linear(d, either(d), DRAW_C, 1 + below(d, 2)));
}

static int dropout(drawing *d, int x, uint32_t salt, bool rest)
{
    tn_gnode *n = same_shape(d, TN_OP_DROPOUT, x);
    n->a.dropout = (tn_attr_dropout){0.3f, salt, rest};
    return mark(d, n);
}

/* g u + v + bias. */
static int dora(drawing *d, int u, int v, const tn_gpart *parts, int n_parts)
{
    tn_gnode *n = node(d, TN_OP_DORA_SCALE, -1, 1, DRAW_C);
    const int g = n->out[0], inv = n->out[1] = tensor(d, 1, DRAW_C, "1/norm");
    n->n_parts = n_parts;
    memcpy(n->part, parts, sizeof *parts * (size_t)n_parts);
    n = same_shape(d, TN_OP_DORA, u);
    n->in[1] = g, n->in[2] = v, n->in[3] = inv, n->n_parts = n_parts;
    memcpy(n->part, parts, sizeof *parts * (size_t)n_parts);
    return mark(d, n);
}

/* As src/model/emit_linear.c emits it. */
static void draws_dora(drawing *d)
{
    const int x = either(d), n_parts = 1 + below(d, 2);
    tn_gpart parts[2], bare[2], frozen[2];
    int kept = x, v = -1;
    for (int i = 0; i < n_parts; i++) {
        parts[i] = part(d, DRAW_C, DRAW_C / n_parts, true, chance(d, 0.6));
        if (chance(d, 0.7)) parts[i].m = vector(d, DRAW_C / n_parts, TN_INIT_ONE);
        bare[i] = frozen[i] = parts[i];
        bare[i].bias = bare[i].m = frozen[i].bias = frozen[i].m = frozen[i].a = frozen[i].b = -1;
        frozen[i].r = 0;
    }
    if (chance(d, 0.5)) {
        const uint32_t salt = d->salt++;
        kept = dropout(d, x, salt, false);
        v = product(d, dropout(d, x, salt, true), -1, frozen, n_parts);
    }
    keep(d, dora(d, product(d, kept, adapters(d, kept, bare, n_parts), bare, n_parts), v, parts, n_parts));
}

static void draws_glu(drawing *d)
{
    const int x = either(d), u = linear(d, x, 2 * DRAW_C, 2);
    tn_gnode *n = node(d, TN_OP_GLU, u, d->g->t[x].rows, DRAW_C);
    n->a.glu.fn = TN_SILU;
    keep(d, mark(d, n));
}

/* ---- tokens ---- */

static int attention(drawing *d, int qkv)
{
    const int lse = tensor(d, DRAW_B * 2, DRAW_N, "lse");
    tn_gnode *n = node(d, TN_OP_ATTENTION, qkv, DRAW_B * DRAW_N, DRAW_C);
    n->out[1] = lse, n->a.attention.heads = 2;
    return mark(d, n);
}

/* Sometimes what is turned is read as it was, too. */
static void draws_attention(drawing *d)
{
    const int qkv = linear(d, token(d), 3 * DRAW_C, 3);
    if (chance(d, 0.3)) {
        keep(d, attention(d, qkv));
        return;
    }
    tn_gnode *n = same_shape(d, TN_OP_ROPE, qkv);
    n->in[1] = d->g->rope_table;
    n->a.rope = (tn_attr_rope){2, 2};
    const int turned = mark(d, n);
    keep(d, attention(d, turned));
    if (chance(d, 0.4)) keep(d, attention(d, qkv));
}

static int positions(drawing *d)
{
    if (d->positions >= 0 && chance(d, 0.5)) return d->positions;
    const int in = 1 + 4, out = 1 + DRAW_P, r = tn_graph_tensor(d->g, TN_G_CONST, TN_F32, out, in, "R");
    float *R = d->g->t[r].host = malloc(sizeof *R * (size_t)(in * out));
    for (int i = 0; i < in * out; i++) R[i] = (float)tn_rng_uniform(&d->r);
    tn_gnode *n = node(d, TN_OP_POSITIONS, r, out, DRAW_C);
    n->w[0] = slot(d, 2, in, DRAW_C, 0, TN_INIT_TRUNC, false);
    return d->positions = mark(d, n);
}

static void draws_tokens(drawing *d)
{
    const int x = image(d), pos = chance(d, 0.7) ? positions(d) : -1, cls = vector(d, DRAW_C, TN_INIT_ZERO);
    tn_gnode *n = node(d, TN_OP_TOKENS, x, DRAW_B * DRAW_N, DRAW_C);
    n->in[1] = pos, n->w[0] = cls, n->w[1] = matrix(d, 1, DRAW_C);
    n->a.tokens.registers = 1;
    keep(d, mark(d, n));
}

static int rows_of(drawing *d, int x, int skip, int h, int w)
{
    tn_gnode *n = node(d, TN_OP_GRID, x, DRAW_B * h * w, DRAW_C);
    n->a.grid = (tn_attr_map){skip, h, w};
    return mark(d, n);
}

static int grid(drawing *d, int x)
{
    return rows_of(d, x, chance(d, 0.7) ? DRAW_N - DRAW_P : 0, DRAW_H, DRAW_W);
}

static void draws_grid(drawing *d)
{
    keep(d, grid(d, token(d)));
}

static void draws_layernorm(drawing *d)
{
    const int x = chance(d, 0.5) ? linear(d, either(d), DRAW_C, 1) : either(d), stats = tensor(d, d->g->t[x].rows, 2, "stats");
    tn_gnode *n = same_shape(d, TN_OP_LAYERNORM, x);
    n->out[1] = stats, n->a.layernorm.eps = 1e-5f;
    n->w[0] = vector(d, DRAW_C, TN_INIT_ONE), n->w[1] = vector(d, DRAW_C, TN_INIT_ZERO);
    keep(d, mark(d, n));
}

/* ---- levels: tokens are those of two maps, the first one an image ---- */

static const tn_levels two_levels = {2, {DRAW_H, 1}, {DRAW_W, DRAW_N - DRAW_P}};

static int level(drawing *d, int x, int i)
{
    return rows_of(d, x, tn_levels_rows(&two_levels, i), two_levels.h[i], two_levels.w[i]);
}

/* Both levels sometimes of the same tensor. */
static void draws_levels(drawing *d)
{
    const int x = token(d), first = chance(d, 0.5) ? image(d) : level(d, x, 0), second = level(d, chance(d, 0.6) ? x : token(d), 1);
    tn_gnode *n = node(d, TN_OP_LEVELS_JOIN, first, DRAW_B * DRAW_N, DRAW_C);
    n->in[1] = second, n->a.levels_join = two_levels;
    keep(d, mark(d, n));
}

/* Positions that several queries may share. */
static int level_positions(drawing *d)
{
    if (d->level_positions && chance(d, 0.7)) return d->level_positions;
    const int pos = tn_graph_tensor(d->g, TN_G_CONST, TN_F32, DRAW_N, DRAW_C, "level.positions");
    float *v = d->g->t[pos].host = malloc(sizeof *v * (size_t)(DRAW_N * DRAW_C));
    for (int i = 0; i < DRAW_N * DRAW_C; i++) v[i] = (float)tn_rng_normal(&d->r);
    const int embed = matrix(d, 2, DRAW_C);
    tn_gnode *n = node(d, TN_OP_LEVEL_POSITIONS, pos, DRAW_N, DRAW_C);
    n->w[0] = embed, n->a.level_positions = two_levels;
    return d->level_positions = mark(d, n);
}

static int with_positions(drawing *d, int x)
{
    const int pos = level_positions(d);
    tn_gnode *n = same_shape(d, TN_OP_ADD_POSITIONS, x);
    n->in[1] = pos;
    return mark(d, n);
}

/* As deformable encoders have it, or of one tensor alone, or of values that nothing trained is above. */
static void draws_deform(drawing *d)
{
    enum { HEADS = 2, POINTS = 2 };
    const int x = token(d), query = chance(d, 0.6) ? with_positions(d, x) : x;
    const int value = chance(d, 0.7) ? linear(d, x, DRAW_C, 1) : token(d), samples = linear(d, query, 3 * HEADS * 2 * POINTS, 1);
    tn_gnode *n = node(d, TN_OP_DEFORM_ATTENTION, value, DRAW_B * DRAW_N, DRAW_C);
    n->in[1] = samples, n->a.deform_attention = (tn_attr_deform){two_levels, HEADS, POINTS};
    keep(d, mark(d, n));
}

/* ---- anything ---- */

int draw_residual(drawing *d, int x, int y, bool scaled)
{
    tn_gnode *n = same_shape(d, TN_OP_RESIDUAL, x);
    n->in[1] = y;
    if (scaled) n->w[0] = vector(d, d->g->t[x].cols, TN_INIT_ONE);
    return mark(d, n);
}

static void draws_residual(drawing *d)
{
    if (chance(d, 0.5)) keep(d, draw_residual(d, token(d), token(d), chance(d, 0.5)));
    else keep(d, draw_residual(d, image(d), image(d), chance(d, 0.5)));
}

int draw_act(drawing *d, int x)
{
    tn_gnode *n = same_shape(d, TN_OP_ACT, x);
    n->a.act.fn = chance(d, 0.5) ? TN_GELU : TN_SILU;
    return mark(d, n);
}

/* Alone, or behind a product and added to what it began from. */
static void draws_act(drawing *d)
{
    const int x = either(d);
    if (chance(d, 0.5)) keep(d, draw_act(d, x));
    else keep(d, draw_residual(d, x, draw_act(d, linear(d, x, DRAW_C, 1)), false));
}

/* As a transformer's: the activation has one reader, and the end a residual or not. */
static void draws_mlp(drawing *d)
{
    const int x = either(d), y = linear(d, draw_act(d, linear(d, x, DRAW_C, 1)), DRAW_C, 1);
    keep(d, chance(d, 0.5) ? y : draw_residual(d, x, y, chance(d, 0.5)));
}

static void draws_dropout(drawing *d)
{
    const int x = either(d);
    keep(d, dropout(d, x, d->salt++, chance(d, 0.5)));
}

/* ---- images ---- */

static int resized(drawing *d, int x, int h, int w, int H, int W)
{
    tn_gnode *n = node(d, TN_OP_BILINEAR, x, DRAW_B * H * W, DRAW_C);
    n->a.bilinear = (tn_attr_resize){h, w, H, W, (float)h / (float)H, (float)w / (float)W};
    return mark(d, n);
}

static int conv(drawing *d, const tn_attr_conv *a, int x, int kernel, int bias)
{
    tn_gnode *n = node(d, TN_OP_CONV, x, DRAW_B * a->out_h * a->out_w, d->m->slots[kernel].rows);
    n->a.conv = *a, n->w[0] = kernel, n->w[1] = bias;
    return mark(d, n);
}

/* With an adapter beside it, as src/model/emit_conv.c emits it. */
static int conv_beside(drawing *d, const tn_attr_conv *a, int x, int kernel, int bias)
{
    const bool scaled = chance(d, 0.4);
    tn_attr_conv down = *a;
    down.groups = 1;
    tn_gpart p = {kernel, bias, -1, -1, -1, DRAW_C, d->m->slots[kernel].cols, a->groups * (1 + below(d, 2)), 0.7f};
    p.a = slot(d, 4, p.r, DRAW_C, a->kernel, TN_INIT_TRUNC, false),
    p.b = slot(d, 4, DRAW_C, p.r / a->groups, 1, TN_INIT_TRUNC, false);
    if (scaled) p.m = vector(d, DRAW_C, TN_INIT_ONE);
    const int y = conv(d, a, x, kernel, scaled ? -1 : bias), t = conv(d, &down, x, p.a, -1);
    tn_gnode *n = same_shape(d, TN_OP_ADAPT, y);
    n->in[1] = t, n->a.adapt.groups = a->groups, n->n_parts = 1;
    n->part[0] = (tn_gpart){-1, -1, -1, p.b, -1, p.cols, p.in, p.r, p.scale};
    const int u = mark(d, n);
    return scaled ? dora(d, u, -1, &p, 1) : u;
}

/* From h x w; what comes out smaller is resized back, so that any operation can follow. */
static int convolved(drawing *d, int x, int h, int w)
{
    static const int shapes[][4] = {/* kernel, stride, zeros around, groups */
                                    {3, 1, 1, DRAW_C}, {3, 1, 1, 1}, {7, 1, 3, DRAW_C}, {5, 1, 2, DRAW_C}, {1, 1, 0, 1},
                                    {3, 2, 1, 1},      {2, 2, 0, 1}, {3, 2, 1, DRAW_C}, {3, 2, 1, 2},      {2, 1, 0, 1}};
    const int *k = shapes[below(d, (int)TN_COUNT(shapes))];
    const tn_attr_conv a = tn_conv_attributes(h, w, k[0], k[1], k[2], k[3]);
    const int kernel = slot(d, 4, DRAW_C, DRAW_C / k[3], k[0], TN_INIT_TRUNC, false);
    const int bias = chance(d, 0.5) ? vector(d, DRAW_C, TN_INIT_ZERO) : -1;
    const int y = (chance(d, 0.5) ? conv_beside : conv)(d, &a, x, kernel, bias);
    return a.out_h == h && a.out_w == w ? y : resized(d, y, a.out_h, a.out_w, h, w);
}

/* 3x3 and nothing beside it. */
static int depthwise(drawing *d, int x, int h, int w)
{
    const tn_attr_conv a = tn_conv_attributes(h, w, 3, 1, 1, DRAW_C);
    const int kernel = slot(d, 4, DRAW_C, 1, 3, TN_INIT_TRUNC, false);
    return conv(d, &a, x, kernel, chance(d, 0.3) ? vector(d, DRAW_C, TN_INIT_ZERO) : -1);
}

/* A map onto a larger one, or onto itself; what is added to comes from it, so that it has two readers, or from elsewhere. */
static void draws_upsample_add(drawing *d)
{
    const int H = DRAW_H + below(d, 3), W = DRAW_W + below(d, 5), z = image(d);
    const int x = resized(d, chance(d, 0.5) ? z : image(d), DRAW_H, DRAW_W, H, W);
    tn_gnode *n = same_shape(d, TN_OP_UPSAMPLE_ADD, x);
    n->in[1] = z;
    n->a.upsample_add = (tn_attr_resize){DRAW_H, DRAW_W, H, W, (float)DRAW_H / (float)H, (float)DRAW_W / (float)W};
    keep(d, resized(d, mark(d, n), H, W, DRAW_H, DRAW_W));
}

static void draws_conv(drawing *d)
{
    keep(d, convolved(d, image(d), DRAW_H, DRAW_W));
}

typedef struct {
    int count, n, m, first; /* so many rows, n of whose entries go through W [n, m] */
    bool constant;
} some_rows;

/* `rows` through W [n, m] and its b, or the slots that are theirs (-1). */
static int affine_rows(drawing *d, int rows, const some_rows *z)
{
    tn_gnode *node = tn_graph_node(d->g, TN_OP_AFFINE_ROWS);
    const int out = tensor(d, z->count, z->m + 1, "rows");
    node->in[0] = rows, node->out[0] = out;
    node->w[0] = matrix(d, z->n, z->m), node->w[1] = chance(d, 0.8) ? vector(d, z->n, TN_INIT_ZERO) : -1;
    if (rows < 0) node->w[2] = matrix(d, z->count, z->first + z->n), node->w[3] = vector(d, z->count, TN_INIT_ZERO);
    node->a.affine_rows = (tn_attr_rows){z->first, z->constant};
    return mark(d, node);
}

/* Convolutions to few channels, whose kernels come of parts of the same rows or of rows each; their sum is widened again. */
static void draws_conv_few(drawing *d)
{
    const bool parts = chance(d, 0.5);
    const int count = 1 + below(d, 3);
    const some_rows all = {count, 5, 2 * DRAW_C, below(d, 2), chance(d, 0.5)};
    const int rows = parts ? affine_rows(d, -1, &all) : -1;
    int sum = -1;
    for (int i = 0; i < 2; i++) {
        const int kernel = chance(d, 0.6) ? 3 : 1, x = image(d);
        const some_rows z = {count, DRAW_C, DRAW_C * kernel * kernel, parts ? i * DRAW_C : 0, i == 0};
        const int own = affine_rows(d, rows, &z);
        tn_gnode *n = node(d, TN_OP_CONV_FEW, x, DRAW_B * DRAW_P, count);
        n->in[1] = own, n->a.conv_few = tn_conv_attributes(DRAW_H, DRAW_W, kernel, 1, kernel / 2, 1);
        const int y = mark(d, n);
        sum = i ? draw_residual(d, sum, y, false) : y;
    }
    keep(d, linear(d, sum, DRAW_C, 1));
}

/* The statistics and slots of a norm of x, over samples or the batch. */
static tn_attr_norm2d norm_of(drawing *d, tn_gnode *n, int x)
{
    const bool batch = chance(d, 0.5);
    const int unit = batch ? d->g->t[x].rows : d->g->t[x].rows / DRAW_B, groups = batch ? DRAW_C : 2;
    n->w[0] = vector(d, DRAW_C, TN_INIT_ONE), n->w[1] = vector(d, DRAW_C, TN_INIT_ZERO);
    if (batch) n->w[2] = slot(d, 1, DRAW_C, 0, 0, TN_INIT_ZERO, true), n->w[3] = slot(d, 1, DRAW_C, 0, 0, TN_INIT_ONE, true);
    n->out[1] = tensor(d, d->g->t[x].rows / unit * groups, 2, "stats");
    return (tn_attr_norm2d){.unit_rows = unit, .groups = groups, .stats = batch ? TN_STATS_TRACKED : TN_STATS_OWN};
}

static int norm2d(drawing *d, int x)
{
    tn_gnode *n = same_shape(d, TN_OP_NORM2D, x);
    n->a.norm2d = norm_of(d, n, x);
    return mark(d, n);
}

/* A product by a matrix that two slots make, added to another. */
static void draws_linear_by(drawing *d)
{
    const int x = chance(d, 0.5) ? draw_act(d, image(d)) : image(d), y = image(d), inner = 3 + below(d, 4),
              act = (int)d->g->t[x].dtype;
    const int m = tn_graph_tensor(d->g, TN_G_ACT, (tn_dtype)act, DRAW_C, DRAW_C, "joined");
    tn_gnode *n = tn_graph_node(d->g, TN_OP_SLOTS_PRODUCT);
    n->out[0] = m;
    n->w[0] = matrix(d, DRAW_C, inner), n->w[1] = matrix(d, inner, DRAW_C);
    mark(d, n);
    n = same_shape(d, TN_OP_LINEAR_BY, x);
    n->in[1] = m, n->in[2] = y;
    keep(d, mark(d, n));
}

/* Rows over an activation of a norm, whose weights come of an affine map; the result is widened again. */
static int norm2d_few(drawing *d, int x)
{
    const int count = 1 + below(d, 3);
    const some_rows z = {count, DRAW_C, DRAW_C, below(d, 2), true};
    const int rows = affine_rows(d, -1, &z);
    tn_gnode *n = node(d, TN_OP_NORM2D_FEW, x, d->g->t[x].rows, count);
    n->in[1] = rows;
    n->a.norm2d_few = norm_of(d, n, x);
    n->a.norm2d_few.act = true, n->a.norm2d_few.fn = chance(d, 0.5) ? TN_GELU : TN_RELU;
    return linear(d, mark(d, n), DRAW_C, 1);
}

static void draws_norm2d(drawing *d)
{
    const int y = norm2d(d, image(d));
    keep(d, chance(d, 0.5) ? draw_act(d, y) : y);
}

static void draws_norm2d_few(drawing *d)
{
    keep(d, norm2d_few(d, image(d)));
}

/* Up, perhaps a convolution there and a norm of it, and down again. */
static void draws_bilinear(drawing *d)
{
    int x = resized(d, image(d), DRAW_H, DRAW_W, 2 * DRAW_H, 2 * DRAW_W);
    if (chance(d, 0.4)) {
        x = depthwise(d, x, 2 * DRAW_H, 2 * DRAW_W);
        if (chance(d, 0.6)) x = (chance(d, 0.5) ? norm2d : norm2d_few)(d, x);
    } else if (chance(d, 0.5)) x = convolved(d, x, 2 * DRAW_H, 2 * DRAW_W);
    keep(d, resized(d, x, 2 * DRAW_H, 2 * DRAW_W, DRAW_H, DRAW_W));
}

static void draws_grn(drawing *d)
{
    const int norms = tensor(d, 2 * DRAW_B, DRAW_C, "norms");
    tn_gnode *n = same_shape(d, TN_OP_GRN, image(d));
    n->out[1] = norms, n->a.grn.rows = DRAW_P;
    n->w[0] = vector(d, DRAW_C, TN_INIT_ONE), n->w[1] = vector(d, DRAW_C, TN_INIT_ZERO);
    keep(d, mark(d, n));
}

int draw_sample_mean(drawing *d, int x)
{
    tn_gnode *n = node(d, TN_OP_SAMPLE_MEAN, x, DRAW_B, DRAW_C);
    n->a.sample_mean.rows = DRAW_P;
    return mark(d, n);
}

int draw_scale_channels(drawing *d, int x, int z)
{
    tn_gnode *n = same_shape(d, TN_OP_SCALE_CHANNELS, x);
    n->in[1] = z, n->a.scale_channels.rows = DRAW_P;
    return mark(d, n);
}

/* The mean may be of another tensor than the one that it scales. */
static void draws_squeeze(drawing *d)
{
    const int x = image(d);
    int z = draw_sample_mean(d, chance(d, 0.5) ? x : image(d));
    if (chance(d, 0.6)) z = draw_act(d, linear(d, z, DRAW_C, 1));
    keep(d, draw_scale_channels(d, x, z));
}

static void draws_dropout2d(drawing *d)
{
    tn_gnode *n = same_shape(d, TN_OP_DROPOUT2D, image(d));
    n->a.dropout2d = (tn_attr_dropout2d){0.3f, d->salt++, DRAW_P};
    keep(d, mark(d, n));
}

/* ---- whole graphs ---- */

int draw_input(drawing *d, int rows, bool needs_grad, const char *name)
{
    const int x = tn_graph_tensor(d->g, TN_G_INPUT, TN_F32, rows, DRAW_C, name);
    d->g->t[x].needs_grad = needs_grad;
    return x;
}

static void rope_table(drawing *d)
{
    const int hd = DRAW_C / 2, t = d->g->rope_table = tn_graph_tensor(d->g, TN_G_CONST, TN_F32, DRAW_P, hd, "rope");
    float *v = d->g->t[t].host = malloc(sizeof *v * (size_t)(DRAW_P * hd));
    for (int i = 0; i < DRAW_P * hd; i++) v[i] = (float)(2 * tn_rng_uniform(&d->r) - 1);
}

void draw_begin(drawing *d, tn_graph *g, tn_model *m, uint64_t seed, tn_recompute recompute)
{
    *d = (drawing){.g = g, .m = m, .r = tn_rng_named(seed, "graph"), .trained = {m, TN_GROUP_HEAD}, .positions = -1};
    tn_graph_init(g, DRAW_B);
    tn_graph_layer(g, "first", recompute);
    rope_table(d);
    keep(d, draw_input(d, DRAW_B * DRAW_N, true, "x.tokens"));
    keep(d, draw_input(d, DRAW_B * DRAW_P, true, "x.image"));
    keep(d, draw_input(d, DRAW_B * DRAW_P, false, "fixed"));
}

static void draw_pixels(drawing *d)
{
    const int frames = 1 + below(d, 3);
    d->g->pixels = tn_graph_tensor(d->g, TN_G_INPUT, TN_F32, DRAW_B * frames * 3 * DRAW_H, DRAW_W, "pixels");
    tn_gnode *n = node(d, TN_OP_PATCHIFY, d->g->pixels, DRAW_B * DRAW_P, frames * 3);
    n->a.patchify = (tn_attr_patchify){DRAW_H, DRAW_W, 1, false, frames};
    const int columns = n->out[0];
    keep(d, draw_linear(d, columns, DRAW_C));
}

void draw_end(drawing *d, int image)
{
    tn_graph *g = d->g;
    const int heats = 1 + below(d, 3);
    g->heat = draw_linear(d, image, heats);
    const int rows = g->t[g->heat].rows;
    const bool labels = chance(d, 0.5);
    g->target = tn_graph_tensor(g, labels ? TN_G_ACT : TN_G_INPUT, TN_F32, rows, heats, "target");
    g->mask = tn_graph_tensor(g, labels ? TN_G_ACT : TN_G_INPUT, TN_F32, DRAW_B, heats, "mask");
    if (labels) {
        g->labels = tn_graph_tensor(g, TN_G_INPUT, TN_F32, DRAW_B * heats, 3, "labels");
        tn_gnode *n = tn_graph_node(g, TN_OP_TARGET);
        n->in[0] = g->labels, n->out[0] = g->target, n->out[1] = g->mask;
        n->a.target = (tn_attr_target){DRAW_H, DRAW_W, 1, chance(d, 0.5)};
    }
    const int d_heat = tensor(d, rows, heats, "d.heat");
    g->loss = tn_graph_tensor(g, TN_G_OUTPUT, TN_F32, TN_PARTIALS, 1, "loss");
    tn_gnode *n = tn_graph_node(g, TN_OP_LOSS);
    n->in[0] = g->heat, n->in[1] = g->target, n->in[2] = g->mask;
    n->out[0] = d_heat, n->out[1] = g->loss;
}

void draw_graph(tn_graph *g, tn_model *m, uint64_t seed, tn_recompute recompute)
{
    static void (*const draws[])(drawing *) = {
        draws_linear,    draws_dora,     draws_glu,       draws_attention,  draws_tokens,       draws_grid,
        draws_layernorm, draws_residual, draws_act,       draws_dropout,    draws_bilinear,     draws_conv,
        draws_norm2d,    draws_squeeze,  draws_dropout2d, draws_mlp,        draws_upsample_add, draws_grn,
        draws_levels,    draws_deform,   draws_conv_few,  draws_norm2d_few, draws_linear_by,
    };
    drawing d;
    draw_begin(&d, g, m, seed, recompute);
    draw_pixels(&d);
    const int n = 4 + below(&d, 9);
    for (int i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "layer.%d", i);
        if (chance(&d, 0.4)) tn_graph_layer(g, name, recompute);
        draws[below(&d, (int)TN_COUNT(draws))](&d);
    }
    const int x = grid(&d, d.tokens[d.n_tokens - 1]);
    draw_end(&d, draw_residual(&d, x, d.images[d.n_images - 1], false));
}
