/* libyaml's events -> tree: one document, aliases copied, merge keys resolved. */
#include "binary.h"
#include "yaml_tree.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_DEPTH = 32, MAX_NODES = 100000 };

typedef struct {
    yaml_parser_t p;
    const char *file, *text;
    tn_strs anchors;    /* names */
    tn_ynode *anchored; /* a sequence of copies, one for each name */
    int nodes;          /* made so far, copies too: an alias of aliases of aliases ends in time */
    tn_error *err;
} yaml_reader;

static int wrong_at(yaml_reader *r, const yaml_mark_t *at, const char *what, const char *name)
{
    return tn_fail(r->err, TN_ERR_CONFIG, "%s:%zu:%zu: %s%s%s%s", r->file, at->line + 1, at->column + 1, what, name ? " '" : "",
                   name ? name : "", name ? "'" : "");
}

/* What the reader below the parser finds has an offset and no mark. */
static int syntax(yaml_reader *r)
{
    const yaml_parser_t *p = &r->p;
    yaml_mark_t at = p->problem_mark;
    if (p->error != YAML_READER_ERROR) return wrong_at(r, &at, "not valid YAML:", p->problem ? p->problem : "?");
    at = (yaml_mark_t){0};
    for (size_t i = 0; i < p->problem_offset; i++) {
        at.column++;
        if (r->text[i] == '\n') at.line++, at.column = 0;
    }
    return tn_fail(r->err, TN_ERR_CONFIG, "%s:%zu:%zu: not valid YAML: %s (0x%X); a configuration is text in UTF-8", r->file,
                   at.line + 1, at.column + 1, p->problem ? p->problem : "?", (unsigned)p->problem_value);
}

static int next_event(yaml_reader *r, yaml_event_t *e)
{
    return yaml_parser_parse(&r->p, e) ? 0 : syntax(r);
}

static int count_nodes(const tn_ynode *n)
{
    int count = 1;
    for (int i = 0; i < n->n; i++) count += count_nodes(n->child[i]);
    return count;
}

static int copy_counted(yaml_reader *r, const tn_ynode *n, const yaml_mark_t *at, tn_ynode **out)
{
    const int count = count_nodes(n);
    if (count > MAX_NODES - r->nodes) return wrong_at(r, at, "too much for a configuration; do aliases name aliases?", NULL);
    r->nodes += count;
    *out = tn_yaml_copy(n);
    return *out ? 0 : tn_oom(r->err);
}

/* ---- anchors and aliases ---- */

/* A name that comes again means the later node from then on. */
static int remember(yaml_reader *r, const yaml_char_t *name, const tn_ynode *n, const yaml_mark_t *at)
{
    tn_ynode *copy;
    if (!name) return 0;
    TN_TRY(copy_counted(r, n, at, &copy));
    if (!tn_yaml_add(r->anchored, copy) || !tn_strs_add(&r->anchors, (const char *)name)) return tn_oom(r->err);
    return 0;
}

static int read_alias(yaml_reader *r, const yaml_event_t *e, tn_ynode **out)
{
    const char *name = (const char *)e->data.alias.anchor;
    for (int i = r->anchors.n - 1; i >= 0; i--)
        if (!strcmp(r->anchors.v[i], name)) return copy_counted(r, r->anchored->child[i], &e->start_mark, out);
    return wrong_at(r, &e->start_mark, "no anchor stands before the alias", name);
}

/* ---- scalars ---- */

#define YAML_TAGS "tag:yaml.org,2002:"

static int read_binary(yaml_reader *r, const yaml_event_t *e, tn_ynode *n)
{
    size_t len;
    char *bytes = tn_base64_read(n->text, &len);
    if (!bytes || strlen(bytes) < len) {
        free(bytes);
        return wrong_at(r, &e->start_mark, "!!binary needs base64 of bytes that are not zero", NULL);
    }
    free(n->text);
    n->text = bytes;
    return 0;
}

/* A tag says what the text is, whatever it looks like. */
static int apply_tag(yaml_reader *r, const yaml_event_t *e, tn_ynode *n)
{
    static const char *const values[] = {YAML_TAGS "int", YAML_TAGS "float", YAML_TAGS "bool", YAML_TAGS "null"};
    const char *tag = (const char *)e->data.scalar.tag;
    if (!tag) return 0;
    n->quoted = true;
    if (!strcmp(tag, "!") || !strcmp(tag, YAML_TAGS "str")) return 0;
    if (!strcmp(tag, YAML_TAGS "binary")) return read_binary(r, e, n);
    n->quoted = false;
    for (size_t i = 0; i < TN_COUNT(values); i++)
        if (!strcmp(tag, values[i])) return 0;
    return wrong_at(r, &e->start_mark, "a configuration has no use for the tag", tag);
}

static int read_scalar(yaml_reader *r, const yaml_event_t *e, tn_ynode *n)
{
    n->text = strdup((const char *)e->data.scalar.value);
    if (!n->text) return tn_oom(r->err);
    if (strlen(n->text) < e->data.scalar.length) return wrong_at(r, &e->start_mark, "a NUL (\\0) stands in the text", NULL);
    n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return apply_tag(r, e, n);
}

/* ---- mappings and sequences ---- */

static int read_node(yaml_reader *r, const yaml_event_t *e, int depth, tn_ynode **out);

static int read_next(yaml_reader *r, int depth, tn_ynode **out)
{
    yaml_event_t e;
    TN_TRY(next_event(r, &e));
    int rc = read_node(r, &e, depth, out);
    yaml_event_delete(&e);
    return rc;
}

/* The keys of mapping `from` (taken over) go to `into`, over those that stand there when `over`. */
static int merge_keys(yaml_reader *r, tn_ynode *into, tn_ynode *from, bool over)
{
    int rc = 0;
    while (!rc && from->n) {
        tn_ynode *n = tn_yaml_take(from, 0);
        int at = 0;
        while (at < into->n && strcmp(into->child[at]->key, n->key)) at++;
        if (at < into->n && over) tn_yaml_free(tn_yaml_take(into, at));
        if (at < into->n && !over) tn_yaml_free(n);
        else if (!tn_yaml_add(into, n)) rc = tn_oom(r->err);
    }
    tn_yaml_free(from);
    return rc;
}

/* The value (taken over) of a merge key: a mapping, or a list of them of which the first that has a key counts. */
static int add_merged(yaml_reader *r, tn_ynode *merged, tn_ynode *value, const yaml_mark_t *at)
{
    int rc = 0;
    if (value->kind == TN_Y_MAP) return merge_keys(r, merged, value, true);
    bool maps = value->kind == TN_Y_SEQ;
    for (int i = 0; maps && i < value->n; i++) maps = value->child[i]->kind == TN_Y_MAP;
    if (!maps) rc = wrong_at(r, at, "the merge key << takes a mapping or a list of mappings", NULL);
    while (!rc && value->n) rc = merge_keys(r, merged, tn_yaml_take(value, value->n - 1), true);
    tn_yaml_free(value);
    return rc;
}

/* One pair of a mapping whose key (taken over) was read. */
static int read_value(yaml_reader *r, tn_ynode *key, const yaml_mark_t *at, int depth, tn_ynode *map, tn_ynode *merged)
{
    tn_ynode *v = NULL;
    const bool merges = key->kind == TN_Y_SCALAR && !key->quoted && !strcmp(key->text, "<<");
    int rc = 0;
    if (key->kind != TN_Y_SCALAR) rc = wrong_at(r, at, "a key must be plain text", NULL);
    else if (!merges && tn_yaml_get(map, key->text)) rc = wrong_at(r, at, "its mapping has already a key", key->text);
    if (!rc) rc = read_next(r, depth + 1, &v);
    if (!rc && merges) {
        rc = add_merged(r, merged, v, at);
    } else if (!rc) {
        free(v->key);
        v->key = key->text;
        key->text = NULL;
        v->line = (int)at->line + 1;
        v->column = (int)at->column + 1;
        if (!tn_yaml_add(map, v)) rc = tn_oom(r->err);
    }
    tn_yaml_free(key);
    return rc;
}

static int read_map(yaml_reader *r, tn_ynode *map, int depth)
{
    tn_ynode *merged = tn_yaml_new(TN_Y_MAP, r->file);
    int rc = merged ? 0 : tn_oom(r->err);
    for (bool end = false; !rc && !end;) {
        yaml_event_t e;
        tn_ynode *key = NULL;
        rc = next_event(r, &e);
        if (rc) break;
        end = e.type == YAML_MAPPING_END_EVENT;
        const yaml_mark_t at = e.start_mark;
        if (!end) rc = read_node(r, &e, depth + 1, &key);
        yaml_event_delete(&e);
        if (!rc && !end) rc = read_value(r, key, &at, depth, map, merged);
    }
    if (!rc) return merge_keys(r, map, merged, false);
    tn_yaml_free(merged);
    return rc;
}

static int read_seq(yaml_reader *r, tn_ynode *seq, int depth)
{
    for (;;) {
        yaml_event_t e;
        tn_ynode *v = NULL;
        TN_TRY(next_event(r, &e));
        const bool end = e.type == YAML_SEQUENCE_END_EVENT;
        int rc = end ? 0 : read_node(r, &e, depth + 1, &v);
        yaml_event_delete(&e);
        if (end || rc) return rc;
        if (!tn_yaml_add(seq, v)) return tn_oom(r->err);
    }
}

static int read_content(yaml_reader *r, const yaml_event_t *e, int depth, tn_ynode *n, const yaml_char_t **anchor)
{
    *anchor = e->data.scalar.anchor;
    if (n->kind == TN_Y_SCALAR) return read_scalar(r, e, n);
    const bool map = n->kind == TN_Y_MAP;
    const char *tag = (const char *)(map ? e->data.mapping_start.tag : e->data.sequence_start.tag);
    if (tag && strcmp(tag, map ? YAML_TAGS "map" : YAML_TAGS "seq") != 0)
        return wrong_at(r, &e->start_mark, "a configuration has no use for the tag", tag);
    *anchor = map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    return map ? read_map(r, n, depth) : read_seq(r, n, depth);
}

static int read_node(yaml_reader *r, const yaml_event_t *e, int depth, tn_ynode **out)
{
    const yaml_char_t *anchor = NULL;
    if (e->type == YAML_ALIAS_EVENT) return read_alias(r, e, out);
    if (depth > MAX_DEPTH) return wrong_at(r, &e->start_mark, "nested too deeply for a configuration", NULL);
    if (++r->nodes > MAX_NODES) return wrong_at(r, &e->start_mark, "too much for a configuration", NULL);
    tn_ynode *n = tn_yaml_new(e->type == YAML_MAPPING_START_EVENT    ? TN_Y_MAP
                              : e->type == YAML_SEQUENCE_START_EVENT ? TN_Y_SEQ
                                                                     : TN_Y_SCALAR,
                              r->file);
    if (!n) return tn_oom(r->err);
    n->line = (int)e->start_mark.line + 1;
    n->column = (int)e->start_mark.column + 1;
    int rc = read_content(r, e, depth, n, &anchor);
    if (!rc) rc = remember(r, anchor, n, &e->start_mark);
    if (rc) tn_yaml_free(n);
    else *out = n;
    return rc;
}

/* ---- the document ---- */

static int read_document(yaml_reader *r, tn_ynode **out)
{
    yaml_event_t e;
    for (bool end = false; !end;) {
        TN_TRY(next_event(r, &e));
        int rc = 0;
        const bool content = e.type != YAML_STREAM_START_EVENT && e.type != YAML_STREAM_END_EVENT &&
                             e.type != YAML_DOCUMENT_START_EVENT && e.type != YAML_DOCUMENT_END_EVENT;
        end = e.type == YAML_STREAM_END_EVENT;
        if (e.type == YAML_DOCUMENT_START_EVENT && *out)
            rc = wrong_at(r, &e.start_mark, "a second document begins here; a configuration is one, so put them together or apart",
                          NULL);
        if (content) rc = read_node(r, &e, 0, out);
        yaml_event_delete(&e);
        TN_TRY(rc);
    }
    return 0;
}

int tn_yaml_parse(tn_ynode **out, const char *text, size_t len, const char *file, tn_error *err)
{
    yaml_reader r = {.file = file, .text = text, .err = err};
    *out = NULL;
    if (!yaml_parser_initialize(&r.p)) return tn_oom(err);
    yaml_parser_set_input_string(&r.p, (const unsigned char *)text, len);
    r.anchored = tn_yaml_new(TN_Y_SEQ, file);
    int rc = r.anchored ? read_document(&r, out) : tn_oom(err);
    if (!rc && !*out && !(*out = tn_yaml_new_scalar("", false, file))) rc = tn_oom(err);
    if (rc) {
        tn_yaml_free(*out);
        *out = NULL;
    }
    yaml_parser_delete(&r.p);
    tn_yaml_free(r.anchored);
    tn_strs_free(&r.anchors);
    return rc;
}
