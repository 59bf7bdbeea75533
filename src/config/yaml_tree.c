#include "yaml_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    if (!v) {
        tn_yaml_free(child);
        return false;
    }
    parent->child = v;
    v[parent->n++] = child;
    return true;
}

tn_ynode *tn_yaml_take(tn_ynode *parent, int i)
{
    tn_ynode *n = parent->child[i];
    memmove(&parent->child[i], &parent->child[i + 1], sizeof *parent->child * (size_t)(parent->n - i - 1));
    parent->n--;
    return n;
}

tn_ynode *tn_yaml_new(tn_ykind kind, const char *file)
{
    tn_ynode *n = calloc(1, sizeof *n);
    if (n) *n = (tn_ynode){.kind = kind, .file = file};
    return n;
}

tn_ynode *tn_yaml_new_map(const char *key, const char *file)
{
    tn_ynode *n = tn_yaml_new(TN_Y_MAP, file);
    if (n && key && !(n->key = strdup(key))) {
        free(n);
        return NULL;
    }
    return n;
}

tn_ynode *tn_yaml_new_scalar(const char *text, bool quoted, const char *file)
{
    tn_ynode *n = tn_yaml_new(TN_Y_SCALAR, file);
    if (!n) return NULL;
    n->quoted = quoted;
    if ((n->text = strdup(text))) return n;
    free(n);
    return NULL;
}

tn_ynode *tn_yaml_copy(const tn_ynode *n)
{
    tn_ynode *c = n->kind == TN_Y_SCALAR ? tn_yaml_new_scalar(n->text, n->quoted, n->file) : tn_yaml_new(n->kind, n->file);
    if (!c) return NULL;
    c->line = n->line;
    c->column = n->column;
    for (int i = 0; i < n->n; i++) {
        tn_ynode *k = tn_yaml_copy(n->child[i]);
        const bool keyed = k && (!n->child[i]->key || (k->key = strdup(n->child[i]->key)));
        if (!keyed) tn_yaml_free(k);
        if (!keyed || !tn_yaml_add(c, k)) {
            tn_yaml_free(c);
            return NULL;
        }
    }
    return c;
}

tn_ynode *tn_yaml_get(const tn_ynode *map, const char *key)
{
    for (int i = 0; map && map->kind == TN_Y_MAP && i < map->n; i++)
        if (!strcmp(map->child[i]->key, key)) return map->child[i];
    return NULL;
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
            rc = tn_oom(err);
        }
    }
    tn_yaml_free(from);
    return rc;
}

const char *tn_yaml_place(char *buf, size_t n, const tn_ynode *node)
{
    if (node->line) snprintf(buf, n, "%s:%d:%d", node->file, node->line, node->column);
    else snprintf(buf, n, "%s", node->file);
    return buf;
}
