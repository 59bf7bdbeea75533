/* Encoding: frames into a container of any name, with the source's sound beside them. */
#include "folder.h"
#include "log.h"
#include "text.h"
#include "video_form.h"
#include "video_sound.h"

#include <errno.h>
#include <fcntl.h>
#include <libavutil/opt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct tn_video_out {
    char *path, *tmp, *url; /* url: tmp, as libav calls a file of any name */
    int fd;                 /* of tmp once it is there: the lock that says it is being written; -1: none */
    AVFormatContext *file;
    AVStream *stream; /* of file */
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    struct SwsContext *scale;
    tn_video_sound *sound;  /* NULL: none */
    AVRational base;        /* the source's */
    tn_ratio rate;          /* the source's; 0: not known */
    int64_t last_pts, step; /* in ticks of the encoder */
    int64_t first, end;     /* the first frame's time in the source's ticks; the last one's end in microseconds */
    bool even;              /* the container gives frames numbers, not times: a tick is a frame, the first is 0 */
    const tn_log *log;
};

/* ---- opening ---- */

/* Of what is shown as it was stored: large pictures as high definition has it, small ones as television had it. */
static enum AVColorSpace out_colours(int height)
{
    return height >= 720 ? AVCOL_SPC_BT709 : AVCOL_SPC_SMPTE170M;
}

static void out_settings(const tn_video_out *o, AVCodecContext *c, const tn_video_info *i, bool x264)
{
    const AVRational rate = o->rate.num > 0 ? (AVRational){o->rate.num, o->rate.den} : (AVRational){25, 1};
    c->width = i->width;
    c->height = i->height;
    c->framerate = rate;
    c->time_base = (AVRational){i->base.num, i->base.den};
    if (!x264 && c->time_base.den > 65535) c->time_base = (AVRational){1, 60000}; /* MPEG-4 counts no finer than 16 bits */
    if (o->even) {
        av_reduce(&c->time_base.num, &c->time_base.den, rate.den, rate.num, 65535);
        c->max_b_frames = 0; /* nor can it say in which order they are shown */
    }
    c->sample_aspect_ratio = (AVRational){i->pixel.num, i->pixel.den ? i->pixel.den : 1};
    c->pix_fmt = x264 && (i->width % 2 || i->height % 2) ? AV_PIX_FMT_YUV444P : AV_PIX_FMT_YUV420P;
    c->colorspace = out_colours(i->height);
    c->color_range = AVCOL_RANGE_MPEG;
    c->gop_size = 48;
    if (x264) {
        av_opt_set(c->priv_data, "preset", "veryfast", 0);
        av_opt_set(c->priv_data, "crf", "18", 0);
    } else {
        c->flags |= AV_CODEC_FLAG_QSCALE;
        c->global_quality = 3 * FF_QP2LAMBDA;
    }
}

/* The encoder, open, where the container takes what it makes; else *code says why not. */
static int out_encoder(tn_video_out *o, const AVCodec *c, const tn_video_in *in, int *code, tn_error *err)
{
    o->codec = avcodec_alloc_context3(c);
    if (!o->codec) return tn_oom(err);
    out_settings(o, o->codec, &in->info, c->id == AV_CODEC_ID_H264);
    if (o->file->oformat->flags & AVFMT_GLOBALHEADER) o->codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    *code = avcodec_open2(o->codec, c, NULL);
    if (*code >= 0) *code = tn_video_form_try(o->file->oformat, o->codec, NULL, FF_COMPLIANCE_NORMAL);
    if (*code < 0) avcodec_free_context(&o->codec);
    return 0;
}

static int out_choose(tn_video_out *o, const tn_video_in *in, tn_error *err)
{
    const AVCodec *const x264 = avcodec_find_encoder_by_name("libx264"), *const mpeg4 = avcodec_find_encoder(AV_CODEC_ID_MPEG4);
    /* without times, readers take H.264 for a frame late */
    const AVCodec *const all[] = {o->even ? mpeg4 : x264, o->even ? x264 : mpeg4};
    char words[AV_ERROR_MAX_STRING_SIZE] = "";
    int code = AVERROR_ENCODER_NOT_FOUND;
    for (size_t i = 0; i < TN_COUNT(all) && !o->codec; i++)
        if (all[i] && tn_video_form_may(o->file->oformat, all[i]->id)) TN_TRY(out_encoder(o, all[i], in, &code, err));
    if (o->codec) return 0;
    av_strerror(code, words, sizeof words);
    return tn_fail(err, TN_ERR_ARGUMENT, "'%s': this video cannot be written into this kind of file (%s): name a .mp4 or .mkv",
                   o->path, words);
}

/* Frames that only have numbers need a rate that holds. */
static int out_even(tn_video_out *o, const tn_video_in *in, tn_error *err)
{
    o->even = tn_video_form_is_even(o->file->oformat);
    if (!o->even) return 0;
    TN_TRY(tn_video_even_rate(&o->rate, in, err));
    if (o->rate.num > 0) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT,
                   "'%s' would hold frames at one rate, and those of '%s' do not keep one: name a .mp4 or .mkv", o->path, in->path);
}

/* A rotation that players apply stays one. */
static int out_rotation(AVStream *to, const AVStream *from, tn_error *err)
{
    size_t n;
    const uint8_t *matrix = av_stream_get_side_data(from, AV_PKT_DATA_DISPLAYMATRIX, &n);
    uint8_t *copy = matrix ? av_stream_new_side_data(to, AV_PKT_DATA_DISPLAYMATRIX, n) : NULL;
    if (matrix && !copy) return tn_oom(err);
    if (copy) memcpy(copy, matrix, n);
    return 0;
}

static int out_stream(tn_video_out *o, const tn_video_in *in, tn_error *err)
{
    o->stream = tn_video_form_picture(o->file, o->codec);
    if (!o->stream) return tn_oom(err);
    av_dict_copy(&o->file->metadata, in->file->metadata, 0);
    return out_rotation(o->stream, in->stream, err);
}

/* Takes the place of what a killed run left. */
static int out_create(tn_video_out *o, tn_error *err)
{
    char *dir = tn_parent_of(o->path);
    if (!dir) return tn_oom(err);
    tn_sweep(dir, tn_name_of(o->path));
    free(dir);
    const int rc = avio_open(&o->file->pb, o->url, AVIO_FLAG_WRITE);
    if (rc < 0) return tn_video_fail(err, "cannot write", o->path, rc);
    o->fd = open(o->tmp, O_RDONLY | O_CLOEXEC);
    if (o->fd >= 0) (void)flock(o->fd, LOCK_EX | LOCK_NB);
    return 0;
}

static int out_begin(tn_video_out *o, tn_error *err)
{
    TN_TRY(out_create(o, err));
    const int rc = avformat_write_header(o->file, NULL);
    if (rc < 0) return tn_video_fail(err, "cannot write", o->path, rc);
    o->packet = av_packet_alloc();
    o->frame = av_frame_alloc();
    if (!o->packet || !o->frame) return tn_oom(err);
    o->scale = sws_getContext(o->codec->width, o->codec->height, AV_PIX_FMT_RGB24, o->codec->width, o->codec->height,
                              o->codec->pix_fmt, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP, NULL, NULL, NULL);
    if (!o->scale) return tn_oom(err);
    sws_setColorspaceDetails(o->scale, sws_getCoefficients(SWS_CS_DEFAULT), 1, sws_getCoefficients((int)o->codec->colorspace), 0, 0,
                             1 << 16, 1 << 16);
    return 0;
}

static int out_open(tn_video_out *o, const tn_video_in *in, tn_error *err)
{
    const AVOutputFormat *form;
    TN_TRY(tn_video_form(&form, o->path, err));
    if (avformat_alloc_output_context2(&o->file, form, NULL, o->url) < 0) return tn_oom(err);
    TN_TRY(out_even(o, in, err));
    TN_TRY(out_choose(o, in, err));
    o->step = TN_MAX(av_rescale_q(in->times.step, o->base, o->codec->time_base), 1);
    TN_TRY(out_stream(o, in, err));
    const tn_sound_place place = {o->file, o->codec, o->path, o->log};
    TN_TRY(tn_video_sound_open(&o->sound, in, &place, err));
    return out_begin(o, err);
}

int tn_video_out_check(const char *path, tn_error *err)
{
    const AVOutputFormat *form;
    return tn_video_form(&form, path, err);
}

int tn_video_out_open(tn_video_out **out, const char *path, const tn_video_in *in, const tn_log *log, tn_error *err)
{
    *out = NULL;
    tn_video_out *o = calloc(1, sizeof *o);
    if (!o) return tn_oom(err);
    *o = (tn_video_out){.path = strdup(path), .fd = -1, .last_pts = AV_NOPTS_VALUE, .log = log};
    o->rate = in->info.rate;
    o->base = (AVRational){in->info.base.num, in->info.base.den};
    o->tmp = tn_strf("%s.tmp.%ld", path, (long)getpid());
    o->url = o->tmp ? tn_strf("file:%s", o->tmp) : NULL; /* else what stands before a colon is taken for a protocol */
    int rc = o->path && o->url ? out_open(o, in, err) : tn_oom(err);
    if (rc) tn_video_out_drop(o);
    else *out = o;
    return rc;
}

/* ---- writing ---- */

static int out_packets(tn_video_out *o, tn_error *err)
{
    for (;;) {
        int rc = avcodec_receive_packet(o->codec, o->packet);
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF) return 0;
        if (rc >= 0) {
            if (!o->packet->duration) o->packet->duration = o->step;
            av_packet_rescale_ts(o->packet, o->codec->time_base, o->stream->time_base);
            o->packet->stream_index = o->stream->index;
            rc = av_interleaved_write_frame(o->file, o->packet);
        }
        if (rc < 0) return tn_video_fail(err, "cannot write", o->path, rc);
    }
}

/* The frame's time in the encoder's ticks. */
static int64_t out_time(tn_video_out *o, const tn_video_frame *f)
{
    const bool first = o->last_pts == AV_NOPTS_VALUE;
    if (first) o->first = f->pts;
    if (first && o->even) tn_video_sound_origin(o->sound, av_rescale_q(f->pts, o->base, AV_TIME_BASE_Q));
    o->end = av_rescale_q(f->pts, o->base, AV_TIME_BASE_Q) + av_rescale_q(o->step, o->codec->time_base, AV_TIME_BASE_Q);
    const int64_t from = o->even ? f->pts - o->first : f->pts;
    int64_t at = av_rescale_q(from, o->base, o->codec->time_base);
    if (!first && at <= o->last_pts) at = o->last_pts + 1;
    return at;
}

int tn_video_out_frame(tn_video_out *o, const tn_video_frame *f, tn_error *err)
{
    const int64_t pts = out_time(o, f);
    av_frame_unref(o->frame);
    o->frame->format = o->codec->pix_fmt;
    o->frame->width = o->codec->width;
    o->frame->height = o->codec->height;
    o->frame->pts = o->last_pts = pts;
    if (av_frame_get_buffer(o->frame, 0) < 0) return tn_oom(err);
    const uint8_t *const from[4] = {f->rgb};
    const int stride[4] = {3 * o->codec->width};
    sws_scale(o->scale, from, stride, 0, o->codec->height, o->frame->data, o->frame->linesize);
    const int rc = avcodec_send_frame(o->codec, o->frame);
    if (rc < 0) return tn_video_fail(err, "cannot encode a frame of", o->path, rc);
    TN_TRY(out_packets(o, err));
    return tn_video_sound_until(o->sound, av_rescale_q(f->pts, o->base, AV_TIME_BASE_Q), err);
}

/* On the disk before it has its name. */
static int out_place(tn_video_out *o, tn_error *err)
{
    if (o->fd >= 0 && fsync(o->fd)) return tn_fail(err, TN_ERR_IO, "cannot write '%s': %s", o->path, strerror(errno));
    if (!rename(o->tmp, o->path)) return 0;
    return tn_fail(err, TN_ERR_IO, "cannot rename '%s' to '%s': %s", o->tmp, o->path, strerror(errno));
}

static int out_finish(tn_video_out *o, bool whole, tn_error *err)
{
    avcodec_send_frame(o->codec, NULL);
    TN_TRY(out_packets(o, err));
    TN_TRY(tn_video_sound_until(o->sound, whole ? INT64_MAX : o->end, err));
    int rc = av_write_trailer(o->file);
    const int closed = avio_closep(&o->file->pb);
    if (rc >= 0) rc = closed;
    if (rc < 0) return tn_video_fail(err, "cannot write", o->path, rc);
    TN_TRY(out_place(o, err));
    tn_video_sound_tell(o->sound);
    return 0;
}

int tn_video_out_finish(tn_video_out *o, bool whole, tn_error *err)
{
    const int rc = o ? out_finish(o, whole, err) : 0;
    tn_video_out_drop(o);
    return rc;
}

void tn_video_out_drop(tn_video_out *o)
{
    if (!o) return;
    tn_video_sound_close(o->sound);
    sws_freeContext(o->scale);
    av_frame_free(&o->frame);
    av_packet_free(&o->packet);
    avcodec_free_context(&o->codec);
    if (o->file && o->file->pb) avio_closep(&o->file->pb);
    avformat_free_context(o->file);
    if (o->tmp) unlink(o->tmp);
    if (o->fd >= 0) close(o->fd);
    free(o->path);
    free(o->url);
    free(o->tmp);
    free(o);
}
