/* Encoding: frames into a container of any name, with the source's sound beside them. */
#include "text.h"
#include "video_av.h"
#include "video_sound.h"

#include <libavutil/opt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tn_video_out {
    char *path, *tmp;
    AVFormatContext *file;
    AVStream *stream; /* of file */
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    struct SwsContext *scale;
    tn_video_sound *sound;  /* NULL: none */
    AVRational base;        /* the source's */
    int64_t last_pts, step; /* in ticks of the encoder */
};

/* ---- opening ---- */

/* Of what is shown as it was stored: large pictures as high definition has it, small ones as television had it. */
static enum AVColorSpace out_colours(int height)
{
    return height >= 720 ? AVCOL_SPC_BT709 : AVCOL_SPC_SMPTE170M;
}

static void out_settings(AVCodecContext *c, const tn_video_info *i, bool x264)
{
    const AVRational rate = i->rate.num > 0 ? (AVRational){i->rate.num, i->rate.den} : (AVRational){25, 1};
    c->width = i->width;
    c->height = i->height;
    c->framerate = rate;
    c->time_base = (AVRational){i->base.num, i->base.den};
    if (!x264 && c->time_base.den > 65535) c->time_base = (AVRational){1, 60000}; /* MPEG-4 counts no finer than 16 bits */
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

static int out_encoder(tn_video_out *o, const tn_video_in *in, tn_error *err)
{
    const AVCodec *x264 = avcodec_find_encoder_by_name("libx264");
    if (x264 && avformat_query_codec(o->file->oformat, AV_CODEC_ID_H264, FF_COMPLIANCE_NORMAL) != 1) x264 = NULL;
    const AVCodec *c = x264 ? x264 : avcodec_find_encoder(AV_CODEC_ID_MPEG4);
    if (!c || avformat_query_codec(o->file->oformat, c->id, FF_COMPLIANCE_NORMAL) != 1)
        return tn_fail(err, TN_ERR_ARGUMENT,
                       "'%s': neither H.264 nor MPEG-4 video goes into this kind of file: name a .mp4 or .mkv", o->path);
    o->codec = avcodec_alloc_context3(c);
    if (!o->codec) return tn_oom(err);
    out_settings(o->codec, &in->info, x264 != NULL);
    if (o->file->oformat->flags & AVFMT_GLOBALHEADER) o->codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    const int rc = avcodec_open2(o->codec, c, NULL);
    return rc < 0 ? tn_video_fail(err, "cannot encode the video of", o->path, rc) : 0;
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
    o->stream = avformat_new_stream(o->file, NULL);
    if (!o->stream || avcodec_parameters_from_context(o->stream->codecpar, o->codec) < 0) return tn_oom(err);
    o->stream->time_base = o->codec->time_base;
    o->stream->avg_frame_rate = o->stream->r_frame_rate = o->codec->framerate;
    o->stream->sample_aspect_ratio = o->codec->sample_aspect_ratio;
    av_dict_copy(&o->file->metadata, in->file->metadata, 0);
    return out_rotation(o->stream, in->stream, err);
}

static int out_begin(tn_video_out *o, tn_error *err)
{
    int rc = avio_open(&o->file->pb, o->tmp, AVIO_FLAG_WRITE);
    if (rc < 0) return tn_video_fail(err, "cannot write", o->path, rc);
    rc = avformat_write_header(o->file, NULL);
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

static int out_open(tn_video_out *o, const tn_video_in *in, const tn_log *log, tn_error *err)
{
    if (avformat_alloc_output_context2(&o->file, NULL, NULL, o->path) < 0)
        return tn_fail(err, TN_ERR_ARGUMENT, "'%s': the name does not end as a kind of video file; name a .mp4 or .mkv", o->path);
    o->base = (AVRational){in->info.base.num, in->info.base.den};
    o->last_pts = AV_NOPTS_VALUE;
    TN_TRY(out_encoder(o, in, err));
    o->step = TN_MAX(av_rescale_q(in->step, o->base, o->codec->time_base), 1);
    TN_TRY(out_stream(o, in, err));
    TN_TRY(tn_video_sound_open(&o->sound, in->path, o->file, log, err));
    return out_begin(o, err);
}

int tn_video_out_open(tn_video_out **out, const char *path, const tn_video_in *in, const tn_log *log, tn_error *err)
{
    *out = NULL;
    tn_video_out *o = calloc(1, sizeof *o);
    if (!o) return tn_oom(err);
    o->path = strdup(path);
    o->tmp = tn_strf("%s.tmp.%ld", path, (long)getpid());
    int rc = o->path && o->tmp ? out_open(o, in, log, err) : tn_oom(err);
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

int tn_video_out_frame(tn_video_out *o, const tn_video_frame *f, tn_error *err)
{
    int64_t pts = av_rescale_q(f->pts, o->base, o->codec->time_base);
    if (o->last_pts != AV_NOPTS_VALUE && pts <= o->last_pts) pts = o->last_pts + 1;
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
    return tn_video_sound_until(o->sound, av_rescale_q(pts, o->codec->time_base, AV_TIME_BASE_Q), err);
}

static int out_finish(tn_video_out *o, tn_error *err)
{
    avcodec_send_frame(o->codec, NULL);
    TN_TRY(out_packets(o, err));
    const int64_t end = o->last_pts == AV_NOPTS_VALUE ? 0 : o->last_pts + o->step;
    TN_TRY(tn_video_sound_until(o->sound, av_rescale_q(end, o->codec->time_base, AV_TIME_BASE_Q), err));
    int rc = av_write_trailer(o->file);
    const int closed = avio_closep(&o->file->pb);
    if (rc >= 0) rc = closed;
    if (rc < 0) return tn_video_fail(err, "cannot write", o->path, rc);
    if (rename(o->tmp, o->path)) return tn_fail(err, TN_ERR_IO, "cannot rename '%s' to '%s'", o->tmp, o->path);
    return 0;
}

int tn_video_out_finish(tn_video_out *o, tn_error *err)
{
    const int rc = o ? out_finish(o, err) : 0;
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
    free(o->path);
    free(o->tmp);
    free(o);
}
