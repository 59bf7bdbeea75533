/** The sound of a file, copied packet by packet beside a video that is made anew. */
#ifndef TN_VIDEO_SOUND_H
#define TN_VIDEO_SOUND_H
#include "video_av.h"

typedef struct tn_video_sound tn_video_sound;

/** What the sound goes into. */
typedef struct tn_sound_place {
    AVFormatContext *to;     /* its header is not yet written */
    const AVCodecContext *c; /* the pictures beside the sound */
    const char *path;        /* for messages */
    const tn_log *log;
} tn_sound_place;

/** Reads `in`'s file once more for its sound and adds its streams to the place; those that it cannot hold are left out with a
 * warning. *out is NULL when there is nothing to copy. */
int tn_video_sound_open(tn_video_sound **out, const tn_video_in *in, const tn_sound_place *place, tn_error *err);
/** Makes that time, in microseconds of the source's clock, the output's 0; sound before it is left out. */
void tn_video_sound_origin(tn_video_sound *s, int64_t time);
/** Writes what begins before that time, in microseconds of the source's clock. Packets that are damaged are left out and counted.
 * NULL: nothing to do. */
int tn_video_sound_until(tn_video_sound *s, int64_t time, tn_error *err);
/** Warns of packets that were left out, if any. NULL is fine, here and below. */
void tn_video_sound_tell(const tn_video_sound *s);
void tn_video_sound_close(tn_video_sound *s);
#endif
