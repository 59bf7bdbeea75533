/**
 * 4-bit storage of a weight matrix, on the host. Blocks run over the flattened row-major matrix; byte i holds element
 * 2i in its high nibble and 2i+1 in its low one (bitsandbytes); a partial last block scales over its real elements.
 */
#ifndef TN_QUANT_H
#define TN_QUANT_H
#include "fail.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tn_qtype { TN_Q_NF4, TN_Q_FP4, TN_Q_TYPES } tn_qtype;

/** A row of the format table; later formats are later rows. */
typedef struct tn_qformat {
    const char *name;
    float code[16];       /* value of each 4-bit code */
    int min_block, max_block, default_block;
    double worst_error;   /* largest |w - w'| / absmax */
} tn_qformat;
extern const tn_qformat tn_qformats[TN_Q_TYPES];
/** TN_ERR_CONFIG with the known names when there is none. */
int tn_qtype_find(tn_qtype *out, const char *name, tn_error *err);

enum { TN_NESTED_BLOCK = 256 };

typedef struct tn_qmatrix {
    tn_qtype type;
    int rows, cols, block;
    bool nested; /* double quantisation: absmax is stored in 8 bits */
    size_t n_blocks;
    uint8_t *packed;     /* (rows*cols + 1) / 2 bytes */
    float *absmax;       /* n_blocks, when not nested */
    uint8_t *absmax_q;   /* n_blocks, when nested */
    float *nested_absmax; /* one for each 256 blocks */
    float offset;        /* mean of absmax */
} tn_qmatrix;

/** w [rows, cols]. A NaN or infinity is TN_ERR_NUMERIC naming `name`. Free with tn_qmatrix_free. */
int tn_quantize(tn_qmatrix *q, const float *w, int rows, int cols, tn_qtype type, int block, bool nested,
                const char *name, tn_error *err);
void tn_qmatrix_free(tn_qmatrix *q);
/** The scale of block b; map from tn_dynamic_map. */
float tn_qmatrix_scale(const tn_qmatrix *q, const float map[256], size_t b);
void tn_dequantize(const tn_qmatrix *q, float *w);
size_t tn_qmatrix_bytes(const tn_qmatrix *q);
/** bitsandbytes' signed dynamic map, 256 entries, sorted (create_dynamic_map). */
void tn_dynamic_map(float map[256]);
#endif
