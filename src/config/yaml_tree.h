/** A YAML document as a tree of scalars, sequences and mappings, each with its place. Read through libyaml. */
#ifndef TN_YAML_TREE_H
#define TN_YAML_TREE_H
#include "fail.h"
#include <stdbool.h>
#include <stddef.h>

typedef enum tn_ykind { TN_Y_SCALAR, TN_Y_SEQ, TN_Y_MAP } tn_ykind;

typedef struct tn_ynode {
    tn_ykind kind;
    char *key;        /* of this node in its parent mapping, or NULL */
    char *text;       /* scalar's text */
    bool quoted;      /* a quoted scalar is a string whatever it looks like */
    const char *file; /* borrowed: the name given to the parser must outlive the tree */
    int line, column; /* from 1 */
    struct tn_ynode **child;
    int n;
} tn_ynode;

int tn_yaml_parse(tn_ynode **out, const char *text, size_t len, const char *file, tn_error *err);
void tn_yaml_free(tn_ynode *n);
tn_ynode *tn_yaml_get(const tn_ynode *map, const char *key);
/** Deep merge: mappings merge, everything else is replaced. Takes `from` over. */
int tn_yaml_merge(tn_ynode *into, tn_ynode *from, tn_error *err);
tn_ynode *tn_yaml_new_map(const char *key, const char *file);
/** A scalar that is `text` itself (quoted) or what YAML takes it for; NULL when memory ran out. */
tn_ynode *tn_yaml_new_scalar(const char *text, bool quoted, const char *file);
tn_ynode *tn_yaml_new_seq(const char *file);
bool tn_yaml_add(tn_ynode *parent, tn_ynode *child);
/** A null as YAML spells it, or nothing. */
bool tn_yaml_is_null(const tn_ynode *n);
#endif
