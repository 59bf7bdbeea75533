/* What the parts of tn-golden share. */
#ifndef TN_GOLDEN_H
#define TN_GOLDEN_H
#include "adapter_use.h"
#include "checkpoint_dir.h"
#include "files.h"
#include "numeric.h"
#include "qfile.h"
#include "session.h"

/* ---- bounds.c ---- */

enum { HIDDEN, HEATMAP, LOSS, GRADIENT, TRACE, NORM, FINAL, STATISTICS, CODES, VALUES, KINDS };
/** Nothing of the next case is compared yet; every: each comparison is printed. */
void bounds_begin(bool every);
/** The case is run in bfloat16: its errors may be twice the real library's own, which the folder tells. */
int bounds_bf16(const char *dir, tn_error *err);
/** Records one comparison of a kind. */
void note(int kind, const char *where, double error);
int compared(int kind);
/** Prints the case's largest errors; was one too large? */
bool bounds_end(void);
/** KIND=VALUE of the command line; false where it is none. */
bool bound_set(const char *arg);
void bounds_list(void);

/* ---- case.c ---- */

/** Of the command line. */
typedef struct {
    const char *device;
    tn_recompute recompute;
    bool unfused, merged, verbose; /* merged: adapters and layer norms are in the matrices */
    tn_dtype act;
} golden_options;
extern golden_options options;

typedef struct {
    char *dir;
    tn_hf_dir *hf;
    tn_st_file *golden, *decoder, *adapter;
    json_t *spec, *peft;
    tn_adapter *foreign; /* an adapter of any PEFT run, on a backbone case */
    tn_dev *dev;
    tn_model *model;
    tn_session *session;
    int batch, height, width;
    bool bn;
} test;

/** A tensor as float32 (caller frees), or NULL with *err filled. */
float *values_of(const tn_st_file *f, const char *name, size_t *n, tn_error *err);
int open_st(tn_st_file **f, const char *dir, const char *name, tn_error *err);
/** Opens what lies in t->dir. */
int open_files(test *t, tn_error *err);
/** A folder without config.json and case.json: quantised matrices. */
bool is_quantized(const test *t);
/** Model, device and session with the backbone's weights. */
int build(test *t, tn_error *err);
/** The decoder's and the adapters' weights. */
int load_trained(test *t, tn_error *err);
/** Frees what t holds. */
void close_test(test *t);

/* ---- compare.c ---- */

/** All trained slots' gradients (GRADIENT) or values beside the tensors PREFIX.<PyTorch's name>. */
int compare_slots(test *t, const char *prefix, int kind, tn_error *err);
/** The running statistics that the pass follows beside buffer.<PyTorch's name>, where there are any. */
int compare_statistics(test *t, const tn_exec *e, tn_error *err);
int compare_tensor(test *t, tn_exec *e, int id, int kind, const char *name, tn_error *err);
/** Tensor `name` into the pass's tensor id. */
int upload(test *t, tn_exec *e, int id, const char *name, tn_error *err);

/* ---- training.c, quant_cases.c ---- */

int run_training(test *t, tn_error *err);
/** golden: X.weight and X.dequantized; model: X as the real library serialised it. */
int run_quantized(tn_dev *d, const tn_st_file *golden, const tn_st_file *model, tn_error *err);
#endif
