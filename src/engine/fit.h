/** What a run's choices take of the device, by the plan (memory.c), and the choices that fit (fit.c). */
#ifndef TN_FIT_H
#define TN_FIT_H
#include "engine.h"

/** A training run with this micro-batch and what the engine has chosen to keep, on all devices. Nothing is allocated. */
int tn_engine_memory(const tn_engine *e, int micro, tn_memory *m, tn_error *err);
/** The same of one member of the team. */
int tn_engine_member_memory(const tn_engine *e, const tn_member *who, int micro, tn_memory *m, tn_error *err);
/** A prediction of so many frames, with its loss, on a member of an engine that does not train. */
int tn_engine_pass_memory(const tn_engine *e, const tn_member *who, int frames, size_t *bytes, tn_error *err);
/** Bytes that the run may take of the member's device: the same as long as it is open. */
size_t tn_member_room(const tn_member *who);
/** Which layers' weights stream on a run that is about to begin (tn_member.window; the team's devices and division are there, its
 * stores are not), found by the plan of stores without memory. Training fails here where nothing fits. */
int tn_engine_choose(tn_engine *e, const tn_store_spec *spec, tn_error *err);
/** For training, once: where activations are kept and the plan has room, quantised matrices get unpacked copies beside them, and
 * the log says so; passes then do not unpack them each time. After weights were set. */
int tn_engine_unpack(tn_engine *e, int micro, tn_error *err);
#endif
