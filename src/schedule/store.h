/**
 * A model's weights on one device. Trainable slots lie in one float32 arena (with arenas of the same layout for the
 * gradient and the optimiser's two moments), so that a step is a launch for a whole group; frozen ones stand alone,
 * as float32, half storage, or 4-bit blocks.
 */
#ifndef TN_STORE_H
#define TN_STORE_H
#include "packing.h"
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
    tn_tensor t;    /* dense, or the region of the parameter arena; with an offset: it lies behind the matrix before it */
    tn_tensor grad; /* parameters only */
    tn_qtensor q;
    tn_tensor
        merged;  /* dense, with the adapters in it (tn_store_merge), laid out as t (dense.h); rows 0: the matrix has no such copy */
    bool normed; /* a layer norm is taken into that copy: gamma is in its columns */
    tn_buffer *sums, *shift; /* of an operation's first matrix that is: for the rows of all of them, float32: the copies' sums, and
                              * bias and copy of beta */
    size_t off, bytes;       /* off: floats into the arena */
    tn_packed kept;          /* it, or its copy, and what lies behind it for the same product, as a product packs them */
    bool elsewhere;          /* another stage's store holds it; nothing is allocated here */
    size_t at;               /* bytes into its layer's block (stream.h) */
} tn_stored;

enum { TN_GROUPS = 3 }; /* head, LoRA, backbone: the arena's order */

/** Where a model lies on several devices there is a store for each stage; they are told apart by the slots that they hold.
 * tn_store_set, _get and their like take any slot with the first stage's store. */
typedef struct tn_store {
    tn_dev *dev;
    const tn_model *m;
    struct tn_store *next; /* the next stage's; borrowed */
    struct tn_store *twin; /* of the first stage's: that of the next replica, which is set to the same values; borrowed */
    tn_quant_spec quant;
    bool dry;    /* nothing is allocated: for plans */
    bool norms;  /* as in tn_store_spec */
    bool to_run; /* dry, but of a run that follows: shapes are worth measuring */
    tn_dtype act;
    tn_stored *s;
    tn_buffer *params, *grads, *moment1, *moment2;
    size_t n_params; /* floats, alignment gaps included */
    size_t group_off[TN_GROUPS], group_len[TN_GROUPS];
    size_t late_off;          /* where in LoRA's group its lora_B and vectors begin, which reach to its end */
    tn_buffer *shadow;        /* half storage, where activations have it: all that is trained, as products read it */
    struct tn_joined *joined; /* biases of several matrices in one vector */
    int n_joined;
    struct tn_stream *stream;         /* which of the frozen matrices pass through the device, and how (stream.h) */
    tn_buffer *tables;                /* of the quantised format; the first quantised slot's */
    size_t merged_bytes;              /* what the copies with adapters in them take, or would */
    bool has_merged, merged;          /* has_merged: they are allocated; merged: and hold what the slots do */
    bool keeps;                       /* products keep what they pack of matrices (tn_store_keep) */
    bool unpacked;                    /* they hold what frozen matrices do, without adapters: for passes that are not merged */
    size_t weight_bytes, float_bytes; /* frozen weights as stored, and as float32 */
    int generation;                   /* counts what makes a recorded pass stale */
    int n_quantised, n_skipped, n_indivisible; /* skipped: by name; indivisible: rows that blocks do not divide */
} tn_store;

/** What a store is made for. */
typedef struct tn_store_spec {
    const tn_quant_spec *quant; /* NULL: nothing is quantised */
    tn_dtype act;
    bool optimiser;   /* gradients and moments too */
    bool dry;         /* nothing is allocated */
    bool norms;       /* merged copies take layer norms in (tn_model_norm_of): for passes with `norms` */
    const bool *held; /* [m->n_slots]: the slots that this one holds; NULL: all */
    int window; /* the frozen matrices of the backbone's layers stream through a window of so many layers (2 or more); 0: none do */
} tn_store_spec;
int tn_store_new_of(tn_store **out, tn_dev *d, const tn_model *m, const tn_store_spec *spec, tn_error *err);
/** The same with every slot. */
int tn_store_new(tn_store **out, tn_dev *d, const tn_model *m, const tn_quant_spec *quant, tn_dtype act, bool optimiser, bool dry,
                 tn_error *err);
void tn_store_free(tn_store *s);
/** The store of s and those behind it that holds the slot. */
tn_store *tn_store_of(const tn_store *s, int slot);
/** Frozen weights of all stages, bytes as stored and as float32. */
void tn_store_weights(const tn_store *s, size_t *stored, size_t *as_float32);
/** Sets a slot from float32 values (quantising where the slot is stored so). */
int tn_store_set(tn_store *s, int slot, const float *values, tn_error *err);
/** Sets a slot that is stored quantised from a matrix of the same shape and format. */
int tn_store_set_packed(tn_store *s, int slot, const tn_qmatrix *q, tn_error *err);
/** Copies of the frozen matrices that are quantised, have adapters or take layer norms in: unpacked to the storage type, s B A (and
 * DoRA's norms) added and columns scaled by gamma in float32, rounded once. Passes with `merged` multiply with them. The slots stay
 * as they are; setting one makes the copies stale (s->merged), and another call fills them again. An optimiser's steps are not
 * noticed. */
int tn_store_merge(tn_store *s, tn_error *err);
/** The same copies without the adapters, of this store alone, for passes that would unpack the matrices each time. They are stale
 * when a matrix is set, or tn_store_merge takes their place. */
int tn_store_unpack(tn_store *s, tn_error *err);
/** Products of this store's dense matrices keep what they pack of them from their next passes on, until it is freed; in passes that
 * an optimiser follows they must not. Setting a matrix or its copy has them packed again. */
void tn_store_keep(tn_store *s);
/** The most that this takes. */
size_t tn_store_kept_bytes(const tn_store *s);
/** Where a product keeps the slot's matrix; NULL: it does not. */
tn_packed *tn_store_kept(tn_store *s, int slot);
/** What is kept is stale: matrices were set. */
void tn_store_changed(tn_store *s);
/** Reads a slot back as float32 (dequantised). */
int tn_store_get(tn_store *s, int slot, float *values, tn_error *err);
/** The optimiser's moments of a trained slot; NULL: as they are. */
int tn_store_set_moments(tn_store *s, int slot, const float *first, const float *second, tn_error *err);
/** Gradient of a trainable slot: of the passes since the last step of an optimiser, which leaves it zero. */
int tn_store_get_grad(tn_store *s, int slot, float *values, tn_error *err);
/** Says what was quantised, skipped and not divisible, with the names of the latter two. */
void tn_store_report(const tn_store *s, const tn_log *log);
int tn_store_zero_grad(tn_store *s, tn_error *err);
enum { TN_STORE_RANGES = 2 };
/** The arenas' part of group g (0 to TN_GROUPS - 1), for the optimiser; returns how many ranges it is (0: the group is empty).
 * ratio: of the learning rates of lora_B and of vectors in LoRA's group (biases, norms, DoRA's magnitudes) and of all else, as
 * LoRA+ has it (Hayou et al. 2024; peft's create_loraplus_optimizer). */
int tn_store_ranges(const tn_store *s, int g, float ratio, tn_optim_range ranges[TN_STORE_RANGES]);
/** A trained slot as products read it: its shadow where there is one. */
tn_tensor tn_store_operand(const tn_store *s, int slot);
/** Device memory of what is frozen: the matrices and vectors, their format's tables, and vectors that are joined. window: as if
 * so many of the layers' blocks were there at once; 0: all. */
size_t tn_store_weight_bytes(const tn_store *s, int window);
/** What the shadow takes; 0 where storage is float32 and there is none. */
size_t tn_store_shadow_bytes(const tn_store *s);
/** The frozen vectors of n slots (-1: zeros), cols[i] long, one behind the other in *out (borrowed; NULL where every slot is -1).
 * *can is false where one of them is trained: it changes, and *out would not. */
int tn_store_join(tn_store *s, const int *slots, const int *cols, int n, bool *can, tn_buffer **out, tn_error *err);
#endif
