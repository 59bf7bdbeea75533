/**
 * Quantised matrices in safetensors files. nf4, fp4 and int8 as bitsandbytes serialises them (X.weight, X.weight.absmax,
 * X.weight.quant_state.bitsandbytes__nf4, ...; X.SCB for int8); the other formats in the same manner under
 * X.weight.scale, X.weight.zero_point and X.weight.quant_state.tracknet__<format>.
 */
#ifndef TN_QFILE_H
#define TN_QFILE_H
#include "checkpoint_dir.h"
#include "quant.h"
#include "text.h"

/** Is this tensor of f a quantised matrix's codes? Of any dtype where a quant_state stands beside (bitsandbytes'
 * bnb_4bit_quant_storage: the same bytes, counted otherwise), else of bytes. */
bool tn_qfile_is_packed(const tn_st_file *f, const tn_st_tensor *t);
/** Is `name` one of the tensors beside X.weight that describe its quantisation? */
bool tn_qfile_is_part(const char *name);
/**
 * Reads the matrix whose codes are tensor t ("X.weight") of f. A quant_state that disagrees with the shapes is
 * TN_ERR_FORMAT naming the tensor. Free with tn_qmatrix_free. dtype (16 bytes, may be NULL): what it was before.
 */
int tn_qfile_read(tn_qmatrix *q, const tn_st_file *f, const tn_st_tensor *t, char *dtype, tn_error *err);

enum { TN_QFILE_PARTS = 6 };
/** The tensors of one matrix. Names and the state are owned; other data is borrowed from the matrix. */
typedef struct tn_qparts {
    tn_st_entry e[TN_QFILE_PARTS];
    int n;
    char *state;       /* JSON */
    float tables[272]; /* quant_map, nested_quant_map */
    uint8_t format;
} tn_qparts;
/** name: "X.weight"; dtype: "float32", "bfloat16", "float16". With q's arrays NULL only the layout is filled. */
int tn_qparts_make(tn_qparts *p, const char *name, const tn_qmatrix *q, const char *dtype, tn_error *err);
void tn_qparts_free(tn_qparts *p);

/** How config.json says the model is quantised: false when it does not. *s: type and nested; block where weights are open. */
bool tn_qfile_config(const tn_hf_dir *d, tn_qshape *s);
/** Adds the names of modules that config.json says were left in float. */
int tn_qfile_skipped(tn_strs *out, const tn_hf_dir *d, tn_error *err);
/** The quantization_config entry; skip: names left in float. New reference. */
json_t *tn_qfile_config_json(tn_qtype type, bool nested, const tn_strs *skip);
#endif
