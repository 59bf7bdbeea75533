#ifndef TN_EXPORT_H
#define TN_EXPORT_H
#include "engine.h"
#include <tracknet/convert.h>

/** The engine's model as ONNX, opset 17, float32, adapters merged; input [batch, 3 * frames, H, W], output [batch, heats, h, w]. */
int tn_export_onnx(tn_engine *e, const char *path, tn_error *err);
#endif
