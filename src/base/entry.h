/** What a public function does first: a place for the error, the C locale, required pointers, versions of structs. */
#ifndef TN_ENTRY_H
#define TN_ENTRY_H
#include "fail.h"
#include "scope.h"
#include <tracknet/run.h>

/** First line of every public function that fails: below it `err` is never NULL and numbers have points. */
#define TN_ENTRY(err)                                                                                                              \
    TN_SCOPE;                                                                                                                      \
    tn_error tn_unused_;                                                                                                           \
    if (!(err)) (err) = &tn_unused_

/** TN_ERR_ARGUMENT, naming what is missing, where p is NULL. */
int tn_required(const void *p, const char *what, tn_error *err);
/** TN_ERR_ARGUMENT where a struct has a version (its first member) that this library does not know. NULL is not looked at. */
int tn_versioned(const void *p, unsigned newest, const char *type, tn_error *err);
/** Both. */
int tn_struct(const void *p, unsigned newest, const char *type, tn_error *err);
/** NULL options become the defaults (static); others are checked. */
int tn_run_check(const tn_run_options **o, tn_error *err);
#endif
