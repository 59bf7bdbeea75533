#include "speed.h"
#include "clock.h"
#include "files.h"
#include "jsonio.h"
#include "steps.h"
#include "tape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SPEED_FORMAT = 1, BLOCKS = 2, PROFILES = 2 };
#define LONG_STEP 0.7 /* seconds that the larger of the two steps may take */

/* The run's engine with a model of BLOCKS blocks on the device in question. */
typedef struct {
    tn_engine e;
    tn_member member; /* all of it */
    tn_steps steps;
} bench;

/* Seconds of a step by layers of the small model. */
typedef struct {
    int images;
    double forward[TN_PLANNER_LAYERS], backward[TN_PLANNER_LAYERS], update;
} timing;

/* ---- the small model ---- */

static tn_backbone shortened(const tn_model *m)
{
    tn_backbone b = m->backbone;
    b.family->architecture->shorten(&b, BLOCKS);
    return b;
}

static int small_model(tn_model **out, const tn_model *m, tn_error *err)
{
    const tn_backbone b = shortened(m);
    const tn_model_spec spec = {.backbone = &b,
                                .dec = m->with_decoder ? &m->dec : NULL,
                                .lora = &m->lora,
                                .image_h = m->image_h,
                                .image_w = m->image_w,
                                .heat_h = m->heat_h,
                                .heat_w = m->heat_w,
                                .train_backbone = m->train_backbone,
                                .frames = m->frames,
                                .heats = m->heats};
    return tn_model_new(out, &spec, NULL, err);
}

static int fill_weights(tn_store *s, uint64_t seed, tn_error *err)
{
    TN_TRY(tn_store_init(s, TN_GROUP_BACKBONE, seed, err));
    TN_TRY(tn_store_init(s, TN_GROUP_LORA, seed, err));
    TN_TRY(tn_adapt_magnitudes(s, err));
    return tn_store_init(s, TN_GROUP_HEAD, seed, err);
}

static int bench_open(bench *b, const tn_engine *e, tn_dev *d, int images, tn_error *err)
{
    tn_store *store = NULL;
    *b = (bench){.e = *e};
    b->e.dev = d;
    b->e.model = NULL;
    b->e.session = NULL;
    b->e.team = (tn_team){.member = &b->member, .n = 1};
    TN_TRY(small_model(&b->e.model, e->model, err));
    TN_TRY(tn_store_new(&store, d, b->e.model, &e->session->store->quant, e->act, true, false, err));
    TN_TRY(tn_session_new(&b->e.session, d, b->e.model, store, err));
    b->member = (tn_member){.dev = d, .session = b->e.session, .n_stages = 1};
    TN_TRY(fill_weights(store, e->s->training.seed, err));
    return tn_steps_open(&b->steps, &b->e, images, err);
}

static void bench_close(bench *b)
{
    tn_steps_close(&b->steps);
    tn_session_free(b->e.session);
    tn_model_free(b->e.model);
}

/* ---- timing ---- */

/* Adds a tape's entries, the least of several times each, to the layers of g, or where that is NULL to the update. */
static int add_tape(timing *t, tn_tape *tape, const tn_graph *g, tn_error *err)
{
    const int n = tn_tape_count(tape);
    double *best = calloc(2 * (size_t)n + 2, sizeof *best);
    if (!best) return tn_oom(err);
    double *now = best + n + 1;
    int rc = 0;
    for (int k = 0; !rc && k < PROFILES; k++) {
        rc = tn_tape_profile(tape, now, err);
        for (int i = 0; !rc && i < n; i++) best[i] = k ? fmin(best[i], now[i]) : now[i];
    }
    for (int i = 0; !rc && i < n; i++) {
        const tn_note *note = NULL;
        (void)tn_tape_entry(tape, i, &note);
        if (!g) t->update += best[i];
        else if (g->n[note->node].backward) t->backward[g->n[note->node].layer] += best[i];
        else t->forward[g->n[note->node].layer] += best[i];
    }
    free(best);
    return rc;
}

static void stretch(timing *t, int layers, double seconds)
{
    double sum = t->update;
    for (int i = 0; i < layers; i++) sum += t->forward[i] + t->backward[i];
    const double by = sum > 0 ? seconds / sum : 0;
    for (int i = 0; i < layers; i++) t->forward[i] *= by, t->backward[i] *= by;
    t->update *= by;
}

/* A step by the clock, shared out among the layers as their commands take when each is timed. */
static int time_step(timing *t, bench *b, int images, bool again, tn_error *err)
{
    double seconds;
    tn_exec *x;
    tn_tape *update;
    *t = (timing){.images = images};
    b->e.recompute = again ? TN_RECOMPUTE_ALL : TN_RECOMPUTE_NONE;
    TN_TRY(tn_steps_time(&b->steps, images, images, &seconds, err));
    const tn_pass pass = tn_engine_train_pass(&b->e, images, tn_engine_groups(&b->e));
    TN_TRY(tn_session_get(&x, b->e.session, &pass, err));
    TN_TRY(tn_session_record(b->e.session, x, err));
    TN_TRY(tn_stepper_tape(&update, b->steps.stepper, pass.groups, err));
    TN_TRY(add_tape(t, x->tape, &x->g, err));
    TN_TRY(add_tape(t, update, NULL, err));
    stretch(t, x->g.n_layers, seconds);
    return 0;
}

static tn_line through(double a, double b, int at_a, int at_b)
{
    const double image = (b - a) / (at_b - at_a), fixed = a - image * at_a;
    if (image < 0) return (tn_line){b, 0};
    return fixed < 0 ? (tn_line){0, b / at_b} : (tn_line){fixed, image};
}

/* The small model's layers, from steps of one image, of as many as take no longer than LONG_STEP, and of as many with activations
 * made again. */
static int time_layers(tn_layer_time *out, tn_speed *s, bench *b, int most, tn_error *err)
{
    timing *t = calloc(3, sizeof *t);
    if (!t) return tn_oom(err);
    int rc = time_step(&t[0], b, 1, false, err), n = most;
    double one = t[0].update;
    for (int i = 0; i < TN_PLANNER_LAYERS; i++) one += t[0].forward[i] + t[0].backward[i];
    n = (int)fmin(fmax(LONG_STEP / fmax(one, 1e-9), 2), most);
    if (!rc) rc = time_step(&t[1], b, n, false, err);
    for (; rc == TN_ERR_MEMORY && n > 2; rc = time_step(&t[1], b, n, false, err)) n /= 2;
    if (!rc) rc = time_step(&t[2], b, n, true, err);
    for (int i = 0; !rc && i < TN_PLANNER_LAYERS; i++) {
        out[i].forward = through(t[0].forward[i], t[1].forward[i], 1, n);
        out[i].backward = through(t[0].backward[i], t[1].backward[i], 1, n);
        out[i].again = (tn_line){0, fmax(t[2].backward[i] - t[1].backward[i], 0) / n};
    }
    s->update = (tn_line){0, t[1].update / (4.0 * (double)TN_MAX(b->e.session->store->n_params, 1))};
    free(t);
    return rc;
}

/* ---- the link ---- */

/* Seconds of a copy there and back, the least of several. */
static int copy_seconds(double *seconds, tn_dev *d, tn_buffer *b, const tn_staging *host, size_t bytes, tn_error *err)
{
    *seconds = INFINITY;
    for (int i = 0; i < 5; i++) {
        const double begin = tn_now();
        TN_TRY(tn_buffer_write_async(b, TN_QUEUE_COPY, 0, host->host, bytes, NULL, NULL, err));
        TN_TRY(tn_buffer_read_async(b, TN_QUEUE_COPY, 0, host->host, bytes, NULL, NULL, err));
        TN_TRY(tn_dev_finish(d, err));
        *seconds = fmin(*seconds, tn_now() - begin);
    }
    return 0;
}

static int time_link(tn_speed *s, tn_dev *d, tn_error *err)
{
    const size_t few = 4096, many = (size_t)16 << 20;
    tn_staging host = {0};
    tn_buffer *b = NULL;
    double a = 0, z = 0;
    int rc = tn_staging_new(&host, d, many, err);
    if (!rc) memset(host.host, 1, many);
    if (!rc) rc = tn_buffer_new(&b, d, many, "a copy that is timed", err);
    if (!rc) rc = copy_seconds(&a, d, b, &host, few, err);
    if (!rc) rc = copy_seconds(&z, d, b, &host, many, err);
    tn_buffer_free(b);
    tn_staging_free(&host);
    s->latency = a / 2;
    s->bandwidth = 2 * (double)(many - few) / fmax(z - a, 1e-9);
    return rc;
}

/* ---- what is kept ---- */

/* What a step of one image computes. */
static unsigned long long hash_graph(const bench *b, unsigned long long h)
{
    tn_graph g;
    tn_error unread;
    const tn_pass pass = tn_engine_train_pass(&b->e, 1, tn_engine_groups(&b->e));
    if (!tn_model_graph(&g, b->e.model, &pass, &unread)) {
        for (int i = 0; i < g.n_n; i++) h = tn_hash(tn_hash(h, &g.n[i].op, sizeof g.n[i].op), &g.n[i].a, sizeof g.n[i].a);
        for (int i = 0; i < g.n_t; i++) h = tn_hash(tn_hash(h, &g.t[i].rows, sizeof g.t[i].rows), &g.t[i].cols, sizeof g.t[i].cols);
    }
    tn_graph_free(&g);
    return h;
}

/* Everything that the figures hold for. */
static json_t *identity(const bench *b, int most)
{
    const tn_dev *d = b->e.dev;
    const tn_store *s = b->e.session->store;
    unsigned long long shape = TN_HASH0;
    for (int i = 0; i < b->e.model->n_slots; i++) {
        const tn_slot *m = &b->e.model->slots[i];
        const int what[] = {m->rows, m->cols, m->group, m->trainable, s->s[i].place};
        shape = tn_hash(tn_hash(shape, m->name, strlen(m->name)), what, sizeof what);
    }
    const int quant[] = {s->quant.type, s->quant.block, s->quant.nested};
    shape = tn_hash(hash_graph(b, shape), quant, sizeof quant);
    char *model = tn_strf("%016llx", shape), *source = tn_strf("%016llx", tn_cl_sources_hash());
    json_t *j = json_pack("{s:i, s:s, s:s, s:s, s:s, s:i, s:s, s:s?, s:s?, s:s, s:i, s:s?}", "format", SPEED_FORMAT, "device",
                          d->info.name, "driver", d->info.driver, "platform", d->info.platform, "version", d->info.version, "units",
                          (int)d->info.compute_units, "capabilities", d->info.capabilities, "source", source, "model", model,
                          "storage", tn_dtype_name(b->e.act), "images", most, "variants", d->variants);
    free(model);
    free(source);
    return j;
}

/* NULL where nothing is kept. */
static char *cache_file(const tn_dev *d, const json_t *id)
{
    char *text = d->cache_dir && id ? json_dumps(id, JSON_SORT_KEYS) : NULL, *path = NULL;
    if (text) path = tn_strf("%s/speed-%016llx.json", d->cache_dir, tn_hash(TN_HASH0, text, strlen(text)));
    free(text);
    return path;
}

json_t *tn_line_json(tn_line l)
{
    return json_pack("[f, f]", l.fixed, l.image);
}

static bool read_line(tn_line *out, const json_t *j)
{
    *out = (tn_line){json_number_value(json_array_get(j, 0)), json_number_value(json_array_get(j, 1))};
    return json_array_size(j) == 2 && out->fixed >= 0 && out->image >= 0;
}

/* A file that cannot be written costs the next run its time and nothing else. */
static void keep(const char *path, json_t *id, const tn_speed *s, const tn_layer_time *t, int n, const tn_dev *d)
{
    json_t *j = json_copy(id), *layers = json_array();
    tn_error unread;
    for (int i = 0; i < n; i++)
        json_array_append_new(
            layers, json_pack("[o, o, o]", tn_line_json(t[i].forward), tn_line_json(t[i].backward), tn_line_json(t[i].again)));
    json_object_set_new(j, "layers", layers);
    json_object_set_new(j, "update", tn_line_json(s->update));
    json_object_set_new(j, "link", json_pack("[f, f]", s->latency, s->bandwidth));
    if (path && !tn_mkdirs(d->cache_dir, &unread)) (void)tn_json_write(j, path, &unread);
    json_decref(j);
}

static bool is_kept(const char *path, json_t *id, tn_speed *s, tn_layer_time *t, int n)
{
    json_t *j = NULL, *v;
    const char *key;
    tn_line link;
    tn_error unread;
    bool good = path && tn_is_file(path) && !tn_json_read(&j, path, &unread);
    json_object_foreach(id, key, v) good = good && json_equal(v, json_object_get(j, key));
    const json_t *layers = json_object_get(j, "layers");
    good = good && (int)json_array_size(layers) == n && read_line(&s->update, json_object_get(j, "update")) &&
           read_line(&link, json_object_get(j, "link"));
    for (int i = 0; good && i < n; i++) {
        const json_t *l = json_array_get(layers, (size_t)i);
        good = read_line(&t[i].forward, json_array_get(l, 0)) && read_line(&t[i].backward, json_array_get(l, 1)) &&
               read_line(&t[i].again, json_array_get(l, 2));
    }
    if (good) s->latency = link.fixed, s->bandwidth = link.image;
    json_decref(j);
    return good && s->bandwidth > 0;
}

/* ---- */

/* How many layers the small model has. */
static int small_layers(const tn_engine *e, const tn_layers *l)
{
    return l->n - (e->model->backbone.layers - shortened(e->model).layers);
}

/* From the small model's layers to the run's: blocks behind the first are as the second. */
static void spread(tn_speed *s, const tn_layer_time *small, const tn_engine *e, const tn_layers *l)
{
    const int more = e->model->backbone.layers - shortened(e->model).layers;
    for (int i = 0, from = 0; i < l->n; i++) {
        const int block = tn_layer_block(l->name[i]);
        s->time[i] = small[from];
        if (block < BLOCKS - 1 || block >= BLOCKS - 1 + more) from++;
    }
}

static int measured(tn_speed *out, tn_layer_time *small, bench *b, int most, int n, tn_error *err)
{
    json_t *id = identity(b, most);
    char *path = cache_file(b->e.dev, id);
    int rc = 0;
    if (!is_kept(path, id, out, small, n)) {
        tn_logf(b->e.log, TN_LOG_INFO, "device %d '%s': timing layers and copies; kept for the next time", b->e.dev->index,
                b->e.dev->info.name);
        rc = time_layers(small, out, b, most, err);
        if (!rc) rc = time_link(out, b->e.dev, err);
        if (!rc) keep(path, id, out, small, n, b->e.dev);
    }
    free(path);
    json_decref(id);
    return rc;
}

int tn_speed_of(tn_speed *out, const tn_engine *e, const tn_layers *l, int index, const tn_run_options *o, tn_error *err)
{
    const tn_dev_options x = {0, e->log, e->watch, o->variants, o->cache, o->helper, o->nice};
    const int most = TN_MAX(e->s->training.batch_size, 2);
    tn_layer_time *small = calloc(TN_PLANNER_LAYERS, sizeof *small);
    tn_dev *d = NULL;
    bench b = {0};
    *out = (tn_speed){.time = calloc((size_t)l->n, sizeof *out->time)};
    int rc = small && out->time ? tn_dev_open(&d, index, &x, err) : tn_oom(err);
    if (!rc) rc = bench_open(&b, e, d, most, err);
    if (!rc) rc = measured(out, small, &b, most, small_layers(e, l), err);
    if (!rc) {
        spread(out, small, e, l);
        out->memory = (double)(o->memory_limit ? o->memory_limit : d->info.global_memory / 10 * 9);
    }
    bench_close(&b);
    tn_dev_close(d);
    free(small);
    if (rc) tn_speed_free(out);
    return rc;
}

void tn_speed_free(tn_speed *s)
{
    free(s->time);
    *s = (tn_speed){0};
}
