/** The pictures that a prediction is asked for. */
#ifndef TN_COLLECT_H
#define TN_COLLECT_H
#include "text.h"
#include <tracknet/train.h>

/** Files as given; a folder gives its pictures in natural order, without those that an earlier prediction left there when it is
 * p->outdir or lies in it. It is an error when nothing is left. */
int tn_collect_images(tn_strs *out, const tn_predict_options *p, const tn_log *log, tn_error *err);
#endif
