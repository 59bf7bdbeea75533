/**
 * TensorBoard's event files: protocol buffers (event.proto) in TensorFlow's record format, each record a length of 8 bytes, its
 * checksum, the bytes, their checksum, little endian; checksums are CRC-32C (Castagnoli), rotated and offset ("masked").
 */
#ifndef TN_EVENTS_H
#define TN_EVENTS_H
#include "fail.h"

typedef struct tn_events tn_events;

typedef struct tn_scalar {
    const char *tag; /* "train/loss"; borrowed for the call */
    double value;
} tn_scalar;

enum { TN_SCALARS = 32 }; /* most of one call */

/** A new file events.out.tfevents.TIME.HOST.PID in dir, which is made where it is missing. `step`: the run goes on after that many
 * steps, and readers drop what earlier files say of later ones. */
int tn_events_open(tn_events **out, const char *dir, long long step, tn_error *err);
/** One record. Values that are not finite are written as such. */
int tn_events_write(tn_events *e, long long step, const tn_scalar *v, int n, tn_error *err);
/** What was written can be read by others from then on. */
int tn_events_flush(tn_events *e, tn_error *err);
/** NULL is allowed. */
void tn_events_close(tn_events *e);
#endif
