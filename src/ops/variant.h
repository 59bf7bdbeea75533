/**
 * The registry of kernel variants: for each operation that has more than one way to run, a table of rows. The last row of
 * every table is the portable one, which can run anything anywhere.
 *
 * A row is used on a device only after that operation's own self-test cases passed there with the row forced
 * (selftest.h), in the storage types and transpositions asked for; which of the good ones runs is measured on the shapes
 * of the plan and remembered by names (tuning.c). A vendor's faster kernel is one .cl file and one row.
 */
#ifndef TN_VARIANT_H
#define TN_VARIANT_H
#include "ops.h"

/** A number that a kernel is compiled or launched with, and the values worth trying; the first is the default. */
typedef struct tn_tunable {
    const char *name;
    const int *values; /* ended by 0 */
} tn_tunable;

enum { TN_MAX_TUNABLES = 4, TN_MAX_VARIANTS = 16, TN_KEY = 96 };

typedef struct tn_variant {
    const char *name;
    unsigned needs; /* TN_CAP_* of dev.h, all of them */
    /** Beyond `needs`: can it run these arguments? NULL: yes. */
    bool (*can)(const tn_ctx *c, const void *args);
    /** Runs; c->tune[i] holds the value of tunables[i]. */
    int (*run)(tn_ctx *c, const void *args, tn_error *err);
    const tn_tunable *tunables; /* ended by a NULL name; NULL: none */
    bool slow_to_build;         /* on a CPU only tried when asked for (devices --tune) */
} tn_variant;

/** An operation with variants. */
typedef struct tn_variant_op {
    const char *name; /* "gemm" */
    const tn_variant *rows;
    int n; /* rows; the last one is portable */
    /** What is tuned apart: storage types, transpositions, shape; "bf16,f32,f32 nt 581x384x384". */
    void (*key)(char *out, size_t n, const void *args);
    /** The part of the key that a correctness check covers: "bf16,f32,f32 nt". */
    void (*kind)(char *out, size_t n, const void *args);
    /** Allocates arguments of the same shape and kind with random contents, to be timed; freed by release. */
    int (*make)(void *copy, tn_ctx *c, const void *args, tn_error *err);
    void (*release)(void *copy, tn_ctx *c);
    size_t args_size;
} tn_variant_op;

/** Every operation that has variants; a NULL ends it. */
extern const tn_variant_op *const tn_variant_ops[];

/** Runs args by the variant that is forced, else the one the tuner chose, else the first that can. */
int tn_variant_run(tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err);
/** Has the device what the row needs, and can it run these arguments? */
bool tn_variant_can(const tn_ctx *c, const tn_variant *v, const void *args);
/** Index of a row by name, or -1. */
int tn_variant_find(const tn_variant_op *op, const char *name);
#endif
