/** A benchmark that runs: its device, how long each figure may take, and the figures so far. */
#ifndef TN_FIGURE_H
#define TN_FIGURE_H
#include "budget.h"
#include "jsonio.h"
#include "ops.h"
#include "stats.h"
#include "variant.h"

/** How much is measured. Times in seconds. */
typedef struct tn_bench_level {
    const char *name;
    int least, most;       /* samples of a figure, where that does not take much longer than it may */
    double sample, figure; /* a sample lasts so long at least, a figure about so long */
    double work;           /* the same of a step's or a prediction's figure */
    int shapes, types;     /* so many of the lists: of products' shapes, of storage types */
    double largest;        /* part of the memory's largest piece */
    double seconds;        /* all of a device */
    double allowance;      /* what building and measuring kernels for the first time may add to it, of the work */
} tn_bench_level;

enum { TN_CURVE = 8 };

struct tn_bench_job;

typedef struct tn_bench {
    const tn_bench_level *level;
    tn_device_info info;
    unsigned caps; /* TN_CAP_* */
    tn_dev *dev;
    tn_ctx c;
    json_t *list;  /* of the device's measurements. Borrowed */
    json_t *notes; /* sentences about the device. Borrowed */
    json_t *left;  /* what there was no time for. Borrowed */
    tn_watch watch;
    tn_budget time;
    /* NULL, or: before a figure is tried, and after it (NULL) */
    int (*begins)(void *user, const struct tn_bench_job *j, tn_error *err);
    void *user;
    const char *part;
    int done, total; /* parts */
    int failed;
    /* copies by sizes, ascending: what memory can do for sets that large (tn_bench_ceiling) */
    struct {
        double set, rate;
    } curve[TN_CURVE];
    int n_curve;
} tn_bench;

/** One figure. Texts are borrowed for the call. */
typedef struct tn_bench_job {
    const char *id;                        /* what it goes by in comparisons: "gemm.float32.581x1536x384.native" */
    const char *group;                     /* "memory": what is shown together */
    const char *name;                      /* for people */
    const char *unit;                      /* "s", "1/s", "B/s" or "FLOP/s" */
    double work;                           /* of one run, in what the unit counts a second; unread where the unit is "s" */
    double set;                            /* bytes that a run touches; 0: nothing bounds it */
    tn_dtype type;                         /* storage of what it multiplies and writes */
    bool by_context;                       /* a run, and what is beside it, is kernels on b->c alone, so that it can be recorded */
    bool may_refuse;                       /* a variant that this driver may not take: another one runs then */
    int each;                              /* runs of a sample; 0: as many as fill it */
    int (*run)(void *runs, tn_error *err); /* enqueues one run */
    void *runs;
    int (*beside)(void *self, tn_error *err); /* measured in turn, a copy of as many bytes; NULL: nothing */
    /** Poisons what a run writes; then, after one run, compares: *share is the error as a part of what is allowed, NaN where
     * something was not written. NULL: there is nothing to check. */
    int (*poison)(void *self, tn_error *err);
    int (*compare)(void *self, double *share, tn_error *err);
    void *self;
} tn_bench_job;

/** Checks and times a job and puts it into b->list. A check that fails, or a job that cannot run, goes there without a time and
 * counts in b->failed, unless it may refuse or there was no memory for it; only a lost device, a callback that stops and missing
 * memory of the host are errors. */
int tn_bench_measure(tn_bench *b, const tn_bench_job *j, tn_error *err);
/** The rows of an operation on the same arguments, each a job like `like`, whose id and name get the row's name behind them. */
int tn_bench_rows(tn_bench *b, const tn_variant_op *op, const void *args, const tn_bench_job *like, tn_error *err);
/** Before what a figure needs is done: *go false where it is in b->list already. Then tn_bench_ends. tn_bench_measure and
 * tn_bench_rows call them themselves. */
int tn_bench_begins(bool *go, tn_bench *b, const tn_bench_job *j, tn_error *err);
int tn_bench_ends(tn_bench *b, int rc, tn_error *err);
/** Adds a figure from samples (in the unit) that were taken elsewhere. *put (may be NULL) is its entry of b->list. Borrowed. */
int tn_bench_add(tn_bench *b, const tn_bench_job *j, const double *samples, int n, json_t **put, tn_error *err);
/** The same for a figure that has no time: check is "failed" or "refused", why a sentence. */
int tn_bench_fail(tn_bench *b, const tn_bench_job *j, const char *check, const char *why, tn_error *err);
/** A sentence that goes with the device's figures. */
void tn_bench_note(tn_bench *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Before station k of n of a part, which sentences call `what`: false where there is no time for it, which is kept in b->left. */
bool tn_bench_has_time(tn_bench *b, int k, int n, const char *what);

/** Operations on a context outside of a row: counts the workspace of `run` in a dry pass and reserves it. */
int tn_bench_reserve(tn_bench *b, int (*run)(void *runs, tn_error *err), void *runs, tn_error *err);
/** x beside want, as src/ref has it: the larger of the norm's and an element's error, over what its storage allows. *share keeps
 * the larger one. */
int tn_bench_error(double *share, const tn_tensor *x, const float *want, tn_error *err);
/** The same of n values that were stored as dt. */
void tn_bench_error_of(double *share, const float *got, const float *want, size_t n, tn_dtype dt);
/** All of x as floats (the caller's to free()); *share becomes NaN where a value is not finite. */
int tn_bench_all_of(float **got, double *share, const tn_tensor *x, tn_error *err);
/** Normal values: a million or so that are drawn, over and over, since drawing takes longer than measuring. The number is a prime,
 * so that rows of a matrix differ. False when memory ran out. */
bool tn_bench_normals(float *v, size_t n);
/** A tensor of such values, and as the storage rounds them (host: [rows * cols], the caller's to free(); NULL: not wanted). */
int tn_bench_random(tn_tensor *t, tn_dev *d, tn_dtype dt, const int shape[2], float **host, tn_error *err);
#endif
