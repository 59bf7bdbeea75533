/** The open model behind tn_model_handle, for this room. */
#ifndef TN_HANDLE_H
#define TN_HANDLE_H
#include "metrics.h"
#include <tracknet/model.h>

/** The progress function that the handle was opened with. */
const tn_watch *tn_handle_watch(const tn_model_handle *m);
/** Frames that one pass answers: what comes together is as good as a multiple of it. */
int tn_handle_answers(const tn_model_handle *m);
#endif
