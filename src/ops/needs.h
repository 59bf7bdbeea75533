/** The kernels that a pass launches, registered by a dry walk (tn_ctx.needs). Zero-initialise. */
#ifndef TN_NEEDS_H
#define TN_NEEDS_H
#include "fail.h"
#include <stdbool.h>

typedef struct tn_needs {
    struct tn_need {
        char *file, *entry, *options;
    } * v;
    int n;
} tn_needs;

/** Registers a kernel once. */
int tn_needs_add(tn_needs *w, const char *file, const char *entry, const char *options, tn_error *err);
/** options NULL: built in any way. */
bool tn_needs_has(const tn_needs *w, const char *file, const char *entry, const char *options);
/** Is any kernel of the program needed? */
bool tn_needs_program(const tn_needs *w, const char *file, const char *options);
void tn_needs_free(tn_needs *w);
#endif
