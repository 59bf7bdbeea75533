/* Decoding: whatever libavformat opens, one RGB frame after another. */
#include "text.h"
#include "video_av.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int tn_video_fail(tn_error *err, const char *what, const char *path, int code)
{
    char words[AV_ERROR_MAX_STRING_SIZE] = "";
    if (code == AVERROR(ENOMEM)) return tn_oom(err);
    av_strerror(code, words, sizeof words);
    return tn_fail(err, TN_ERR_IO, "%s '%s': %s", what, path, words);
}

/* ---- opening ---- */

static int video_open_codec(tn_video_in *v, tn_error *err)
{
    const AVCodecParameters *p = v->stream->codecpar;
    const AVCodec *c = avcodec_find_decoder(p->codec_id);
    if (!c) return tn_fail(err, TN_ERR_FORMAT, "'%s': this FFmpeg cannot decode %s", v->path, avcodec_get_name(p->codec_id));
    v->codec = avcodec_alloc_context3(c);
    if (!v->codec) return tn_oom(err);
    int rc = avcodec_parameters_to_context(v->codec, p);
    v->codec->pkt_timebase = v->stream->time_base;
    v->codec->thread_count = 0;
    if (rc >= 0) rc = avcodec_open2(v->codec, c, NULL);
    if (rc < 0) return tn_video_fail(err, "cannot decode the video of", v->path, rc);
    if (p->width < 1 || p->height < 1 || (int64_t)p->width * p->height > 1 << 28)
        return tn_fail(err, TN_ERR_FORMAT, "'%s': frames of %d x %d pixels", v->path, p->width, p->height);
    return 0;
}

static long long video_expected(const tn_video_in *v)
{
    const AVStream *s = v->stream;
    if (s->nb_frames > 0) return s->nb_frames;
    const double rate = av_q2d(s->avg_frame_rate);
    const double seconds = s->duration != AV_NOPTS_VALUE         ? (double)s->duration * av_q2d(s->time_base)
                           : v->file->duration != AV_NOPTS_VALUE ? (double)v->file->duration / AV_TIME_BASE
                                                                 : 0;
    const double n = rate * seconds;
    return n > 0 && n < 1e12 ? llround(n) : 0;
}

static void video_describe(tn_video_in *v)
{
    const AVStream *s = v->stream;
    const AVRational rate = s->avg_frame_rate.num > 0 ? s->avg_frame_rate : s->r_frame_rate;
    v->info = (tn_video_info){.width = s->codecpar->width,
                              .height = s->codecpar->height,
                              .base = {s->time_base.num, s->time_base.den},
                              .rate = {rate.num, rate.den ? rate.den : 1},
                              .pixel = {s->codecpar->sample_aspect_ratio.num, s->codecpar->sample_aspect_ratio.den},
                              .frames = video_expected(v)};
    v->step = rate.num > 0 ? av_rescale_q(1, av_inv_q(rate), s->time_base) : 1;
    if (v->step < 1) v->step = 1;
}

static int video_open(tn_video_in *v, tn_error *err)
{
    int rc = avformat_open_input(&v->file, v->path, NULL, NULL);
    if (rc < 0) return tn_video_fail(err, "cannot open the video", v->path, rc);
    rc = avformat_find_stream_info(v->file, NULL);
    if (rc < 0) return tn_video_fail(err, "cannot read the video", v->path, rc);
    rc = av_find_best_stream(v->file, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (rc < 0) return tn_fail(err, TN_ERR_FORMAT, "'%s' holds no video", v->path);
    v->stream = v->file->streams[rc];
    for (unsigned i = 0; i < v->file->nb_streams; i++)
        if (v->file->streams[i] != v->stream) v->file->streams[i]->discard = AVDISCARD_ALL;
    TN_TRY(video_open_codec(v, err));
    video_describe(v);
    v->packet = av_packet_alloc();
    v->frame = av_frame_alloc();
    v->last_pts = AV_NOPTS_VALUE;
    return v->packet && v->frame ? 0 : tn_oom(err);
}

int tn_video_open(tn_video_in **out, const char *path, tn_error *err)
{
    *out = NULL;
    if (av_log_get_level() == AV_LOG_INFO) av_log_set_level(AV_LOG_QUIET);
    tn_video_in *v = calloc(1, sizeof *v);
    if (!v) return tn_oom(err);
    v->path = strdup(path);
    int rc = v->path ? video_open(v, err) : tn_oom(err);
    if (rc) tn_video_close(v);
    else *out = v;
    return rc;
}

void tn_video_close(tn_video_in *v)
{
    if (!v) return;
    sws_freeContext(v->scale);
    av_frame_free(&v->frame);
    av_packet_free(&v->packet);
    avcodec_free_context(&v->codec);
    avformat_close_input(&v->file);
    free(v->path);
    free(v);
}

const tn_video_info *tn_video_describe(const tn_video_in *v)
{
    return &v->info;
}

/* ---- reading ---- */

static double video_seconds(const tn_video_in *v, long long pts)
{
    const long long start = v->stream->start_time == AV_NOPTS_VALUE ? 0 : v->stream->start_time;
    return (double)(pts - start) * av_q2d(v->stream->time_base);
}

/* Whether the last frame lies well before the end that the header tells; sound may last a little longer than pictures. */
static bool video_missing(const tn_video_in *v, double *whole)
{
    const double tick = av_q2d(v->stream->time_base);
    if (v->file->duration == AV_NOPTS_VALUE || v->last_pts == AV_NOPTS_VALUE) return false;
    const double start = v->file->start_time == AV_NOPTS_VALUE ? 0 : (double)v->file->start_time / AV_TIME_BASE;
    *whole = (double)v->file->duration / AV_TIME_BASE;
    const double room = 0.02 * *whole + 3 * (double)v->step * tick + (v->file->nb_streams > 1 ? 0.25 : 0);
    return (double)(v->last_pts + v->step) * tick + room < start + *whole;
}

/* Whether frames are missing in between, where they come at an even rate. */
static bool video_gaps(const tn_video_in *v)
{
    const AVStream *s = v->stream;
    const bool even = s->avg_frame_rate.num > 0 && fabs(av_q2d(s->avg_frame_rate) / av_q2d(s->r_frame_rate) - 1) < 0.01;
    return even && v->file->nb_streams == 1 && v->frames + 2 + v->info.frames / 50 < v->info.frames;
}

/* A file that was cut off often just ends: then only its header knows better. */
static void video_note_end(tn_video_in *v)
{
    char words[AV_ERROR_MAX_STRING_SIZE] = "";
    double whole;
    tn_text t = {0};
    if (v->stopped != AVERROR_EOF) {
        av_strerror(v->stopped, words, sizeof words);
        tn_text_addf(&t, "reading stopped after frame %lld: %s", v->frames, words);
    } else if (v->stream->nb_frames > v->frames) {
        tn_text_addf(&t, "it ends after %lld of %lld frames", v->frames, (long long)v->stream->nb_frames);
    } else if (v->stream->nb_frames <= 0 && video_missing(v, &whole)) {
        tn_text_addf(&t, "it ends after frame %lld, before the %.1f s that its header tells of", v->frames, whole);
    } else if (v->stream->nb_frames <= 0 && video_gaps(v)) {
        tn_text_addf(&t, "%lld frames of about %lld are there", v->frames, v->info.frames);
    }
    if (v->broken) tn_text_addf(&t, "%s%lld packets or frames in it are damaged", t.len ? "; " : "", v->broken);
    if (t.s) snprintf(v->damage, sizeof v->damage, "%s", t.s);
    tn_text_free(&t);
}

const char *tn_video_damage(const tn_video_in *v)
{
    return v->at_end && v->damage[0] ? v->damage : NULL;
}

/* Hands the decoder its next packet. */
static void video_feed(tn_video_in *v)
{
    int rc;
    while ((rc = av_read_frame(v->file, v->packet)) >= 0 && v->packet->stream_index != v->stream->index) av_packet_unref(v->packet);
    if (rc < 0) {
        v->flushing = true;
        v->stopped = rc == AVERROR_EOF && v->file->pb && v->file->pb->error < 0 ? v->file->pb->error : rc;
        avcodec_send_packet(v->codec, NULL);
        return;
    }
    if (v->packet->flags & AV_PKT_FLAG_CORRUPT) v->broken++;
    if (avcodec_send_packet(v->codec, v->packet) < 0) v->broken++;
    av_packet_unref(v->packet);
}

static bool video_decode(tn_video_in *v)
{
    for (;;) {
        const int rc = avcodec_receive_frame(v->codec, v->frame);
        if (rc >= 0) break;
        if (rc == AVERROR(EAGAIN) && !v->flushing) {
            video_feed(v);
            continue;
        }
        if (rc != AVERROR_EOF && rc != AVERROR(EAGAIN) && ++v->broken < 1 << 20) continue;
        return false;
    }
    if (v->frame->decode_error_flags || (v->frame->flags & AV_FRAME_FLAG_CORRUPT)) v->broken++;
    return true;
}

static int video_rgb(tn_video_in *v, tn_video_frame *f, tn_error *err)
{
    const AVFrame *a = v->frame;
    const int w = v->info.width, h = v->info.height;
    v->scale = sws_getCachedContext(v->scale, a->width, a->height, a->format, w, h, AV_PIX_FMT_RGB24,
                                    SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, NULL, NULL, NULL);
    if (!v->scale) return tn_fail(err, TN_ERR_FORMAT, "'%s': frames of this pixel format cannot be made RGB", v->path);
    const int *of = sws_getCoefficients(a->colorspace == AVCOL_SPC_UNSPECIFIED ? SWS_CS_DEFAULT : (int)a->colorspace);
    sws_setColorspaceDetails(v->scale, of, a->color_range == AVCOL_RANGE_JPEG, sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, 1 << 16,
                             1 << 16);
    f->rgb = malloc(3 * (size_t)w * (size_t)h + 64); /* swscale may write a little past the end */
    if (!f->rgb) return tn_oom(err);
    uint8_t *to[4] = {f->rgb};
    const int stride[4] = {3 * w};
    sws_scale(v->scale, (const uint8_t *const *)a->data, a->linesize, 0, a->height, to, stride);
    return 0;
}

int tn_video_next(tn_video_in *v, tn_video_frame *f, bool *end, tn_error *err)
{
    *end = v->at_end || !video_decode(v);
    if (*end) {
        if (!v->at_end) video_note_end(v);
        v->at_end = true;
        return 0;
    }
    long long pts = v->frame->best_effort_timestamp;
    const bool first = v->last_pts == AV_NOPTS_VALUE;
    if (pts == AV_NOPTS_VALUE) pts = first ? 0 : v->last_pts + v->step;
    if (!first && pts <= v->last_pts) pts = v->last_pts + 1; /* no encoder takes a time twice */
    int rc = video_rgb(v, f, err);
    av_frame_unref(v->frame);
    if (rc) return rc;
    f->pts = v->last_pts = pts;
    f->seconds = video_seconds(v, pts);
    v->frames++;
    return 0;
}
