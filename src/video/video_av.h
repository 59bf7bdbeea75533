/** What the files of this room share about libav. */
#ifndef TN_VIDEO_AV_H
#define TN_VIDEO_AV_H
#include "video_files.h"
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libswscale/swscale.h>

/** No stored time lies beyond it but by damage; AV_NOPTS_VALUE does. */
#define TN_VIDEO_FAR (1LL << 60)

/** One time line for a file whose stored times step back or leap, as those of joined recordings do (video_times.c). Readers that
 * hand over the same packets get the same answers. */
typedef struct tn_video_times {
    long long last, step;    /* the last packet's stored time; ticks between frames */
    long long shift, before; /* what is added to stored times; what was before the last join */
    long long end;           /* beyond it no time of the file lies; AV_NOPTS_VALUE: not known */
    long long leap;          /* so far ahead nothing comes by itself */
    long long late;          /* so far behind its decoding no frame is shown */
    bool by_dts;             /* the last time was a decoding time: those come in order */
    int joins;               /* places where the times went on elsewhere */
} tn_video_times;

/** For the video stream s of `file`. */
void tn_video_times_begin(tn_video_times *t, const AVFormatContext *file, const AVStream *s);
/** Shifts the times of s's next packet so that they go on one frame behind the last where they step back or leap. */
void tn_video_times_put(tn_video_times *t, AVPacket *p);
/** Opens `path`, of whatever name, and looks what is in it; 0 or libav's error, and *file to be closed either way. */
int tn_video_open_file(AVFormatContext **file, const char *path);

struct tn_video_in {
    char *path;
    AVFormatContext *file;
    AVStream *stream; /* of file */
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    struct SwsContext *scale;
    tn_video_info info;
    tn_video_times times;
    long long frames, first_pts, last_pts; /* handed out; of the first and the last of them */
    long long broken;                      /* packets and frames that did not decode whole */
    int64_t reached;       /* the latest end of a packet of any stream, in microseconds as stored; AV_NOPTS_VALUE: none */
    int suspect;           /* not 0: one of the last packets is counted there because the demuxer says so */
    int64_t pos, byte;     /* of the last packet of any stream: where it lies in the file; where it ends */
    bool hole;             /* bytes before this were skipped */
    long long lost;        /* frames that lay in such holes */
    bool flushing, at_end; /* no more packets; no more frames */
    int stopped;           /* why there are none: AVERROR_EOF or an error */
    char damage[512];
};

/** Fails with what was tried, the file and libav's own words. */
int tn_video_fail(tn_error *err, const char *what, const char *path, int code);
#endif
