/**
 * What is known of the variants on one device: which rows passed their check, for which kind, and which row was fastest for
 * which shape. Kept in memory and, by names, in the cache folder; a missing, damaged or foreign file is measured again.
 * Not to be used by two threads on one device.
 */
#ifndef TN_TUNING_H
#define TN_TUNING_H
#include "text.h"
#include "variant.h"

/** Shapes met in a dry pass that nobody has measured yet, and rows that nobody has checked. Zero-initialise. */
typedef struct tn_wanted {
    struct tn_wish {
        const tn_variant_op *op;
        void *args;
        char key[TN_KEY]; /* of the shape; of its kind where there is nothing to measure */
        int row;          /* to be checked; -1: every row is checked and measured */
    } * v;
    int n;
    bool again; /* also shapes with an answer, all rows and their tunables: devices --tune */
} tn_wanted;

/** Registers a shape whose fastest row is not known. Where it is too small to matter, or a single row would be tried, that row is
 * registered to be checked, unless it was. */
int tn_wanted_add(tn_wanted *w, tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err);
void tn_wanted_free(tn_wanted *w);
/** Checks what is registered and measures its shapes: each row that can and is good, on random data, the fastest is remembered. A
 * shape that does not fit into a fraction of the memory left is passed over. */
int tn_tune(tn_wanted *w, tn_dev *d, tn_error *err);
/** The same for the shapes of a usual backbone (devices --tune). seconds: what the search for CLBlast's parameters may take; 0: two
 * minutes where CLBlast is near the fastest row of a product, else none. */
int tn_tune_usual(tn_dev *d, int seconds, tn_error *err);

/** The stored answer for args, if there is one. */
int tn_tuned(bool *known, tn_choice *out, tn_dev *d, const tn_variant_op *op, const void *args, tn_error *err);
/** Of tn_variant_ops; its check runs the self-test cases where nobody knows yet (tuner.c). */
extern const tn_registry tn_registry_checked;
/** A table of operation, shape, variant, time, error, and which was chosen or why refused. */
int tn_tuning_table(tn_text *out, tn_dev *d, tn_error *err);

/** Fills a dense tensor with random normal values. */
int tn_tensor_random(tn_dev *d, const tn_tensor *t, tn_error *err);
/** The smallest power of two that is not below n. */
int tn_bucket(int n);
#endif
