/** What the files of this room share about libav. */
#ifndef TN_VIDEO_AV_H
#define TN_VIDEO_AV_H
#include "video_files.h"
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libswscale/swscale.h>

struct tn_video_in {
    char *path;
    AVFormatContext *file;
    AVStream *stream; /* of file */
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    struct SwsContext *scale;
    tn_video_info info;
    long long frames, last_pts, step; /* handed out; of the last one; ticks between frames */
    long long broken;                 /* packets and frames that did not decode whole */
    bool flushing, at_end;            /* no more packets; no more frames */
    int stopped;                      /* why there are none: AVERROR_EOF or an error */
    char damage[512];
};

/** Fails with what was tried, the file and libav's own words. */
int tn_video_fail(tn_error *err, const char *what, const char *path, int code);
#endif
