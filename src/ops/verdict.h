/** The check of a row by its operation's self-test cases, here or in a process of its own. */
#ifndef TN_VERDICT_H
#define TN_VERDICT_H
#include "ahead.h"
#include "variant.h"

typedef struct tn_verdict {
    bool good;
    bool unsure;  /* nothing was found out: it is not to be kept */
    bool fatal;   /* the process that tried it crashed or hung: the row is not to be tried for any other kind either */
    double error; /* largest relative error of a tensor; -1: none was finite */
    char why[256];
} tn_verdict;

/** Runs the cases of op with the row forced, for arguments of this kind (`like` is one's). Only what may go better next time (no
 * memory) is an error. */
int tn_check_row(tn_verdict *out, tn_dev *d, const tn_variant_op *op, int row, const char *kind, const void *like, tn_error *err);
/** Registers what that would launch, to be built. */
int tn_check_ahead(tn_ahead *ahead, tn_dev *d, const tn_variant_op *op, int row, const char *kind, const void *like, tn_error *err);
/** The same twice; false too where the second time has other results. */
int tn_check_twice(tn_verdict *out, tn_dev *d, const tn_variant_op *op, int row, const char *kind, const void *like, tn_error *err);
/** That by d->helper, for at most d->trial_seconds: what hangs or crashes there costs the row, not this process. */
void tn_check_apart(tn_verdict *out, tn_dev *d, const tn_variant_op *op, int row, const char *kind, const void *like);

/** What the process is asked; args_size bytes of arguments follow, whose buffers are not read. */
typedef struct tn_check_request {
    char stamp[64]; /* of the library that wrote it: another one reads nothing */
    char cache_dir[1024], device[256], op[32], row[32], kind[TN_KEY];
    int index; /* of tn_device_list */
    size_t args_size;
} tn_check_request;
void tn_check_stamp(char *out, size_t n);
#endif
