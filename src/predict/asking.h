/** What an open model is asked: predictions that have begun, in order, and the frames before them. */
#ifndef TN_ASKING_H
#define TN_ASKING_H
#include "handle.h"

typedef struct tn_asking tn_asking;

int tn_asking_new(tn_asking **out, tn_engine *e, tn_error *err);
/** Waits for what has begun. NULL is allowed. */
void tn_asking_free(tn_asking *q);
/** Another clip begins: frames that come next have none before them. */
void tn_asking_restart(tn_asking *q);
/** As tn_handle_begin and tn_handle_end. Frames of what an error ended are as if they had not been seen. */
int tn_asking_begin(tn_asking *q, const tn_rgb *frames, int n, tn_error *err);
int tn_asking_end(tn_asking *q, tn_ball *balls, float *heat, tn_error *err);
#endif
