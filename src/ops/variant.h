/**
 * The registry of kernel variants: for each operation that has more than one way to run, a table of rows. The last row of
 * every table can run anything anywhere.
 *
 * A row is used on a device only after that operation's own self-test cases passed there with the row forced
 * (selftest.h), in the storage types and transpositions asked for; which of the good ones runs is measured on the shapes
 * of the plan and remembered by names (tuning.h). A vendor's faster kernel is one .cl file and one row.
 */
#ifndef TN_VARIANT_H
#define TN_VARIANT_H
#include "ops.h"

/** A number that a kernel is compiled or launched with, and the values worth trying; the first is the default. */
typedef struct tn_tunable {
    const char *name;
    const int *values; /* ended by 0 */
} tn_tunable;

enum { TN_MAX_VARIANTS = 16, TN_KEY = 96 };

typedef struct tn_variant {
    const char *name;
    unsigned needs; /* TN_CAP_* of dev.h, all of them */
    unsigned any;   /* at least one of these; 0: none is asked for */
    /** Beyond `needs`: can it run these arguments? NULL: yes. */
    bool (*can)(const tn_ctx *c, const void *args);
    /** Runs; c->tune[i] holds the value of tunables[i]. */
    int (*run)(tn_ctx *c, const void *args, tn_error *err);
    const tn_tunable *tunables; /* ended by a NULL name, at most TN_MAX_TUNABLES; NULL: none */
    bool not_on_cpus;     /* slow to build or to run there: a CPU device tries it only when asked to (devices --tune), and runs it
                           * where no other row is good */
    bool takes_quantised; /* of the product: a right operand as quantised matrices (tn_gemm_args.q); others get it unpacked */
    bool
        apart; /* nobody had such a device: checked by a process of its own (verdict.h), and run only where it was measured to
                * be the fastest, or is asked for by name (so is what needs TN_CAP_VECTORS where the device has TN_QUIRK_UNTRIED) */
} tn_variant;

/** An operation with variants. */
typedef struct tn_variant_op {
    const char *name; /* "gemm" */
    const tn_variant *rows;
    int n; /* rows; the last one runs anything and is checked by the self-test, not here */
    /** What is tuned apart: storage types, transpositions, shape; "bf16,f32,f32 nt 581x384x384". */
    void (*key)(char *out, size_t n, const void *args);
    /** The part of the key that a correctness check covers: "bf16,f32,f32 nt". */
    void (*kind)(char *out, size_t n, const void *args);
    /** Allocates arguments of the same shape and kind with random contents, to be timed; freed by release, also after a
     * failure. args' own buffers must not be read: it was registered in a dry pass. */
    int (*make)(void *copy, tn_ctx *c, const void *args, tn_error *err);
    void (*release)(void *copy, tn_ctx *c);
    size_t args_size;
    /** Floating-point operations, or bytes where an operation only moves values. NULL: every shape is worth measuring. */
    double (*work)(const void *args);
    /** Cuts what only the batch size decides until the work is at most `most`, and rounds it up to a power of two, so that
     * all batch sizes of a model share few measurements. The model's own sizes stay: they decide which tiles fit. NULL:
     * shapes are measured as they are. */
    void (*shrink)(void *args, double most);
} tn_variant_op;

extern const tn_variant_op tn_gemm_op, tn_unpack_op, tn_attention_op, tn_attention_back_op, tn_layernorm_op, tn_layernorm_back_op,
    tn_qgemv_op, tn_conv_op, tn_conv_grad_op, tn_dwconv_op, tn_dwconv_grad_op, tn_dwdouble_op, tn_dwdouble_grad_op;
/** Every operation that has variants, an operation after those that it calls; a NULL ends it (registry.c). */
extern const tn_variant_op *const tn_variant_ops[];

/** What a context is given so that it can choose; without it only last rows run. The operations lie below the checks, which run
 * them, and so know the checks only through this. */
typedef struct tn_registry {
    const tn_variant_op *const *ops;
    /** Did the row pass the self-test cases of its operation for the kind of these arguments? A failed check is TN_ERR_OK and
     * false; only what may go better next time (no memory) is an error, and nothing is kept. */
    int (*check)(bool *good, tn_dev *d, const tn_variant_op *op, int row, const void *args, tn_error *err);
} tn_registry;

/** A row made to run what the self-test asks for. */
typedef struct tn_forced {
    const tn_variant_op *op; /* NULL: no operation's; every other operation runs its last row */
    int row;
    const char *kind; /* only these arguments; NULL: all */
    int runs;         /* how often it ran, or would have in a dry pass */
} tn_forced;

/** What to run: a row and the values of its tunables. */
typedef struct tn_choice {
    int row;
    int tune[TN_MAX_TUNABLES];
} tn_choice;

/**
 * Runs args by the row that is forced (tn_dev's `variants`), else the one the tuner chose, else the first good one that
 * can. In a dry pass with c->wanted set the arguments are registered for the tuner instead (tuning.h).
 */
int tn_variant_run(tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err);
/** The first half of tn_variant_run: all but the running. */
int tn_variant_pick(tn_choice *out, tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err);
/** What is chosen where nothing is forced and nothing wanted. */
int tn_variant_choose(tn_choice *out, tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err);
/** Runs one row by hand, for tests and measurements. */
int tn_variant_run_row(tn_ctx *c, const tn_variant_op *op, const tn_choice *k, const void *args, tn_error *err);
/** Has a device with these capabilities what the row needs? */
bool tn_variant_fits(const tn_variant *v, unsigned caps);
/** Is the row one for a process of its own on this device? */
bool tn_variant_apart(const tn_dev *d, const tn_variant *v);
/** Has the device what the row needs, and can it run these arguments? */
bool tn_variant_can(const tn_ctx *c, const tn_variant *v, const void *args);
/** Can a row run these arguments, and is it worth trying on this device? all: also what CPU devices leave out. */
bool tn_variant_tries(const tn_ctx *c, const tn_variant_op *op, int row, const void *args, bool all);
/** A row with the default values of its tunables. */
tn_choice tn_variant_defaults(const tn_variant_op *op, int row);
/** Index of a row by name, or -1. */
int tn_variant_find(const tn_variant_op *op, const char *name);
/** The row that a list such as "gemm=portable,attention=cpu" names for an operation, or -1. An entry without '=' is meant
 * for every operation that has such a row. */
int tn_variant_forced(const char *list, const tn_variant_op *op);
/** Does such a list say "first", so that no row is measured: the first good one runs where none was? */
bool tn_variant_first(const char *list);
/** Fails where such a list names what none of the operations (NULL ends them) has. */
int tn_variant_list_check(const char *list, const tn_variant_op *const *ops, tn_error *err);
#endif
