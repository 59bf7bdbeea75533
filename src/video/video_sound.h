/** The sound of a file, copied packet by packet beside a video that is made anew. */
#ifndef TN_VIDEO_SOUND_H
#define TN_VIDEO_SOUND_H
#include "video_av.h"

typedef struct tn_video_sound tn_video_sound;
/** Reads `path` once more for its sound and adds its streams to `to`, before that's header is written; those that it cannot hold
 * are left out with a warning. *out is NULL when there is nothing to copy. */
int tn_video_sound_open(tn_video_sound **out, const char *path, AVFormatContext *to, const tn_log *log, tn_error *err);
/** Writes what begins before that time, in microseconds of the source's clock. NULL: nothing to do. */
int tn_video_sound_until(tn_video_sound *s, int64_t time, tn_error *err);
void tn_video_sound_close(tn_video_sound *s);
#endif
