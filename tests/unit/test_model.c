/* Models that stay open: frames in memory against frames in files, batches, adapters, which are merged where that pays, and two of
 * everything in two threads. Windows of frames: what a model of several frames begins with, and which of a video it looks at. */
#include "copy_slot.h"
#include "image.h"
#include "metrics.h"
#include "predict_once.h"
#include "tiny.h"

#include <math.h>
#include <pthread.h>

static tn_image frame(int i)
{
    char path[64];
    tn_image im;
    tn_error e;
    snprintf(path, sizeof path, "data/game1/Clip1/%04d.jpg", i);
    must(tn_image_load(&im, in_work(path), &e), &e);
    return im;
}

static tn_rgb rgb_of(const tn_image *im)
{
    return (tn_rgb){im->rgb, im->w, im->h, 0};
}

/* ---- a model that stays open ---- */

typedef struct {
    tn_ball ball[FRAMES];
    int n;
} balls;

static int collect(void *user, const tn_prediction *p, int done, int total)
{
    balls *b = user;
    ck_assert_int_le(done, total);
    b->ball[b->n++ % FRAMES] = (tn_ball){p->x, p->y, p->confidence};
    return 0;
}

static const char *variants; /* of every run, or NULL */
static bool in_float;        /* predict on a base that is not quantised, where a CPU merges adapters */
static int merged;           /* how often that was told */

static void hear(void *user, tn_log_level level, const char *line)
{
    (void)user, (void)level;
    merged += strstr(line, "adapters merged into") != NULL;
}

static tn_run_options here(void)
{
    static const tn_log log = {hear, NULL};
    tn_run_options o = on_cpu();
    o.variants = variants;
    o.log = &log;
    return o;
}

static tn_config *config_of(const char *checkpoint)
{
    static const char *const as_float[] = {"model.quantization.enabled=false"};
    tn_error e;
    tn_config *c;
    must(tn_checkpoint_config(&c, checkpoint, as_float, in_float, NULL, &e), &e);
    return c;
}

/* What tn_predict says of all frames, with an adapter when it is not NULL. */
static balls by_files(const char *checkpoint, const char *adapter)
{
    balls b = {.n = 0};
    tn_error e;
    tn_config *c = config_of(checkpoint);
    tn_run_options o = here();
    const char *images[] = {in_work("data/game1/Clip1")};
    tn_predict_options p = TN_PREDICT_OPTIONS_INIT;
    p.images = images, p.n_images = 1, p.each = collect, p.user = &b;
    o.checkpoint = checkpoint;
    if (adapter) o.adapters = &adapter, o.n_adapters = 1;
    must(tn_predict(c, &o, &p, &e), &e);
    ck_assert_int_eq(b.n, FRAMES);
    tn_config_free(c);
    return b;
}

static tn_model_handle *open_model(const char *checkpoint, const char *const *adapters, int n)
{
    tn_error e;
    tn_model_handle *m;
    tn_run_options o = here();
    o.checkpoint = checkpoint, o.adapters = adapters, o.n_adapters = n;
    tn_config *c = in_float ? config_of(checkpoint) : NULL;
    must(tn_model_open(&m, c, &o, &e), &e);
    tn_config_free(c);
    return m;
}

static balls one_by_one(tn_model_handle *m)
{
    balls b = {.n = FRAMES};
    tn_error e;
    for (int i = 0; i < FRAMES; i++) {
        tn_image im = frame(i);
        const tn_rgb f = rgb_of(&im);
        must(tn_model_predict(m, &f, 1, &b.ball[i], NULL, &e), &e);
        tn_image_free(&im);
    }
    return b;
}

static void same(const balls *a, const balls *b)
{
    for (int i = 0; i < FRAMES; i++)
        ck_assert_msg(!memcmp(&a->ball[i], &b->ball[i], sizeof a->ball[i]), "frame %d: %.17g, %.17g instead of %.17g, %.17g", i,
                      a->ball[i].x, a->ball[i].y, b->ball[i].x, b->ball[i].y);
}

START_TEST(frames_in_memory_are_as_frames_in_files)
{
    const char *checkpoint = trained("a", 1);
    tn_model_handle *m = open_model(checkpoint, NULL, 0);
    const balls want = by_files(checkpoint, NULL), got = one_by_one(m), again = one_by_one(m);
    same(&got, &want);
    same(&again, &want);
    tn_model_close(m);
}
END_TEST

START_TEST(a_batch_with_strides_is_as_one_by_one)
{
    enum { STRIDE = 3 * W + 13 };
    tn_error e;
    tn_model_handle *m = open_model(trained("a", 1), NULL, 0);
    tn_model_info info = TN_MODEL_INFO_INIT;
    must(tn_model_describe(m, &info, &e), &e);
    ck_assert(info.image_width == W && info.heat_height == H / 4 && info.parameters > 0 && info.adapter == -1);
    const balls want = one_by_one(m);
    uint8_t *padded = malloc((size_t)FRAMES * STRIDE * H);
    float *heat = malloc(sizeof *heat * FRAMES * (W / 4) * (H / 4));
    tn_rgb f[FRAMES];
    tn_ball ball[FRAMES];
    for (int i = 0; i < FRAMES; i++) {
        tn_image im = frame(i);
        uint8_t *to = padded + (size_t)i * STRIDE * H;
        for (int y = 0; y < H; y++) memcpy(to + y * STRIDE, im.rgb + y * 3 * W, 3 * W);
        f[i] = (tn_rgb){to, W, H, STRIDE};
        tn_image_free(&im);
    }
    must(tn_model_predict(m, f, FRAMES, ball, heat, &e), &e);
    for (int i = 0; i < FRAMES; i++) {
        const float *h = heat + i * (W / 4) * (H / 4);
        float peak = h[0];
        for (int k = 1; k < (W / 4) * (H / 4); k++) peak = fmaxf(peak, h[k]);
        ck_assert(fabs(ball[i].x - want.ball[i].x) < 0.05 && fabs(ball[i].y - want.ball[i].y) < 0.05);
        ck_assert(fabs(ball[i].confidence - fmin(fmax(peak, 0), 1)) < 1e-6);
    }
    f[3].stride = 5;
    REFUSES(tn_model_predict(m, f, FRAMES, ball, NULL, &e));
    f[3].stride = 0, f[3].width = 0;
    REFUSES(tn_model_predict(m, f, FRAMES, ball, NULL, &e));
    REFUSES(tn_model_predict(m, f, -1, ball, NULL, &e));
    REFUSES(tn_model_use_adapter(m, 0, &e));
    const balls after = one_by_one(m);
    same(&after, &want);
    free(padded);
    free(heat);
    tn_model_close(m);
}
END_TEST

START_TEST(adapters_change_places)
{
    char first[160];
    in_float = _i;
    snprintf(first, sizeof first, "%s", trained("a", 1));
    const char *adapters[] = {first, trained("b", 2)};
    const balls a = by_files(first, adapters[0]), b = by_files(first, adapters[1]);
    tn_model_handle *m = open_model(first, adapters, 2);
    tn_error e;
    const balls at_first = one_by_one(m);
    must(tn_model_use_adapter(m, 1, &e), &e);
    const balls other = one_by_one(m);
    must(tn_model_use_adapter(m, 0, &e), &e);
    const balls back = one_by_one(m);
    same(&at_first, &a);
    same(&other, &b);
    same(&back, &a);
    ck_assert(memcmp(&a.ball, &b.ball, sizeof a.ball) != 0);
    REFUSES(tn_model_use_adapter(m, 2, &e));
    tn_model_close(m);
    ck_assert_int_eq(merged, _i ? 3 : 0); /* once an opening */
}
END_TEST

/* ---- adapters in the matrices ---- */

enum { AREA = (W / 4) * (H / 4) };

static const struct {
    const char *precision;
    bool quantised, dora;
    double tolerance;  /* of the largest value of the heatmap */
    bool convolutions; /* a ConvNeXt, whose convolutions have adapters too */
} kinds[] = {{"fp32", true, false, 1e-5, false}, {"fp32", false, false, 1e-5, false}, {"fp32", true, true, 1e-5, false},
             {"bf16", true, false, 3e-2, false}, {"bf16", false, false, 3e-2, false}, {"bf16", true, true, 3e-2, false},
             {"fp32", false, false, 1e-5, true}, {"fp32", false, true, 1e-5, true}};
enum { DEPTHWISE = 5 }; /* of the ConvNeXt; their adapters cannot be merged */

static void take_convnext(tn_config *c)
{
    static const char *const targets[] = {"patch_embeddings", "downsampling_layer.1", "dwconv", "pwconv1"};
    tn_error e;
    must(tn_config_set_str(c, "model.pretrained_model_name", SOURCE_DIR "/tests/golden/cases/convnext", &e), &e);
    must(tn_config_set(c, "model.decoder.channels=[64, 16]", &e), &e);
    must(tn_config_set_list(c, "model.lora.target_modules", targets, TN_COUNT(targets), &e), &e);
    must(tn_config_set(
             c,
             "model.lora.rank_pattern={stages.0..*dwconv: 16, stages.1..*dwconv: 32, stages.2..*dwconv: 48, stages.3..*dwconv: 64}",
             &e),
         &e);
}

typedef struct {
    tn_config *c;
    tn_engine *e;
    float heat[AREA];
} opened;

static void open_engine(opened *o, int kind, size_t limit)
{
    tn_error e;
    tn_run_options run = on_cpu();
    run.memory_limit = limit;
    o->c = tiny("never", 4);
    must(tn_config_set_str(o->c, "training.precision", kinds[kind].precision, &e), &e);
    must(tn_config_set_bool(o->c, "model.quantization.enabled", kinds[kind].quantised, &e), &e);
    must(tn_config_set_bool(o->c, "model.lora.use_dora", kinds[kind].dora, &e), &e);
    must(tn_config_set_real(o->c, "model.heatmap.head_std", 0.3, &e), &e);
    if (kinds[kind].convolutions) take_convnext(o->c);
    must(tn_engine_open(&o->e, tn_config_settings(o->c), &run, false, false, &e), &e);
}

static void close_engine(opened *o)
{
    tn_engine_close(o->e);
    tn_config_free(o->c);
}

static void look_at_noise(opened *o)
{
    static uint8_t frame[3 * W * H];
    tn_rng r = tn_rng_named(3, "noise");
    for (size_t i = 0; i < sizeof frame; i++) frame[i] = (uint8_t)tn_rng_below(&r, 256);
    const tn_batch b = {.n = 1, .frames = frame};
    predict_once(o->e, &b, o->heat, NULL);
}

/* Adapters that do something: B's that are not zero, and magnitudes beside the norms. */
static void give_adapters(tn_engine *x, const char *seed)
{
    tn_error e;
    tn_store *st = x->session->store;
    for (int i = 0; i < x->model->n_slots; i++) {
        const tn_slot *s = &x->model->slots[i];
        const size_t n = (size_t)s->rows * (size_t)s->cols;
        const bool b = strstr(s->name, ".lora_B.") != NULL, m = strstr(s->name, ".lora_magnitude_vector") != NULL;
        if (!b && !m) continue;
        float *v = malloc(n * sizeof *v);
        tn_rng r = tn_rng_named(i, seed);
        must(tn_store_get(st, i, v, &e), &e);
        for (size_t k = 0; k < n; k++) v[k] = (float)(b ? 0.05 * tn_rng_normal(&r) : v[k] * (1 + 0.2 * tn_rng_normal(&r)));
        must(tn_store_set(st, i, v, &e), &e);
        free(v);
    }
}

/* The largest difference of two heatmaps over the largest value of b. */
static double apart(const opened *a, const float *b)
{
    double d = 0, top = 0;
    for (int i = 0; i < AREA; i++) {
        d = fmax(d, fabs((double)a->heat[i] - b[i]));
        top = fmax(top, fabs((double)b[i]));
    }
    return d / top;
}

/* Adapters' and unpacking's commands of the pass that runs. */
static int operations(const opened *o, tn_opcode op)
{
    const tn_session *s = o->e->session;
    int n = 0;
    for (int i = 0; i < s->n_execs; i++)
        for (int k = 0; s->execs[i]->pass.merged == s->store->merged && k < s->execs[i]->g.n_n; k++)
            n += s->execs[i]->g.n[k].op == op;
    return n;
}

START_TEST(merged_adapters_are_as_adapters_beside)
{
    static opened o;
    static float without[AREA], beside[AREA];
    tn_error e;
    open_engine(&o, _i, 0);
    look_at_noise(&o);
    memcpy(without, o.heat, sizeof without);
    give_adapters(o.e, "one");
    look_at_noise(&o);
    memcpy(beside, o.heat, sizeof beside);
    ck_assert_double_gt(apart(&o, without), 3 * kinds[_i].tolerance);
    ck_assert_int_gt(operations(&o, TN_OP_LINEAR_T), 0);
    must(tn_store_merge(o.e->session->store, &e), &e);
    look_at_noise(&o);
    ck_assert_double_le(apart(&o, beside), kinds[_i].tolerance);
    ck_assert(memcmp(o.heat, beside, sizeof beside) != 0); /* another way of computing it */
    const int stay = kinds[_i].convolutions ? DEPTHWISE : 0;
    ck_assert_int_eq(operations(&o, TN_OP_LINEAR_T) + operations(&o, TN_OP_DORA), kinds[_i].dora ? stay : 0);
    ck_assert_int_eq(operations(&o, TN_OP_ADAPT), stay);
    give_adapters(o.e, "two");
    ck_assert(!o.e->session->store->merged);
    look_at_noise(&o);
    memcpy(without, o.heat, sizeof without);
    ck_assert_double_gt(apart(&o, beside), 3 * kinds[_i].tolerance);
    must(tn_store_merge(o.e->session->store, &e), &e);
    look_at_noise(&o);
    ck_assert_double_le(apart(&o, without), kinds[_i].tolerance);
    close_engine(&o);
}
END_TEST

/* Layer norms that do something, for the matrices behind them. */
static void give_norms(tn_engine *x)
{
    tn_error e;
    for (int i = 0; i < x->model->n_slots; i++) {
        const int gamma = tn_model_norm_of(x->model, i);
        for (int beta = 0; gamma >= 0 && beta < 2; beta++) {
            float v[512];
            tn_rng r = tn_rng_named(gamma + beta, "norms");
            ck_assert_int_le(x->model->slots[gamma].cols, 512);
            for (int k = 0; k < x->model->slots[gamma].cols; k++) v[k] = (float)(1 - beta + 0.3 * tn_rng_normal(&r));
            must(tn_store_set(x->session->store, gamma + beta, v, &e), &e);
        }
    }
}

/* The engine's copies take norms in from now on, as on a GPU whose products do. */
static void take_norms(tn_engine *x)
{
    tn_store *st, *old = x->session->store;
    tn_session *session;
    tn_error e;
    const tn_store_spec spec = {.quant = &old->quant, .act = x->act, .norms = true};
    must(tn_store_new_of(&st, x->dev, x->model, &spec, &e), &e);
    for (int i = 0; i < x->model->n_slots; i++) copy_slot(st, old, i);
    must(tn_session_new(&session, x->dev, x->model, st, &e), &e);
    tn_session_free(x->session);
    x->session = x->team.member[0].session = session;
}

START_TEST(norms_in_products_are_as_norms_beside)
{
    static opened o;
    static float beside[AREA];
    tn_error e;
    const int kind = 1 + _i; /* of ViTs: dense, with DoRA, in bfloat16 */
    open_engine(&o, kind, 0);
    give_adapters(o.e, "one");
    give_norms(o.e);
    look_at_noise(&o);
    memcpy(beside, o.heat, sizeof beside);
    const int norms = operations(&o, TN_OP_LAYERNORM);
    take_norms(o.e);
    const size_t stored = o.e->dev->allocated;
    must(tn_store_merge(o.e->session->store, &e), &e);
    ck_assert_uint_eq(o.e->dev->allocated, stored + o.e->session->store->merged_bytes);
    look_at_noise(&o);
    ck_assert_double_le(apart(&o, beside), kinds[kind].tolerance);
    ck_assert_int_eq(operations(&o, TN_OP_LAYERNORM), 1); /* the last, which no matrix reads */
    ck_assert_int_eq(operations(&o, TN_OP_ROW_SUMS), 1);  /* of the tokens; the products leave the others */
    ck_assert_int_gt(norms, 2);
    close_engine(&o);
}
END_TEST

/* A quarter of what is free on a CPU. */
START_TEST(adapters_are_merged_where_there_is_room)
{
    static opened o;
    static float beside[AREA];
    tn_error e;
    open_engine(&o, 1, 0);
    const size_t stored = o.e->dev->allocated, copies = o.e->session->store->merged_bytes;
    give_adapters(o.e, "one");
    look_at_noise(&o);
    memcpy(beside, o.heat, sizeof beside);
    close_engine(&o);
    for (int room = 0; room < 2; room++) {
        open_engine(&o, 1, stored + 4 * copies - (room ? 0 : 4));
        give_adapters(o.e, "one");
        must(tn_engine_merge(o.e, 1, &e), &e);
        ck_assert_int_eq(o.e->session->store->merged, room);
        ck_assert_uint_eq(o.e->dev->allocated, stored + (room ? copies : 0));
        look_at_noise(&o);
        ck_assert_int_eq(memcmp(o.heat, beside, sizeof beside) != 0, room);
        ck_assert_uint_ge(o.e->dev->peak, o.e->dev->allocated);
        close_engine(&o);
    }
}
END_TEST

/* A CPU has quantised weights in its caches; DoRA's norms in every pass would cost more. */
START_TEST(a_cpu_merges_what_it_gains_by)
{
    static opened o;
    tn_error e;
    open_engine(&o, _i, 0);
    must(tn_engine_merge(o.e, 1, &e), &e);
    ck_assert_int_eq(o.e->session->store->merged, !kinds[_i].quantised || kinds[_i].dora);
    close_engine(&o);
}
END_TEST

static int packed(const tn_store *st)
{
    int n = 0;
    for (int i = 0; i < st->m->n_slots; i++) n += st->s[i].kept.filled;
    return n;
}

/* A second engine packs in every use. What is kept is packed anew when weights change. */
START_TEST(what_products_keep_changes_no_bit)
{
    static opened keeps, packs;
    static const char *const seeds[] = {"one", "two"};
    tn_error e;
    open_engine(&keeps, _i, 0);
    open_engine(&packs, _i, 0);
    for (size_t i = 0; i < TN_COUNT(seeds); i++) {
        give_adapters(keeps.e, seeds[i]);
        give_adapters(packs.e, seeds[i]);
        ck_assert_int_eq(packed(keeps.e->session->store), 0);
        must(tn_engine_merge(keeps.e, 1, &e), &e);
        if (keeps.e->session->store->merged) must(tn_store_merge(packs.e->session->store, &e), &e);
        for (int again = 0; again < 2; again++) {
            look_at_noise(&keeps);
            look_at_noise(&packs);
            ck_assert_mem_eq(keeps.heat, packs.heat, sizeof keeps.heat);
        }
        ck_assert_int_eq(packed(packs.e->session->store), 0);
        ck_assert(packed(keeps.e->session->store) > 0 || !(keeps.e->dev->caps & TN_CAP_VECTORS));
    }
    close_engine(&keeps);
    close_engine(&packs);
}
END_TEST

/* A quarter of what is free on a CPU, as for merged copies; and the bound holds. */
START_TEST(products_keep_what_there_is_room_for)
{
    static opened o;
    static float first[AREA];
    tn_error e;
    size_t stored = 0, most = 0, without = 0;
    for (int room = 2; room >= 0; room--) { /* 2: any */
        open_engine(&o, 1, room < 2 ? stored + 4 * most - (room ? 0 : 4) : 0);
        o.e->stays_apart = true; /* no copies */
        stored = o.e->dev->allocated;
        most = tn_store_kept_bytes(o.e->session->store);
        if (most) must(tn_engine_merge(o.e, 1, &e), &e);
        ck_assert_int_eq(o.e->session->store->keeps, most && room);
        look_at_noise(&o);
        if (room == 2) memcpy(first, o.heat, sizeof first);
        if (room == 0) without = o.e->dev->allocated;
        ck_assert_mem_eq(o.heat, first, sizeof first);
        close_engine(&o);
    }
    open_engine(&o, 1, 0);
    o.e->stays_apart = true;
    must(tn_engine_merge(o.e, 1, &e), &e);
    look_at_noise(&o);
    ck_assert_uint_le(o.e->dev->allocated, without + most);
    close_engine(&o);
}
END_TEST

/* ---- a model of several frames ---- */

enum { WINDOW = 3, PIXELS = 3 * W * H };

static void take_windows(tn_config *c, const char *heatmaps)
{
    tn_error e;
    must(tn_config_set_bool(c, "data.sequence.enabled", true, &e), &e);
    must(tn_config_set_int(c, "data.sequence.length", WINDOW, &e), &e);
    must(tn_config_set_str(c, "model.frames", "concat", &e), &e);
    must(tn_config_set_str(c, "model.heatmaps", heatmaps, &e), &e);
}

static const struct {
    const char *backbone, *channels; /* NULL: random weights */
    bool quantised;
} inflated[] = {{NULL, NULL, false},
                {NULL, NULL, true},
                {"dinov3", "model.decoder.channels=[64, 48, 32]", false},
                {"vit", "model.decoder.channels=[64, 48, 32]", false},
                {"convnext", "model.decoder.channels=[64, 16]", false}};

static void open_inflated(opened *o, int kind, bool windows)
{
    tn_error e;
    tn_run_options run = on_cpu();
    o->c = tiny("never", 4);
    must(tn_config_set_bool(o->c, "model.quantization.enabled", inflated[kind].quantised, &e), &e);
    must(tn_config_set_bool(o->c, "model.lora.enabled", false, &e), &e);
    must(tn_config_set_real(o->c, "model.heatmap.head_std", 0.3, &e), &e);
    if (inflated[kind].backbone) {
        char path[256];
        snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/cases/%s", inflated[kind].backbone);
        must(tn_config_set_str(o->c, "model.pretrained_model_name", path, &e), &e);
        must(tn_config_set_bool(o->c, "model.backbone.random_init", false, &e), &e);
        must(tn_config_set(o->c, inflated[kind].channels, &e), &e);
    }
    if (windows) take_windows(o->c, "last");
    must(tn_engine_open(&o->e, tn_config_settings(o->c), &run, false, false, &e), &e);
    ck_assert_int_eq(o->e->model->frames, windows ? WINDOW : 1);
}

static void draw_noise(uint8_t *frame, const char *name)
{
    tn_rng r = tn_rng_named(3, name);
    for (int i = 0; i < PIXELS; i++) frame[i] = (uint8_t)tn_rng_below(&r, 256);
}

static void look_at(opened *o, const uint8_t *frames)
{
    const tn_batch b = {.n = 1, .frames = frames};
    predict_once(o->e, &b, o->heat, NULL);
}

/* What reads the pixels is divided among the frames of a window, so that training begins from what one frame says. */
START_TEST(equal_frames_are_at_first_as_one)
{
    static uint8_t frames[WINDOW * PIXELS];
    opened one, three;
    open_inflated(&one, _i, false), open_inflated(&three, _i, true);
    for (int t = 0; t < WINDOW; t++) draw_noise(frames + t * PIXELS, "noise");
    look_at(&one, frames), look_at(&three, frames);
    const double d = apart(&three, one.heat);
    ck_assert_msg(d < 1e-5, "%g of the largest value", d);
    draw_noise(frames, "another"); /* the first is looked at too */
    look_at(&three, frames);
    ck_assert_double_gt(apart(&three, one.heat), 1e-2);
    close_engine(&one), close_engine(&three);
}
END_TEST

/* Heatmaps of a video of FRAMES frames that come in batches of n, from an untrained model. */
static float *answers(const char *heatmaps, const tn_rgb *f, int n, bool twice)
{
    tn_error e;
    tn_model_handle *m;
    tn_ball ball[FRAMES];
    tn_run_options o = here();
    tn_config *c = tiny("never", 4);
    float *heat = malloc(sizeof *heat * FRAMES * AREA);
    take_windows(c, heatmaps);
    must(tn_config_set_real(c, "model.heatmap.head_std", 0.3, &e), &e);
    must(tn_model_open(&m, c, &o, &e), &e);
    if (twice) { /* what another video ended with is forgotten */
        must(tn_model_predict(m, f + 2, 2, ball, heat, &e), &e);
        must(tn_model_restart(m, &e), &e);
    }
    for (int i = 0; i < FRAMES; i += n)
        must(tn_model_predict(m, f + i, n < FRAMES - i ? n : FRAMES - i, ball + i, heat + (size_t)i * AREA, &e), &e);
    tn_model_close(m);
    tn_config_free(c);
    return heat;
}

/* The same from windows that are laid here: window[i] has the frames' numbers, answer[i] the heatmap that is frame i's. */
static float *laid(const char *heatmaps, const tn_rgb *f, const int (*window)[WINDOW], const int *answer)
{
    static uint8_t frames[WINDOW * PIXELS];
    tn_error e;
    tn_ball ball;
    const tn_run_options run = on_cpu();
    tn_engine *x;
    tn_config *c = tiny("never", 4);
    take_windows(c, heatmaps);
    must(tn_config_set_real(c, "model.heatmap.head_std", 0.3, &e), &e);
    must(tn_engine_open(&x, tn_config_settings(c), &run, false, false, &e), &e);
    float *heat = malloc(sizeof *heat * FRAMES * AREA), all[WINDOW * AREA];
    for (int i = 0; i < FRAMES; i++) {
        for (int t = 0; t < WINDOW; t++) memcpy(frames + t * PIXELS, f[window[i][t]].pixels, PIXELS);
        const tn_batch b = {.n = 1, .frames = frames};
        predict_once(x, &b, all, NULL);
        memcpy(heat + (size_t)i * AREA, all + (size_t)answer[i] * AREA, AREA * sizeof *heat);
        tn_heat_ball(heat + (size_t)i * AREA, W / 4, H / 4, tn_heat_logits(x->s), &ball); /* and through a sigmoid */
    }
    tn_engine_close(x);
    tn_config_free(c);
    return heat;
}

static const struct {
    const char *heatmaps;
    int n; /* frames of a batch */
    int window[FRAMES][WINDOW], answer[FRAMES];
} videos[] = {
    {"last", 1, {{0, 0, 0}, {0, 0, 1}, {0, 1, 2}, {1, 2, 3}, {2, 3, 4}, {3, 4, 5}}, {0}},
    {"last", 4, {{0, 0, 0}, {0, 0, 1}, {0, 1, 2}, {1, 2, 3}, {2, 3, 4}, {3, 4, 5}}, {0}},
    {"all", 6, {{0, 1, 2}, {0, 1, 2}, {0, 1, 2}, {3, 4, 5}, {3, 4, 5}, {3, 4, 5}}, {0, 1, 2, 0, 1, 2}},
    {"all",
     5,
     {{0, 1, 2}, {0, 1, 2}, {0, 1, 2}, {2, 3, 4}, {2, 3, 4}, {3, 4, 5}},
     {0, 1, 2, 1, 2, 2}}, /* a window that goes back */
    {"all", 1, {{0, 0, 0}, {0, 0, 1}, {0, 1, 2}, {1, 2, 3}, {2, 3, 4}, {3, 4, 5}}, {2, 2, 2, 2, 2, 2}},
};

/* Frames as they come are answered from windows that do not reach before the video: its first frame stands there. */
START_TEST(a_video_is_answered_from_windows)
{
    tn_image im[FRAMES];
    tn_rgb f[FRAMES];
    tn_config_free(tiny("never", 4)); /* draws them */
    for (int i = 0; i < FRAMES; i++) im[i] = frame(i), f[i] = rgb_of(&im[i]);
    float *want = laid(videos[_i].heatmaps, f, videos[_i].window, videos[_i].answer);
    for (int twice = 0; twice < 2; twice++) {
        float *got = answers(videos[_i].heatmaps, f, videos[_i].n, twice);
        for (int i = 0; i < FRAMES; i++) {
            opened o;
            memcpy(o.heat, got + (size_t)i * AREA, sizeof o.heat);
            const double d = apart(&o, want + (size_t)i * AREA);
            ck_assert_msg(d < 1e-4, "frame %d is %g off", i, d);
        }
        free(got);
    }
    for (int i = 0; i < FRAMES; i++) tn_image_free(&im[i]);
    free(want);
}
END_TEST

/* ---- threads ---- */

typedef struct {
    char checkpoint[160];
    balls got;
    int rounds;
} predictor;

static void *predict_always(void *arg)
{
    predictor *p = arg;
    tn_model_handle *m = open_model(p->checkpoint, NULL, 0);
    const balls first = one_by_one(m);
    for (int i = 1; i < p->rounds; i++) {
        p->got = one_by_one(m);
        same(&p->got, &first);
    }
    tn_model_close(m);
    return NULL;
}

START_TEST(two_models_in_two_threads_are_as_one_after_the_other)
{
    predictor p[] = {{.rounds = 4}, {.rounds = 8}}; /* one closes while the other goes on */
    pthread_t t[2];
    balls want[2];
    variants = _i ? "gemm=clblast" : NULL; /* whose cache is the process's */
    for (int i = 0; i < 2; i++) {
        snprintf(p[i].checkpoint, sizeof p[i].checkpoint, "%s", trained(i ? "b" : "a", i + 1));
        want[i] = by_files(p[i].checkpoint, NULL);
    }
    for (int i = 0; i < 2; i++) ck_assert_int_eq(pthread_create(&t[i], NULL, predict_always, &p[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < 2; i++) same(&p[i].got, &want[i]);
}
END_TEST

typedef struct {
    tn_config *c;
    tn_train_summary sum;
    tn_error err;
    int rc;
} trainee;

static void *train_once(void *arg)
{
    trainee *t = arg;
    const tn_run_options o = here();
    t->rc = tn_train(t->c, &o, NULL, &t->sum, &t->err);
    return NULL;
}

START_TEST(training_beside_predicting_changes_neither)
{
    predictor p = {.rounds = 8};
    pthread_t t[2];
    trainee alone = {tiny("alone", 5), TN_TRAIN_SUMMARY_INIT, {0}, 0}, beside = {tiny("beside", 5), TN_TRAIN_SUMMARY_INIT, {0}, 0};
    snprintf(p.checkpoint, sizeof p.checkpoint, "%s", trained("a", 1));
    const balls want = by_files(p.checkpoint, NULL);
    train_once(&alone);
    must(alone.rc, &alone.err);
    ck_assert_int_eq(pthread_create(&t[0], NULL, predict_always, &p), 0);
    ck_assert_int_eq(pthread_create(&t[1], NULL, train_once, &beside), 0);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    must(beside.rc, &beside.err);
    same(&p.got, &want);
    ck_assert(alone.sum.first_loss == beside.sum.first_loss && alone.sum.last_loss == beside.sum.last_loss);
    ck_assert(alone.sum.best_metric == beside.sum.best_metric);
    tn_config_free(alone.c);
    tn_config_free(beside.c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("model");
    add_tests(s, "handle", 300,
              TESTS(ONCE(frames_in_memory_are_as_frames_in_files), ONCE(a_batch_with_strides_is_as_one_by_one),
                    TIMES(adapters_change_places, 2)));
    add_tests(s, "merged", 300,
              TESTS(TIMES(merged_adapters_are_as_adapters_beside, sizeof kinds / sizeof *kinds),
                    TIMES(norms_in_products_are_as_norms_beside, 3), ONCE(adapters_are_merged_where_there_is_room),
                    TIMES(a_cpu_merges_what_it_gains_by, 3), TIMES(what_products_keep_changes_no_bit, 6),
                    ONCE(products_keep_what_there_is_room_for)));
    add_tests(s, "frames", 300,
              TESTS(TIMES(equal_frames_are_at_first_as_one, sizeof inflated / sizeof *inflated),
                    TIMES(a_video_is_answered_from_windows, sizeof videos / sizeof *videos)));
    add_tests(
        s, "threads", 600,
        TESTS(TIMES(two_models_in_two_threads_are_as_one_after_the_other, 2), ONCE(training_beside_predicting_changes_neither)));
    return run_in_folder(s);
}
