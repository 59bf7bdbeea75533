/** An ONNX graph under construction: nodes, initializers and the file, over protobuf-c. */
#ifndef TN_ONNX_MODEL_H
#define TN_ONNX_MODEL_H
#include "fail.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tn_onnx tn_onnx;
tn_onnx *tn_onnx_new(void);
void tn_onnx_free(tn_onnx *o);
/** A float32 or int64 constant; values are copied. Returns its name. */
const char *tn_onnx_floats(tn_onnx *o, const char *stem, const float *v, int n_dims, const int64_t *dims);
const char *tn_onnx_ints(tn_onnx *o, const char *stem, const int64_t *v, int n);
/** A node with up to 4 inputs (NULL ends them) and one output, which is named and returned. */
const char *tn_onnx_node(tn_onnx *o, const char *op, const char *a, const char *b, const char *c, const char *d);
/** A further input of the node made last. */
void tn_onnx_input(tn_onnx *o, const char *name);
/** Nodes that are wanted often: x as another shape, its axes in another order, entries [from, to) along an axis, several joined. */
const char *tn_onnx_reshape(tn_onnx *o, const char *x, int n, const int64_t *shape);
const char *tn_onnx_transpose(tn_onnx *o, const char *x, int n, const int64_t *perm);
const char *tn_onnx_slice(tn_onnx *o, const char *x, int64_t axis, int64_t from, int64_t to);
const char *tn_onnx_concat(tn_onnx *o, const char *const *x, int n, int64_t axis);
/** Gives the output `from` of some node another name. */
void tn_onnx_rename(tn_onnx *o, const char *from, const char *to);
/** Attributes of, and further outputs for, the node made last. */
void tn_onnx_int(tn_onnx *o, const char *name, int64_t v);
void tn_onnx_float(tn_onnx *o, const char *name, float v);
void tn_onnx_string(tn_onnx *o, const char *name, const char *v);
void tn_onnx_list(tn_onnx *o, const char *name, const int64_t *v, int n);
/** Graph input or output; dims of -1 are the batch. */
void tn_onnx_port(tn_onnx *o, bool input, const char *name, int n_dims, const int64_t *dims);
void tn_onnx_property(tn_onnx *o, const char *key, const char *value);
/** Writes the model (opset 17) beside its place and renames it. A memory failure anywhere before comes out here. */
int tn_onnx_write(tn_onnx *o, const char *path, tn_error *err);
#endif
