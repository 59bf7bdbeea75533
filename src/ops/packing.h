/** Right operands of products that do not change from use to use, kept as a row packed them. */
#ifndef TN_PACKING_H
#define TN_PACKING_H
#include "ops.h"

/** A matrix in the form that a row multiplies. All zeros: nobody has packed it. Belongs to whoever has the matrix, who clears
 * `filled` when that changes (passes recorded before are stale then) and frees mem. */
typedef struct tn_packed {
    char form[48];         /* by which row, and what decides where an element lies */
    const tn_buffer *from; /* the matrix lies there, from element off on */
    size_t off;
    tn_buffer *mem; /* NULL: it was only planned */
    bool filled;
} tn_packed;

/** A packing under way. */
typedef struct tn_packing {
    tn_packed *keeps; /* NULL: P is in the workspace */
    tn_tape *tape;    /* what a packing that is kept is not recorded on: it happens once */
    bool needed;      /* false: P holds it already */
} tn_packing;

/** Gives P (its shape and type set) memory for B packed in this form: k's, or the workspace where k is NULL or has another form
 * or matrix. Launches up to tn_packing_end fill it; where none is needed neither function may be left out. */
int tn_packing_begin(tn_packing *p, tn_ctx *c, tn_packed *k, const char *form, const tn_tensor *B, tn_tensor *P, tn_error *err);
/** rc: of the launches; returns it. */
int tn_packing_end(tn_packing *p, tn_ctx *c, int rc);
/** The most that a row of the device keeps of B [N, K]; 0: no row of it keeps anything. */
size_t tn_packed_most(const tn_dev *d, const tn_tensor *B);
#endif
