/** Which containers can be written, and what each of them takes. */
#ifndef TN_VIDEO_FORM_H
#define TN_VIDEO_FORM_H
#include "video_av.h"

/** The container that the name's ending stands for; fails, with what to name instead, where there is none that is one file and may
 * hold H.264 or MPEG-4. */
int tn_video_form(const AVOutputFormat **out, const char *path, tn_error *err);
/** Whether the container has room for a codec: false only where libavformat says it has not. */
bool tn_video_form_may(const AVOutputFormat *form, enum AVCodecID id);
/** Whether its frames have numbers and no times, so that they need one rate. */
bool tn_video_form_is_even(const AVOutputFormat *form);
/**
 * Writes a header to memory, of the video that c encodes and, where it is not NULL, that sound. Returns 0 or libav's error. What
 * needs *strict* to be FF_COMPLIANCE_EXPERIMENTAL is found out by another call.
 */
int tn_video_form_try(const AVOutputFormat *form, const AVCodecContext *c, const AVStream *sound, int strict);
/** A stream of `to` for c's frames; NULL: memory ran out. */
AVStream *tn_video_form_picture(AVFormatContext *to, const AVCodecContext *c);
/** A stream of `to` for the packets of `from`; NULL: memory ran out. */
AVStream *tn_video_form_sound(AVFormatContext *to, const AVStream *from);
/** Reads the file's packets once: the rate that its frames keep, of those that it names, or 0/1 where they keep none. */
int tn_video_even_rate(tn_ratio *rate, const tn_video_in *in, tn_error *err);
#endif
