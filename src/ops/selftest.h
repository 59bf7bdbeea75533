/** Every operation against src/ref on random data: the self-test, and the table that tests/ops walks. */
#ifndef TN_SELFTEST_H
#define TN_SELFTEST_H
#include "ahead.h"
#include "gemm.h"
#include "needs.h"

enum { TN_TRIAL_TENSORS = 48, TN_CASE_OPS = 3, TN_TRIAL_SEED = 7 };

/** One run of one case. Tensors and host copies made through it are freed by the harness. */
typedef struct tn_trial {
    tn_ctx *c;
    tn_dtype act;     /* how activations are stored */
    const void *like; /* of a check: arguments of its operation whose kind is checked (no buffer may be read); else NULL */
    tn_rng rng;
    int size;       /* 0: the smallest odd sizes; 1, 2: larger ones */
    bool all;       /* nothing of a list is left out */
    double error;   /* largest relative error of a tensor so far; NaN when an output kept its poison */
    double element; /* largest error of one element, see tn_element_error */
    double share;   /* the larger of both, as a share of what the tensor's storage allows */
    double worst;   /* a relative error that a case found by itself; NaN: wrong */
    tn_tensor t[TN_TRIAL_TENSORS];
    float *h[TN_TRIAL_TENSORS];
    int n;
    tn_error *err;
} tn_trial;

typedef struct tn_case {
    const char *name;
    int (*run)(tn_trial *t);
    bool float32_only;                     /* the operation has no half storage */
    const tn_variant_op *ops[TN_CASE_OPS]; /* the operations with variants whose rows it checks; NULL ends them early */
} tn_case;

/** How to run a case: op NULL runs the last row of everything; else `row` of op runs wherever it can. */
typedef struct tn_case_spec {
    tn_dtype act;
    int size;
    const tn_variant_op *op;
    int row;
    const char *kind; /* only arguments of this kind; NULL: all */
    const void *like;
    bool all; /* every combination: tn_trial_skips leaves nothing out */
} tn_case_spec;

typedef struct tn_case_result {
    double error;   /* largest relative error of a tensor */
    double element; /* largest error of an element */
    double worst;   /* the larger of both as a share of what is allowed: good up to 1 */
    int runs;       /* how often the row in question ran */
} tn_case_result;

/** Runs one case: twice (dry for the workspace, then for real). */
int tn_case_run(const tn_case *k, tn_dev *d, const tn_case_spec *s, tn_case_result *out, tn_error *err);
/** Walks it dry: the kernels that it would launch go into `needs` and its launches into `ahead`, where these are not NULL. */
int tn_case_walk(const tn_case *k, tn_dev *d, const tn_case_spec *s, tn_needs *needs, tn_ahead *ahead, tn_error *err);
/** Keeps the larger errors and adds the runs. */
void tn_case_add(tn_case_result *sum, const tn_case_result *r);
/** Does the case check rows of op? */
bool tn_case_of(const tn_case *k, const tn_variant_op *op);
/** What a tensor's relative error, and an element's error, may be for a storage type. */
double tn_case_bound(tn_dtype act);
double tn_case_element_bound(tn_dtype act);

/** The larger of two errors; NaN is the largest. */
double tn_larger_error(double a, double b);

/** Is running op on args what this trial is for? A case with several operations or kinds asks before it makes anything dear. */
bool tn_trial_wants(const tn_trial *t, const tn_variant_op *op, const void *args);
/** Is it about rows of this operation alone? What other operations would leave may come from the host then. */
bool tn_trial_is_of(const tn_trial *t, const tn_variant_op *op);
/** May the i-th of a list be left out? Of programs that differ in what else they are told, a CPU device, which compiles for
 * minutes, gets every third in float16 and the others (and the first) in bfloat16: what those change is how an element is read
 * and written. A row that has instructions for bfloat16 alone gets all. */
bool tn_trial_skips(const tn_trial *t, int i);
/** The same of a list that is gone through at every size: of a certain row in float32, which takes another tile for each size, a
 * CPU device gets all at the first one and a third at each of the others. */
bool tn_trial_repeats(const tn_trial *t, int i);
/** The same of a list that has other entries at each size: of a certain row in float32 a CPU device gets what bfloat16 leaves out
 * at the second size, and float16 at the last. */
bool tn_trial_leaves(const tn_trial *t, int i);
/* For the cases: a random input (values as stored), a poisoned output, a host array, a comparison. */
int tn_trial_in(tn_trial *t, tn_dtype dt, int rows, int cols, tn_tensor **x, float **host);
/** The values of a tensor, as an operation would have left them. */
int tn_trial_given(tn_trial *t, const tn_tensor *x, const float *values);
/** A table [rows, width / 2] of cosines and sines of random angles. */
int tn_trial_turns(tn_trial *t, int rows, int width, tn_tensor **x, float **host);
int tn_trial_out(tn_trial *t, tn_dtype dt, int rows, int cols, tn_tensor **x);
/** NaN all over an output that is written once more. */
int tn_trial_poison(tn_trial *t, const tn_tensor *x);
/** As tn_trial_in with given values. */
int tn_trial_put(tn_trial *t, tn_dtype dt, int rows, int cols, const float *values, tn_tensor **x);
/** Groups as small as oclgrind's (tests/ops): an interpreter, for which the first size is less than the first of others. */
bool tn_trial_is_little(const tn_trial *t);
float *tn_trial_host(tn_trial *t, size_t n);
/** Such an array with the values of v. */
float *tn_trial_copy(tn_trial *t, const float *v, size_t n);
/** Frees everything made since t->n was `mark`. */
void tn_trial_rewind(tn_trial *t, int mark);
int tn_trial_compare(tn_trial *t, const tn_tensor *x, const float *want);
/** By the bounds of another type, that of what x was made from. */
int tn_trial_compare_as(tn_trial *t, const tn_tensor *x, const float *want, tn_dtype type);
extern const tn_case tn_cases_gemm[], tn_cases_train[], tn_cases_dense[], tn_cases_quant[], tn_cases_spatial[], tn_cases_deform[],
    tn_cases_rows[], tn_cases_grads[], tn_cases_groups[], tn_cases_conv[], tn_cases_thin[],
    tn_cases_normed[];                        /* a NULL name ends each */
extern const tn_case *const tn_case_tables[]; /* all of them; a NULL ends it */
#endif
