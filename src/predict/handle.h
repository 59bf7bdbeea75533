/** The open model behind tn_model_handle, for this room. */
#ifndef TN_HANDLE_H
#define TN_HANDLE_H
#include "metrics.h"
#include <tracknet/model.h>

/** The progress function that the handle was opened with. */
const tn_watch *tn_handle_watch(const tn_model_handle *m);
/** Frames that one pass answers: what comes together is as good as a multiple of it. */
int tn_handle_answers(const tn_model_handle *m);

/**
 * tn_model_predict in two halves, so that the host brings and reads frames while the device works on others. Begins a prediction of
 * n frames, which are copied; at most TN_HANDLE_AHEAD may have begun and not ended. An error may end those before as well.
 */
int tn_handle_begin(tn_model_handle *m, const tn_rgb *frames, int n, tn_error *err);
/** Ends the oldest: balls [n], heat NULL or [n][heat_height][heat_width]. After an error nothing is under way. */
int tn_handle_end(tn_model_handle *m, tn_ball *balls, float *heat, tn_error *err);
enum { TN_HANDLE_AHEAD = 2 };
#endif
