/* The memory of checks and measurements of one device: one JSON value, in memory as in the file, keyed by names. */
#include "tuning.h"
#include "files.h"
#include "jsonio.h"
#include "tuning_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TUNING_FORMAT 9

/* What an answer holds for; the file is named after it and says it again. */
static json_t *identity(const tn_dev *d)
{
    char *source = tn_strf("%016llx", tn_cl_sources_hash());
    json_t *j = json_pack("{s:i, s:s, s:s, s:s, s:s, s:i, s:s, s:s?}", "format", TUNING_FORMAT, "device", d->info.name, "driver",
                          d->info.driver, "platform", d->info.platform, "version", d->info.version, "units",
                          (int)d->info.compute_units, "capabilities", d->info.capabilities, "source", source);
    free(source);
    return j;
}

/* NULL where nothing is kept. */
static char *cache_file(const tn_dev *d)
{
    if (!d->cache_dir) return NULL;
    json_t *id = identity(d);
    char *text = id ? json_dumps(id, JSON_SORT_KEYS) : NULL, *path = NULL;
    if (text) path = tn_strf("%s/tuning-%016llx.json", d->cache_dir, tn_hash(TN_HASH0, text, strlen(text)));
    free(text);
    json_decref(id);
    return path;
}

static const char *const parts[] = {"checks", "choices", "parameters"};

/* The file's checks, choices and parameters, where it is this device's and whole. */
static void load(json_t *db, const tn_dev *d)
{
    char *path = cache_file(d);
    json_t *file = NULL, *id = identity(d);
    const char *key;
    json_t *v;
    tn_error ignored;
    bool same = path && id && tn_is_file(path) && !tn_json_read(&file, path, &ignored);
    json_object_foreach(id, key, v) same = same && json_equal(v, json_object_get(file, key));
    for (size_t i = 0; same && i < TN_COUNT(parts); i++) {
        json_t *part = json_object_get(file, parts[i]);
        if (json_is_object(part)) json_object_set(db, parts[i], part);
    }
    json_decref(id);
    json_decref(file);
    free(path);
}

const char *tn_shipped(const char *file)
{
    const tn_cl_source *s = tn_shipped_tunings;
    while (s->file && strcmp(s->file, file) != 0) s++;
    return s->file ? s->text : "";
}

/* What came with the library for such a device and driver, or NULL. */
static json_t *shipped_choices(const tn_dev *d)
{
    json_t *found = NULL;
    for (const tn_cl_source *s = tn_shipped_tunings; s->file && !found; s++) {
        if (!tn_ends(s->file, ".json") || !strstr(s->text, d->info.name))
            continue; /* most devices have none, and need not read them */
        json_t *j = json_loads(s->text, 0, NULL);
        const char *driver = tn_json_str(j, "driver", NULL);
        if (driver && tn_starts(d->info.driver, driver) && !strcmp(d->info.name, tn_json_str(j, "device", "")))
            found = json_incref(json_object_get(j, "choices"));
        json_decref(j);
    }
    return found;
}

static void db_free(void *db)
{
    json_decref(db);
}

int tn_db(json_t **out, tn_dev *d, tn_error *err)
{
    *out = d->tuning;
    if (d->tuning) return 0;
    json_t *db = json_pack("{s:{}, s:{}, s:{}}", "checks", "choices", "parameters");
    if (!db) return tn_oom(err);
    load(db, d);
    json_t *shipped = shipped_choices(d);
    if (shipped) json_object_set_new(db, "shipped", shipped);
    d->tuning_free = db_free;
    d->tuning = *out = db;
    return 0;
}

/* What another process has learned in the meantime. */
static void merge_missing(json_t *db, json_t *other)
{
    const char *key;
    json_t *v;
    json_object_foreach(other, key, v)
    {
        json_t *mine = json_object_get(db, key);
        if (!mine) json_object_set(db, key, v);
        else if (json_is_object(mine) && !json_object_get(mine, "variant") && !json_object_get(mine, "good"))
            merge_missing(mine, v);
    }
}

/* A cache that cannot be written costs the next run its time and nothing else. */
void tn_db_replace(const tn_dev *d)
{
    char *path = cache_file(d);
    tn_error ignored;
    json_t *j = path ? identity(d) : NULL;
    bool whole = j != NULL;
    for (size_t i = 0; i < TN_COUNT(parts); i++)
        whole = whole && !json_object_set(j, parts[i], json_object_get(d->tuning, parts[i]));
    if (whole && !tn_mkdirs(d->cache_dir, &ignored)) (void)tn_json_write(j, path, &ignored);
    json_decref(j);
    free(path);
}

void tn_db_save(const tn_dev *d)
{
    json_t *others = json_object();
    load(others, d);
    merge_missing(d->tuning, others);
    json_decref(others);
    tn_db_replace(d);
}

json_t *tn_db_at(json_t *db, const char *a, const char *b, const char *c, const char *e)
{
    const char *const keys[] = {a, b, c, e};
    for (size_t i = 0; i < TN_COUNT(keys) && keys[i]; i++) db = json_object_get(db, keys[i]);
    return db;
}

int tn_db_put(json_t *db, const char *const keys[4], json_t *value, tn_error *err)
{
    int last = 0;
    while (last < 3 && keys[last + 1]) last++;
    for (int i = 0; db && i < last; i++) {
        json_t *next = json_object_get(db, keys[i]);
        if (!json_is_object(next) && !json_object_set_new(db, keys[i], json_object())) next = json_object_get(db, keys[i]);
        db = next;
    }
    return db && value && !json_object_set_new(db, keys[last], value) ? 0 : tn_oom(err);
}

/* ---- shapes ---- */

int tn_bucket(int n)
{
    int b = 1;
    while (b < n && b < 1 << 30) b *= 2;
    return b;
}

/* What a measurement may take at most, in floating-point operations or bytes: tens of milliseconds of a slow kernel. */
static double most_work(const tn_dev *d)
{
    return d->caps & TN_CAP_CPU ? 1.5e8 : 2e10;
}

enum { LEAST_WORK = 1000000 }; /* below it a launch costs as much as the work: the first good row runs it */

/* args as they are measured, and their key; NULL where they are too small to matter. */
static void *measured_args(char *key, tn_dev *d, const tn_variant_op *op, const void *args)
{
    void *copy = malloc(op->args_size);
    if (!copy) return NULL;
    memcpy(copy, args, op->args_size);
    if (op->shrink) op->shrink(copy, most_work(d));
    op->key(key, TN_KEY, copy);
    return copy;
}

static bool is_small(const tn_variant_op *op, const void *args)
{
    return op->work && op->work(args) < LEAST_WORK;
}

/* The choice that is stored for a key; false where there is none or it names what no longer is. */
static bool read_choice(tn_choice *out, const tn_variant_op *op, const json_t *j)
{
    const char *name = tn_json_str(j, "variant", NULL);
    const int row = name ? tn_variant_find(op, name) : -1;
    if (row < 0) return false;
    *out = tn_variant_defaults(op, row);
    const tn_tunable *t = op->rows[row].tunables;
    for (int i = 0; t && t[i].name; i++) {
        const long long v = tn_json_int(json_object_get(j, "tune"), t[i].name, t[i].values[0]);
        for (const int *k = t[i].values; *k; k++)
            if (*k == v) out->tune[i] = *k;
    }
    return true;
}

/* The same for a shape that came with the library; false also where its row is not for this device. */
static bool read_shipped(tn_choice *out, json_t *db, const tn_variant_op *op, const char *key, const tn_dev *d)
{
    return read_choice(out, op, tn_db_at(db, "shipped", op->name, key, NULL)) && tn_variant_fits(&op->rows[out->row], d->caps);
}

/* Has the row passed its check here? */
static bool is_checked(json_t *db, const tn_variant_op *op, int row, const void *args)
{
    char kind[TN_KEY];
    op->kind(kind, sizeof kind, args);
    return row == op->n - 1 || tn_json_bool(tn_db_at(db, "checks", op->name, kind, op->rows[row].name), "good", 0);
}

int tn_tuned(bool *known, tn_choice *out, tn_dev *d, const tn_variant_op *op, const void *args, tn_error *err)
{
    json_t *db;
    char key[TN_KEY];
    *known = false;
    if (is_small(op, args)) return 0;
    TN_TRY(tn_db(&db, d, err));
    void *copy = measured_args(key, d, op, args);
    if (!copy) return tn_oom(err);
    free(copy);
    *known = read_choice(out, op, tn_db_at(db, "choices", op->name, key, NULL));
    if (!*known) *known = read_shipped(out, db, op, key, d) && is_checked(db, op, out->row, args);
    return 0;
}

/* How many rows are to choose from, and the first of them that runs unmeasured. */
static int rows_to_try(int *first, const tn_ctx *c, const tn_variant_op *op, const void *args, bool all)
{
    int n = 0;
    *first = op->n - 1;
    for (int i = op->n - 1; i >= 0; i--)
        if (tn_variant_tries(c, op, i, args, all)) *first = tn_variant_apart(c->dev, &op->rows[i]) ? *first : i, n++;
    return n;
}

/* args as they are checked, and their kind. */
static void *checked_args(char *key, const tn_variant_op *op, const void *args)
{
    void *copy = malloc(op->args_size);
    if (!copy) return NULL;
    memcpy(copy, args, op->args_size);
    op->kind(key, TN_KEY, copy);
    return copy;
}

static bool wish_is_known(const tn_wanted *w, const struct tn_wish *wish, json_t *db)
{
    const tn_variant_op *op = wish->op;
    tn_choice k;
    for (int i = 0; i < w->n; i++)
        if (w->v[i].op == op && w->v[i].row == wish->row && !strcmp(w->v[i].key, wish->key)) return true;
    if (w->again) return false;
    return wish->row < 0 ? read_choice(&k, op, tn_db_at(db, "choices", op->name, wish->key, NULL))
                         : tn_db_at(db, "checks", op->name, wish->key, op->rows[wish->row].name) != NULL;
}

/* The row that is asked for by name; -1: none. */
static int named_row(const tn_ctx *c, const tn_variant_op *op, const void *args)
{
    const int forced = tn_variant_forced(c->dev->variants, op);
    return forced >= 0 && tn_variant_can(c, &op->rows[forced], args) ? forced : -1;
}

/* Did the shape's answer come with the library? Then it is to be checked and nothing else. */
static bool asks_for_check(struct tn_wish *wish, json_t *db, const tn_ctx *c, const void *args)
{
    tn_choice k;
    if (read_choice(&k, wish->op, tn_db_at(db, "choices", wish->op->name, wish->key, NULL))) return false;
    if (!read_shipped(&k, db, wish->op, wish->key, c->dev) || !tn_variant_can(c, &wish->op->rows[k.row], args)) return false;
    wish->row = k.row;
    return true;
}

int tn_wanted_add(tn_wanted *w, tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err)
{
    json_t *db;
    struct tn_wish wish = {.op = op};
    const int n = rows_to_try(&wish.row, c, op, args, w->again), named = w->again ? -1 : named_row(c, op, args);
    bool measured = n > 1 && named < 0 && !is_small(op, args) && !tn_variant_first(c->dev->variants);
    if (named >= 0) wish.row = named;
    if (!measured && wish.row == op->n - 1) return 0;
    TN_TRY(tn_db(&db, c->dev, err));
    wish.args = measured ? measured_args(wish.key, c->dev, op, args) : NULL;
    if (wish.args && !w->again && asks_for_check(&wish, db, c, args)) { /* nothing is to choose */
        free(wish.args);
        measured = false;
        if (wish.row == op->n - 1) return 0;
    }
    if (measured) wish.row = -1;
    else wish.args = checked_args(wish.key, op, args);
    struct tn_wish *v = wish.args ? realloc(w->v, sizeof *v * (size_t)(w->n + 1)) : NULL;
    if (v) w->v = v;
    if (v && !wish_is_known(w, &wish, db)) v[w->n++] = wish;
    else free(wish.args);
    return v ? 0 : tn_oom(err);
}

void tn_wanted_free(tn_wanted *w)
{
    for (int i = 0; i < w->n; i++) free(w->v[i].args);
    free(w->v);
    *w = (tn_wanted){0};
}
