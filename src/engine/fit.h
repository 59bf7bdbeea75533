/** What a run's choices take of the device, by the plan (memory.c), and the choices that fit (fit.c). */
#ifndef TN_FIT_H
#define TN_FIT_H
#include "engine.h"

/** A training run with this micro-batch and what the engine has chosen to keep. Nothing is allocated. */
int tn_engine_memory(const tn_engine *e, int micro, tn_memory *m, tn_error *err);
/** A prediction of so many frames, with its loss, on an engine that does not train. */
int tn_engine_pass_memory(const tn_engine *e, int frames, size_t *bytes, tn_error *err);
/** Which layers' weights stream on a run that is about to begin (e->window; e->device and e->model are there, the session is not),
 * found by the plan of a store without memory. Training fails here where nothing fits. */
int tn_engine_choose(tn_engine *e, const tn_quant_spec *quant, bool optimiser, tn_error *err);
/** Bytes that the run may take. */
size_t tn_engine_room(const tn_engine *e);
#endif
