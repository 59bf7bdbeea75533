#include "yaml_tree.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_DEPTH = 32 };

static tn_ynode *node_new(tn_ykind kind, const yaml_mark_t *mark, const char *file)
{
    tn_ynode *n = calloc(1, sizeof *n);
    if (!n) return NULL;
    n->kind = kind;
    n->file = file;
    n->line = mark ? (int)mark->line + 1 : 0;
    n->column = mark ? (int)mark->column + 1 : 0;
    return n;
}

void tn_yaml_free(tn_ynode *n)
{
    if (!n) return;
    for (int i = 0; i < n->n; i++) tn_yaml_free(n->child[i]);
    free(n->child);
    free(n->key);
    free(n->text);
    free(n);
}

bool tn_yaml_add(tn_ynode *parent, tn_ynode *child)
{
    tn_ynode **v = child ? realloc(parent->child, sizeof *v * (size_t)(parent->n + 1)) : NULL;
    if (!v) return false;
    parent->child = v;
    v[parent->n++] = child;
    return true;
}

tn_ynode *tn_yaml_new_map(const char *key, const char *file)
{
    tn_ynode *n = node_new(TN_Y_MAP, NULL, file);
    if (n && key && !(n->key = strdup(key))) {
        free(n);
        return NULL;
    }
    return n;
}

tn_ynode *tn_yaml_new_scalar(const char *text, bool quoted, const char *file)
{
    tn_ynode *n = node_new(TN_Y_SCALAR, NULL, file);
    if (!n) return NULL;
    n->quoted = quoted;
    if ((n->text = strdup(text))) return n;
    free(n);
    return NULL;
}

tn_ynode *tn_yaml_new_seq(const char *file)
{
    return node_new(TN_Y_SEQ, NULL, file);
}

tn_ynode *tn_yaml_get(const tn_ynode *map, const char *key)
{
    for (int i = 0; map && map->kind == TN_Y_MAP && i < map->n; i++)
        if (!strcmp(map->child[i]->key, key)) return map->child[i];
    return NULL;
}

typedef struct {
    yaml_parser_t p;
    const char *file;
    tn_error *err;
} yaml_reader;

static int syntax(yaml_reader *r)
{
    return tn_fail(r->err, TN_ERR_CONFIG, "%s:%zu:%zu: not valid YAML: %s", r->file, r->p.problem_mark.line + 1,
                   r->p.problem_mark.column + 1, r->p.problem ? r->p.problem : "?");
}

static int node_read(yaml_reader *r, const yaml_event_t *e, int depth, tn_ynode **out);

static int map_read(yaml_reader *r, tn_ynode *map, int depth)
{
    for (;;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&r->p, &e)) return syntax(r);
        if (e.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            return 0;
        }
        int rc = 0;
        char *key = NULL;
        if (e.type != YAML_SCALAR_EVENT)
            rc = tn_fail(r->err, TN_ERR_CONFIG, "%s:%zu:%zu: a key must be plain text", r->file, e.start_mark.line + 1,
                         e.start_mark.column + 1);
        else if (!(key = strdup((char *)e.data.scalar.value))) rc = tn_oom(r->err);
        else if (tn_yaml_get(map, key))
            rc = tn_fail(r->err, TN_ERR_CONFIG, "%s:%zu:%zu: key '%s' stands twice", r->file, e.start_mark.line + 1,
                         e.start_mark.column + 1, key);
        yaml_mark_t mark = e.start_mark;
        yaml_event_delete(&e);
        tn_ynode *v = NULL;
        if (!rc && !yaml_parser_parse(&r->p, &e)) rc = syntax(r);
        else if (!rc) {
            rc = node_read(r, &e, depth + 1, &v);
            yaml_event_delete(&e);
        }
        if (!rc) {
            v->key = key;
            key = NULL;
            v->line = (int)mark.line + 1;
            v->column = (int)mark.column + 1;
            if (!tn_yaml_add(map, v)) rc = tn_oom(r->err);
        }
        free(key);
        if (rc) return rc;
    }
}

static int seq_read(yaml_reader *r, tn_ynode *seq, int depth)
{
    for (;;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&r->p, &e)) return syntax(r);
        tn_ynode *v = NULL;
        int rc = 0;
        const bool end = e.type == YAML_SEQUENCE_END_EVENT;
        if (!end) rc = node_read(r, &e, depth + 1, &v);
        yaml_event_delete(&e);
        if (end) return 0;
        if (!rc && !tn_yaml_add(seq, v)) rc = tn_oom(r->err);
        if (rc) return rc;
    }
}

static int node_read(yaml_reader *r, const yaml_event_t *e, int depth, tn_ynode **out)
{
    tn_ykind kind = e->type == YAML_MAPPING_START_EVENT ? TN_Y_MAP : e->type == YAML_SEQUENCE_START_EVENT ? TN_Y_SEQ : TN_Y_SCALAR;
    if (depth > MAX_DEPTH || (kind == TN_Y_SCALAR && e->type != YAML_SCALAR_EVENT))
        return tn_fail(r->err, TN_ERR_CONFIG, "%s:%zu:%zu: aliases and such deep nesting are not supported here", r->file,
                       e->start_mark.line + 1, e->start_mark.column + 1);
    tn_ynode *n = node_new(kind, &e->start_mark, r->file);
    if (!n) return tn_oom(r->err);
    int rc = 0;
    if (kind == TN_Y_SCALAR) {
        n->text = strdup((char *)e->data.scalar.value);
        n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        if (!n->text) rc = tn_oom(r->err);
    } else {
        rc = kind == TN_Y_MAP ? map_read(r, n, depth) : seq_read(r, n, depth);
    }
    if (rc) {
        tn_yaml_free(n);
        return rc;
    }
    *out = n;
    return 0;
}

int tn_yaml_parse(tn_ynode **out, const char *text, size_t len, const char *file, tn_error *err)
{
    yaml_reader r = {.file = file, .err = err};
    *out = NULL;
    if (!yaml_parser_initialize(&r.p)) return tn_oom(err);
    yaml_parser_set_input_string(&r.p, (const unsigned char *)text, len);
    int rc = 0;
    bool done = false;
    while (!rc && !done) {
        yaml_event_t e;
        if (!yaml_parser_parse(&r.p, &e)) {
            rc = syntax(&r);
            break;
        }
        done = e.type == YAML_STREAM_END_EVENT || e.type == YAML_DOCUMENT_END_EVENT;
        if (!done && e.type != YAML_STREAM_START_EVENT && e.type != YAML_DOCUMENT_START_EVENT) rc = node_read(&r, &e, 0, out);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&r.p);
    if (!rc && !*out && !(*out = node_new(TN_Y_MAP, NULL, file))) rc = tn_oom(err);
    return rc;
}

int tn_yaml_merge(tn_ynode *into, tn_ynode *from, tn_error *err)
{
    int rc = 0;
    for (int i = 0; i < from->n; i++) {
        tn_ynode *c = from->child[i], *have = tn_yaml_get(into, c->key);
        from->child[i] = NULL;
        if (rc) {
            tn_yaml_free(c);
        } else if (have && have->kind == TN_Y_MAP && c->kind == TN_Y_MAP) {
            rc = tn_yaml_merge(have, c, err);
        } else if (have) {
            for (int k = 0; k < into->n; k++)
                if (into->child[k] == have) into->child[k] = c;
            tn_yaml_free(have);
        } else if (!tn_yaml_add(into, c)) {
            tn_yaml_free(c);
            rc = tn_oom(err);
        }
    }
    tn_yaml_free(from);
    return rc;
}

bool tn_yaml_is_null(const tn_ynode *n)
{
    return n->kind == TN_Y_SCALAR && !n->quoted &&
           (!n->text[0] || !strcmp(n->text, "null") || !strcmp(n->text, "~") || !strcmp(n->text, "Null") ||
            !strcmp(n->text, "NULL"));
}
