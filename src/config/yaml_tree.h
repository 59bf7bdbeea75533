/** A YAML document as a tree of scalars, sequences and mappings, each with its place. Read through libyaml. */
#ifndef TN_YAML_TREE_H
#define TN_YAML_TREE_H
#include "fail.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tn_ykind { TN_Y_SCALAR, TN_Y_SEQ, TN_Y_MAP } tn_ykind;

typedef struct tn_ynode {
    tn_ykind kind;
    char *key;        /* of this node in its parent mapping, or NULL */
    char *text;       /* scalar's text */
    bool quoted;      /* a quoted scalar is a string whatever it looks like */
    const char *file; /* borrowed: the name given to the parser must outlive the tree */
    int line, column; /* from 1; 0: no place */
    struct tn_ynode **child;
    int n;
} tn_ynode;

/** The one document that `text` holds; a second one, or anything behind it, is an error with its line. Aliases are copied and
 * merge keys (<<) resolved as YAML 1.1 has them; nothing at all is a null. */
int tn_yaml_parse(tn_ynode **out, const char *text, size_t len, const char *file, tn_error *err);
void tn_yaml_free(tn_ynode *n);
tn_ynode *tn_yaml_get(const tn_ynode *map, const char *key);
/** Deep merge: mappings merge, everything else is replaced. Takes `from` over. */
int tn_yaml_merge(tn_ynode *into, tn_ynode *from, tn_error *err);
tn_ynode *tn_yaml_new(tn_ykind kind, const char *file);
tn_ynode *tn_yaml_new_map(const char *key, const char *file);
/** A scalar that is `text` itself (quoted) or what YAML takes it for; NULL when memory ran out. */
tn_ynode *tn_yaml_new_scalar(const char *text, bool quoted, const char *file);
/** A copy without its key, or NULL when memory ran out. */
tn_ynode *tn_yaml_copy(const tn_ynode *n);
/** Takes `child` over (NULL: memory ran out before), also when it fails. */
bool tn_yaml_add(tn_ynode *parent, tn_ynode *child);
/** Takes the i-th child out; the caller owns it. */
tn_ynode *tn_yaml_take(tn_ynode *parent, int i);
/** "FILE:LINE:COLUMN", or FILE alone where the node has no place; returns buf. */
const char *tn_yaml_place(char *buf, size_t n, const tn_ynode *node);

/** A null as YAML spells it, or nothing. */
bool tn_yaml_is_null(const tn_ynode *n);
/** true, yes, on and their opposites, each in lower case, capitalised or in capitals, as YAML 1.1 has them; not quoted. */
bool tn_yaml_bool(const tn_ynode *n, bool *v);
/** A finite number: YAML 1.1's (010 is octal, 0x10, 0b10, 1_000), and decimals that it takes for text (1e-4, quoted ones). */
bool tn_yaml_number(const tn_ynode *n, double *v);
/** A whole number from 0 to 2^64 - 1, exactly. */
bool tn_yaml_whole(const tn_ynode *n, uint64_t *v);
#endif
