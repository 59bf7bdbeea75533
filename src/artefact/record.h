/** run.json of a checkpoint: versions, the device, which kernels ran, and the threshold that validation chose. */
#ifndef TN_RECORD_H
#define TN_RECORD_H
#include "engine.h"
#include <jansson.h>

/** threshold: as tn_checkpoint_threshold reads it. */
int tn_record_write(const char *dir, const tn_engine *e, double threshold, tn_error *err);
/** The kernel variants that a checkpoint's run took, for tn_record_compare; NULL where it does not say. Caller: json_decref. */
json_t *tn_record_variants(const char *dir);
/** Says once where this run takes other variants than `before`: its numbers then differ in the last bits. */
void tn_record_compare(const json_t *before, const tn_engine *e);
#endif
