/** Every operation against src/ref on random data: the start-up self-test, and the table that tests/ops walks. */
#ifndef TN_SELFTEST_H
#define TN_SELFTEST_H
#include "gemm.h"

enum { TN_TRIAL_TENSORS = 24, TN_TRIAL_SEED = 7 };

/** One run of one case. Tensors and host copies made through it are freed by the harness. */
typedef struct tn_trial {
    tn_ctx *c;
    tn_rng rng;
    int size;     /* 0: the smallest odd sizes; 1, 2: larger ones */
    double worst; /* largest relative error so far; NaN when an output kept its poison */
    tn_tensor t[TN_TRIAL_TENSORS];
    float *h[TN_TRIAL_TENSORS];
    int n;
    tn_error *err;
} tn_trial;

typedef struct tn_case {
    const char *name;
    int (*run)(tn_trial *t);
    bool float32_only; /* the operation has no half storage */
} tn_case;
/** Runs one case: twice (dry for the workspace, then for real). *error is the largest relative error. */
int tn_case_run(const tn_case *k, tn_dev *d, tn_dtype act, int size, double *error, tn_error *err);
/** What a relative error may be for a storage type. */
double tn_case_bound(tn_dtype act);

/* For the cases: a random input (values as stored), a poisoned output, a host array, a comparison. */
int tn_trial_in(tn_trial *t, tn_dtype dt, int rows, int cols, tn_tensor **x, float **host);
int tn_trial_out(tn_trial *t, tn_dtype dt, int rows, int cols, tn_tensor **x);
/** NaN all over an output that is written once more. */
int tn_trial_poison(tn_trial *t, const tn_tensor *x);
/** As tn_trial_in with given values. */
int tn_trial_put(tn_trial *t, tn_dtype dt, int rows, int cols, const float *values, tn_tensor **x);
float *tn_trial_host(tn_trial *t, size_t n);
/** Frees everything made since t->n was `mark`. */
void tn_trial_rewind(tn_trial *t, int mark);
int tn_trial_compare(tn_trial *t, const tn_tensor *x, const float *want);
extern const tn_case tn_cases_gemm[], tn_cases_dense[], tn_cases_spatial[]; /* a NULL name ends each */
#endif
