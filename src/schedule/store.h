/**
 * A model's weights on one device. Trainable slots lie in one float32 arena (with arenas of the same layout for the
 * gradient and the optimiser's two moments), so that a step is a launch for a whole group; frozen ones stand alone,
 * as float32, half storage, or 4-bit blocks.
 */
#ifndef TN_STORE_H
#define TN_STORE_H
#include "checkpoint_dir.h"
#include "model.h"
#include "ops.h"
#include "quant.h"

typedef struct tn_quant_spec {
    bool enabled, nested;
    tn_qtype type;
    int block;
    tn_strs skip; /* substrings of dotted module names */
} tn_quant_spec;

typedef enum tn_place { TN_PLACE_NONE, TN_PLACE_DENSE, TN_PLACE_QUANT, TN_PLACE_PARAM } tn_place;

typedef struct tn_stored {
    tn_place place;
    tn_tensor t;    /* dense, or the region of the parameter arena */
    tn_tensor grad; /* parameters only */
    tn_qtensor q;
    size_t off, bytes; /* off: floats into the arena */
} tn_stored;

enum { TN_GROUPS = 3 }; /* head, LoRA, backbone: the arena's order */

typedef struct tn_store {
    tn_dev *dev;
    const tn_model *m;
    tn_quant_spec quant;
    tn_dtype act;
    tn_stored *s;
    tn_buffer *params, *grads, *moment1, *moment2;
    size_t n_params; /* floats, alignment gaps included */
    size_t group_off[TN_GROUPS], group_len[TN_GROUPS];
    tn_buffer *tables;                         /* of the quantised format; the first quantised slot's */
    size_t weight_bytes, float_bytes;          /* frozen weights as stored, and as float32 */
    int generation;                            /* counts what makes a recorded pass stale */
    int n_quantised, n_skipped, n_indivisible; /* skipped: by name; indivisible: rows that blocks do not divide */
} tn_store;

/** Lays the slots out and allocates; optimiser moments only when `optimiser`. With dry, nothing is allocated. */
int tn_store_new(tn_store **out, tn_dev *d, const tn_model *m, const tn_quant_spec *quant, tn_dtype act, bool optimiser, bool dry,
                 tn_error *err);
void tn_store_free(tn_store *s);
/** Sets a slot from float32 values (quantising where the slot is stored so). */
int tn_store_set(tn_store *s, int slot, const float *values, tn_error *err);
/** Reads a slot back as float32 (dequantised). */
int tn_store_get(tn_store *s, int slot, float *values, tn_error *err);
/** Gradient of a trainable slot. */
int tn_store_get_grad(tn_store *s, int slot, float *values, tn_error *err);
/** Initial values of every slot of `groups` from the seed (Kaiming, LoRA's, truncated normal; biases and scales). */
int tn_store_init(tn_store *s, int groups, uint64_t seed, tn_error *err);
/** The backbone's slots from a Hugging Face folder: missing and misshapen tensors are named, extra ones logged. */
int tn_store_load_backbone(tn_store *s, const tn_hf_dir *dir, uint64_t seed, const tn_log *log, tn_error *err);
/** Is the adapter's slot set together with its base weight (PiSSA; LoftQ where the weight is stored quantised)? */
bool tn_adapt_sets(const tn_store *s, int adapter_slot);
/** Weights of a base slot about to be stored: PiSSA and LoftQ take their part out of w and set the adapter. */
int tn_adapt_base(tn_store *s, int slot, float *w, uint64_t seed, tn_error *err);
/** DoRA's magnitudes from the stored base and adapters. */
int tn_adapt_magnitudes(tn_store *s, tn_error *err);
/** Says what was quantised, skipped and not divisible, with the names of the latter two. */
void tn_store_report(const tn_store *s, const tn_log *log);
int tn_store_zero_grad(tn_store *s, tn_error *err);
int tn_group_index(tn_group g);
#endif
