/** A video in; a table and a video out. */
#ifndef TN_PREDICT_VIDEO_H
#define TN_PREDICT_VIDEO_H
#include <tracknet/train.h>

/** tn_predict where p->video is given. o and p are checked. */
int tn_predict_video(const tn_config *c, const tn_run_options *o, const tn_predict_options *p, tn_error *err);
#endif
