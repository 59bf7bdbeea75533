/** Video files through FFmpeg's libraries: frames in, frames with the source's sound out. */
#ifndef TN_VIDEO_FILES_H
#define TN_VIDEO_FILES_H
#include "fail.h"
#include <stdbool.h>
#include <stdint.h>
#include <tracknet/log.h>

typedef struct tn_video_frame {
    uint8_t *rgb;   /* [height][width][3], owned by whom the frame was given to; freed with free() */
    long long pts;  /* in the source's time base; grows from frame to frame */
    double seconds; /* the same */
} tn_video_frame;

/** A ratio of two integers: seconds of a tick, frames a second. */
typedef struct tn_ratio {
    int num, den;
} tn_ratio;

typedef struct tn_video_info {
    int width, height;   /* as stored: a rotation that the file asks players for is not applied */
    tn_ratio base, rate; /* time base; frames a second on average (0/1: not known) */
    tn_ratio pixel;      /* shape of a pixel, 0/1: not known */
    long long frames;    /* as the file says or its length lets expect; 0: not known */
} tn_video_info;

typedef struct tn_video_in tn_video_in;

/** Opens the file's best video stream. Sets libavutil's log level to quiet where the program left its default, since a library
 * does not print. Close with tn_video_close. */
int tn_video_open(tn_video_in **out, const char *path, tn_error *err);
void tn_video_close(tn_video_in *v);
const tn_video_info *tn_video_describe(const tn_video_in *v);
/**
 * The next frame as 8-bit RGB, or *end. Frames whose size differs from the first one's are scaled to that. Damage is no error: what
 * can be read is handed out, and tn_video_damage tells of the rest.
 */
int tn_video_next(tn_video_in *v, tn_video_frame *f, bool *end, tn_error *err);
/** After the end: what was wrong with the file, in words, or NULL. */
const char *tn_video_damage(const tn_video_in *v);
/** After the end: how often the file's times stepped back or leapt, as in joined recordings; what came then follows one frame
 * behind what was before. */
int tn_video_joins(const tn_video_in *v);

/** Frames decoded ahead by a thread of its own, at most `depth` of them. */
typedef struct tn_video_ahead tn_video_ahead;
/** v stays the caller's, but belongs to the thread until tn_video_ahead_stop. */
int tn_video_ahead_start(tn_video_ahead **out, tn_video_in *v, int depth, tn_error *err);
/** As tn_video_next. */
int tn_video_ahead_next(tn_video_ahead *a, tn_video_frame *f, bool *end, tn_error *err);
/** Ends the thread wherever it is and frees what it had decoded. NULL is fine. */
void tn_video_ahead_stop(tn_video_ahead *a);

typedef struct tn_video_out tn_video_out;

/** Fails where the name's ending stands for no container that tn_video_out_open could write. Touches nothing. */
int tn_video_out_check(const char *path, tn_error *err);

/**
 * Writes `path`, whose ending names the container, with the frames' size, time base and rate of `in` and the audio packets of
 * its file as they are (left out with a warning where the container has no place for them). H.264 by libx264 where that is there,
 * else MPEG-4. A container that knows no times (.avi) has the first frame at 0 and wants an even rate. The file appears under its
 * name when tn_video_out_finish succeeds. log must stay until then.
 */
int tn_video_out_open(tn_video_out **out, const char *path, const tn_video_in *in, const tn_log *log, tn_error *err);
int tn_video_out_frame(tn_video_out *o, const tn_video_frame *f, tn_error *err);
/** All that was given is written, and the sound: all of it where the pictures are `whole`, else as long as they last. The output is
 * gone afterwards either way; NULL is fine. */
int tn_video_out_finish(tn_video_out *o, bool whole, tn_error *err);
/** Gives the output up: no file is left. NULL is fine. */
void tn_video_out_drop(tn_video_out *o);
#endif
