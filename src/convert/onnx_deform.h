/** Deformable attention out of operations that ONNX has. */
#ifndef TN_ONNX_DEFORM_H
#define TN_ONNX_DEFORM_H
#include "onnx_model.h"
#include "operations.h"

/** value [B, N, width] and samples [B, N, 3*heads*levels*points] as tn_deform has them -> [B, N, width]. NULL without memory. */
const char *tn_onnx_deform(tn_onnx *o, const tn_attr_deform *a, int width, const char *value, const char *samples);
#endif
