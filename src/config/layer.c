#include "layer.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define QUANT "model.quantization"

/* From the outside in: what moves may move again. */
static const struct {
    const char *from, *to;
    enum { MOVE, OVER, COPY } how; /* OVER: wins over what is there; COPY: a row below moves it */
} names[] = {
    {"training.quantization", QUANT, OVER}, /* where later versions of the Python project keep them */
    {"training.lora", "model.lora", OVER},
    {"model.quantization_config", QUANT, MOVE}, /* transformers' name of the section, or no section at all */
    {"training.quantization_config", QUANT, MOVE},
    {"model.load_in_4bit", QUANT ".load_in_4bit", MOVE},
    {"model.load_in_8bit", QUANT ".load_in_8bit", MOVE},
    {"model.bnb_4bit_quant_type", QUANT ".bnb_4bit_quant_type", MOVE},
    {"model.bnb_4bit_use_double_quant", QUANT ".bnb_4bit_use_double_quant", MOVE},
    {"model.bnb_4bit_compute_dtype", QUANT ".bnb_4bit_compute_dtype", MOVE},
    {"model.llm_int8_skip_modules", QUANT ".llm_int8_skip_modules", MOVE},
    {QUANT ".bnb_4bit_quant_type", QUANT ".quant_type", MOVE},
    {QUANT ".bnb_4bit_compute_dtype", QUANT ".compute_dtype", MOVE},
    {QUANT ".llm_int8_skip_modules", QUANT ".skip_modules", MOVE},
    {QUANT ".bnb_4bit_use_double_quant", QUANT ".compress_statistics", COPY}, /* whichever of the two mode reads */
    {QUANT ".bnb_4bit_use_double_quant", QUANT ".use_double_quant", MOVE},
};

const char *tn_layer_name(const char *name, char *buf, size_t n)
{
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        const size_t k = strlen(names[i].from);
        char rest[256];
        if (strncmp(name, names[i].from, k) != 0 || (name[k] && name[k] != '.') || names[i].how == COPY) continue;
        snprintf(rest, sizeof rest, "%s", name + k);
        snprintf(buf, n, "%s%s", names[i].to, rest);
        name = buf;
    }
    return name;
}

/* ---- nodes by dotted name ---- */

/* The mapping that holds `name`'s last part, and that part; NULL where there is none. */
static tn_ynode *parent_of(tn_ynode *root, const char *name, const char **last)
{
    for (const char *dot; root && (dot = strchr(name, '.')); name = dot + 1) {
        char part[64];
        snprintf(part, sizeof part, "%.*s", (int)(dot - name), name);
        root = tn_yaml_get(root, part);
    }
    *last = name;
    return root && root->kind == TN_Y_MAP ? root : NULL;
}

static tn_ynode *take_node(tn_ynode *root, const char *name)
{
    const char *last;
    tn_ynode *parent = parent_of(root, name, &last);
    for (int i = 0; parent && i < parent->n; i++)
        if (!strcmp(parent->child[i]->key, last)) return tn_yaml_take(parent, i);
    return NULL;
}

tn_ynode *tn_layer_find(tn_ynode *root, const char *name)
{
    const char *last;
    const tn_ynode *parent = parent_of(root, name, &last);
    return tn_yaml_get(parent, last);
}

static bool same_value(const tn_ynode *a, const tn_ynode *b)
{
    bool x, y;
    bool same = a->kind == b->kind && a->n == b->n;
    if (same && a->kind == TN_Y_SCALAR) same = tn_yaml_bool(a, &x) && tn_yaml_bool(b, &y) ? x == y : !strcasecmp(a->text, b->text);
    for (int i = 0; same && i < a->n; i++) same = same_value(a->child[i], b->child[i]);
    return same;
}

static const char *shown(const tn_ynode *n)
{
    return n->kind == TN_Y_SCALAR ? n->text : n->kind == TN_Y_SEQ ? "a list" : "a mapping";
}

static int contradiction(const tn_ynode *a, const char *name_a, const tn_ynode *b, const char *name_b, tn_error *err)
{
    char here[512], there[512];
    return tn_fail(err, TN_ERR_CONFIG, "%s: %s is '%s', but %s is '%s' (%s); give one of them", tn_yaml_place(here, sizeof here, a),
                   name_a, shown(a), name_b, shown(b), tn_yaml_place(there, sizeof there, b));
}

/* ---- moving ---- */

static int join(tn_ynode *parent, const char *key, tn_ynode *n, const char *from, const char *to, tn_error *err);

/* The keys of section n (taken over) join the section that is there. */
static int join_sections(tn_ynode *have, tn_ynode *n, const char *from, const char *to, tn_error *err)
{
    int rc = 0;
    while (!rc && n->n) {
        tn_ynode *c = tn_yaml_take(n, 0);
        char *key = strdup(c->key), *was = tn_strf("%s.%s", from, c->key), *is = tn_strf("%s.%s", to, c->key);
        if (key && was && is) rc = join(have, key, c, was, is, err);
        else tn_yaml_free(c), rc = tn_oom(err);
        free(key);
        free(was);
        free(is);
    }
    tn_yaml_free(n);
    return rc;
}

/* n (taken over), which stood under the name `from`, goes under parent's key, which is `to` in full. */
static int join(tn_ynode *parent, const char *key, tn_ynode *n, const char *from, const char *to, tn_error *err)
{
    tn_ynode *have = tn_yaml_get(parent, key);
    if (have && have->kind == TN_Y_MAP && n->kind == TN_Y_MAP) return join_sections(have, n, from, to, err);
    if (have) {
        int rc = same_value(n, have) ? 0 : contradiction(n, from, have, to, err);
        tn_yaml_free(n);
        return rc;
    }
    free(n->key);
    if (!(n->key = strdup(key))) {
        tn_yaml_free(n);
        return tn_oom(err);
    }
    return tn_yaml_add(parent, n) ? 0 : tn_oom(err);
}

/* The mapping of that dotted name without its last part, made where it is missing (or empty). */
static int make_parent(tn_ynode *root, const char *name, const char **last, tn_ynode **parent, tn_error *err)
{
    for (const char *dot; (dot = strchr(name, '.')); name = dot + 1) {
        char part[64];
        snprintf(part, sizeof part, "%.*s", (int)(dot - name), name);
        tn_ynode *next = tn_yaml_get(root, part);
        if (next && tn_yaml_is_null(next)) tn_yaml_free(take_node(root, part)), next = NULL;
        if (!next) {
            next = tn_yaml_new_map(part, root->file);
            if (!tn_yaml_add(root, next)) return tn_oom(err);
        }
        if (next->kind != TN_Y_MAP) {
            char place[512];
            return tn_fail(err, TN_ERR_CONFIG, "%s: %s must be a mapping", tn_yaml_place(place, sizeof place, next), part);
        }
        root = next;
    }
    *last = name;
    *parent = root;
    return 0;
}

/* n (taken over) goes from one name to another. */
static int move(tn_ynode *root, tn_ynode *n, const char *from, const char *to, bool over, tn_error *err)
{
    const char *last;
    tn_ynode *parent, *have;
    if (tn_yaml_is_null(n)) { /* an empty section; a value that transformers writes as not set */
        tn_yaml_free(n);
        return 0;
    }
    int rc = make_parent(root, to, &last, &parent, err);
    if (!rc && over && (have = tn_yaml_get(parent, last)) && have->kind == TN_Y_MAP && n->kind == TN_Y_MAP)
        return tn_yaml_merge(have, n, err);
    if (!rc) return join(parent, last, n, from, to, err);
    tn_yaml_free(n);
    return rc;
}

static int move_rows(tn_ynode *root, size_t first, size_t last, tn_error *err)
{
    for (size_t i = first; i < last; i++) {
        tn_ynode *n = names[i].how == COPY ? tn_layer_find(root, names[i].from) : take_node(root, names[i].from);
        if (!n) continue;
        if (names[i].how == COPY && !(n = tn_yaml_copy(n))) return tn_oom(err);
        TN_TRY(move(root, n, names[i].from, names[i].to, names[i].how == OVER, err));
    }
    return 0;
}

/* ---- transformers' switches ---- */

static bool is_set(tn_ynode *root, const char *name)
{
    bool v;
    const tn_ynode *n = tn_layer_find(root, name);
    return n && tn_yaml_bool(n, &v) && v;
}

/* The switch at `which` says that `name` is `value`, whatever this layer says of it or not. */
static int implied(tn_ynode *root, const char *which, const char *name, const char *value, tn_error *err)
{
    const tn_ynode *by = tn_layer_find(root, which);
    tn_ynode *n = tn_yaml_new_scalar(value, false, by->file);
    if (!n) return tn_oom(err);
    n->line = by->line;
    n->column = by->column;
    return move(root, n, which, name, false, err);
}

static bool is_off(tn_ynode *root, const char *name)
{
    return tn_layer_find(root, name) && !is_set(root, name);
}

/* A switch that is off takes back what an earlier layer said, unless this layer says what is to be. load_in_8bit: false alone says
 * nothing of 4 bits. */
static int take_back(tn_ynode *root, tn_ynode *before, const char *four, const char *eight, tn_error *err)
{
    const bool was_eight = is_off(root, eight) && is_set(before, eight);
    const bool was_four = is_off(root, four) && !(is_set(before, eight) && !tn_layer_find(root, eight));
    if (was_eight) tn_yaml_free(take_node(before, QUANT ".quant_type")); /* int8, which it implied */
    if (is_set(root, four) || is_set(root, eight) || tn_layer_find(root, QUANT ".enabled")) return 0;
    return was_eight || was_four ? implied(root, was_eight ? eight : four, QUANT ".enabled", "false", err) : 0;
}

static int settle_switches(tn_ynode *root, tn_ynode *before, tn_error *err)
{
    static const char *const four = QUANT ".load_in_4bit", *const eight = QUANT ".load_in_8bit";
    TN_TRY(take_back(root, before, four, eight, err));
    if (is_set(root, four)) TN_TRY(implied(root, four, QUANT ".enabled", "true", err));
    if (!is_set(root, eight)) return 0;
    tn_yaml_free(take_node(root, QUANT ".bnb_4bit_quant_type")); /* transformers writes them even so */
    tn_yaml_free(take_node(root, QUANT ".bnb_4bit_use_double_quant"));
    TN_TRY(implied(root, eight, QUANT ".enabled", "true", err));
    return implied(root, eight, QUANT ".quant_type", "int8", err);
}

/* torch.bfloat16 is how PyTorch prints bfloat16. */
static void strip_torch(tn_ynode *n)
{
    if (n && n->kind == TN_Y_SCALAR && tn_starts(n->text, "torch.")) memmove(n->text, n->text + 6, strlen(n->text + 6) + 1);
}

static int check_method(tn_ynode *root, tn_error *err)
{
    char place[512];
    const tn_ynode *n = tn_layer_find(root, QUANT ".quant_method");
    if (!n || n->kind != TN_Y_SCALAR || tn_yaml_is_null(n) || !strcasecmp(n->text, "bitsandbytes")) return 0;
    return tn_fail(err, TN_ERR_CONFIG, "%s: " QUANT ".quant_method '%s' is not built; bitsandbytes is",
                   tn_yaml_place(place, sizeof place, n), n->text);
}

int tn_layer_settle(tn_ynode *root, tn_ynode *before, tn_error *err)
{
    size_t inner = 0; /* the first row of keys inside the section */
    while (!tn_starts(names[inner].from, QUANT ".")) inner++;
    TN_TRY(move_rows(root, 0, inner, err));
    TN_TRY(check_method(root, err));
    TN_TRY(settle_switches(root, before, err));
    strip_torch(tn_layer_find(root, QUANT ".compute_dtype"));
    strip_torch(tn_layer_find(root, QUANT ".bnb_4bit_compute_dtype"));
    return move_rows(root, inner, TN_COUNT(names), err);
}
