/** What a run's choices take of the device, by the plan (memory.c), and the choices that fit (fit.c). */
#ifndef TN_FIT_H
#define TN_FIT_H
#include "engine.h"

/** A training run with this micro-batch and what the engine has chosen to keep. Nothing is allocated. */
int tn_engine_memory(const tn_engine *e, int micro, tn_memory *m, tn_error *err);
/** Bytes that the run may take. */
size_t tn_engine_room(const tn_engine *e);
#endif
