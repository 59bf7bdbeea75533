/**
 * Python pickles read as data (PEP 307's protocol 2 and the few opcodes of protocol 4 that strings need): a tree of values, in
 * which a class is its name and a call is the name with its arguments. Nothing is looked up, made or called, whatever a file asks
 * for.
 */
#ifndef TN_PICKLE_H
#define TN_PICKLE_H
#include "fail.h"
#include <stddef.h>
#include <stdint.h>

typedef enum tn_pk_kind {
    TN_PK_OTHER, /* None, a float, a whole number beyond 64 bits */
    TN_PK_INT,   /* bool too */
    TN_PK_TEXT,
    TN_PK_TUPLE,
    TN_PK_LIST, /* set too */
    TN_PK_DICT,
    TN_PK_GLOBAL,     /* text: module.name */
    TN_PK_PERSISTENT, /* kid[0]: torch's description of a storage */
    TN_PK_CALL        /* of fn with args; kid: what was put in afterwards, as into a dict or a list */
} tn_pk_kind;

/** Nodes name each other by index, and may do so in circles. */
typedef struct tn_pk_node {
    tn_pk_kind kind;
    int64_t i;
    char *text; /* NUL-terminated; length in len */
    size_t len;
    int *kid, n, cap; /* a dict's: key, value, key, value ... */
    int fn, args;     /* of a call */
} tn_pk_node;

typedef struct tn_pickle {
    tn_pk_node *v;
    int n, cap, root;
} tn_pickle;

/** An opcode outside the list, a value cut short, an empty stack: TN_ERR_FORMAT naming `where` and the byte. Free in any case. */
int tn_pickle_parse(tn_pickle *p, const void *data, size_t len, const char *where, tn_error *err);
void tn_pickle_free(tn_pickle *p);
#endif
