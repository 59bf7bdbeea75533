/* Decoding: whatever libavformat opens, one RGB frame after another. */
#include "text.h"
#include "video_av.h"

#include <libavutil/pixdesc.h>
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
    if (p->width == 0 && p->height == 0) /* no header names it, and no frame was found that does */
        return tn_fail(err, TN_ERR_FORMAT, "'%s': not one frame could be read of its video (%s)", v->path,
                       avcodec_get_name(p->codec_id));
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
    tn_video_times_begin(&v->times, v->file, s);
}

int tn_video_open_file(AVFormatContext **file, const char *path)
{
    char *url = tn_strf("file:%s", path); /* else what stands before a colon is taken for a protocol */
    int rc = url ? avformat_open_input(file, url, NULL, NULL) : AVERROR(ENOMEM);
    free(url);
    return rc < 0 ? rc : avformat_find_stream_info(*file, NULL);
}

static int video_open(tn_video_in *v, tn_error *err)
{
    int rc = tn_video_open_file(&v->file, v->path);
    if (rc < 0) return tn_video_fail(err, "cannot open the video", v->path, rc);
    rc = av_find_best_stream(v->file, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (rc < 0) return tn_fail(err, TN_ERR_FORMAT, "'%s' holds no video", v->path);
    v->stream = v->file->streams[rc];
    TN_TRY(video_open_codec(v, err));
    video_describe(v);
    v->packet = av_packet_alloc();
    v->frame = av_frame_alloc();
    v->last_pts = v->reached = AV_NOPTS_VALUE;
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
    return (double)(pts - v->first_pts) * av_q2d(v->stream->time_base);
}

/* Whether the file ends well before its header tells it does, with all its streams. */
static bool video_missing(const tn_video_in *v)
{
    const AVFormatContext *f = v->file;
    if (f->duration <= 0 || f->duration_estimation_method != AVFMT_DURATION_FROM_STREAM || v->reached == AV_NOPTS_VALUE)
        return false;
    const int64_t frame = av_rescale_q(v->times.step, v->stream->time_base, AV_TIME_BASE_Q);
    const int64_t room = f->duration / 50 + 3 * frame + (f->nb_streams > 1 ? AV_TIME_BASE / 4 : 0);
    /* a late start may be part of that length: where it is not, a cut of as much is not seen, and none is seen that is not */
    const int64_t start = f->start_time == AV_NOPTS_VALUE ? 0 : TN_MIN(f->start_time, 0);
    return v->reached - start + room < f->duration;
}

/* A file that was cut off often just ends: then only its header knows better. */
static void video_note_end(tn_video_in *v)
{
    char words[AV_ERROR_MAX_STRING_SIZE] = "";
    tn_text t = {0};
    if (v->stopped != AVERROR_EOF) {
        av_strerror(v->stopped, words, sizeof words);
        tn_text_addf(&t, "reading stopped after frame %lld: %s", v->frames, words);
    } else if (video_missing(v)) {
        tn_text_addf(&t, "it ends after frame %lld, before the %.1f s that its header tells of", v->frames,
                     (double)v->file->duration / AV_TIME_BASE);
    }
    if (v->lost) tn_text_addf(&t, "%sabout %lld frames are missing in it", t.len ? "; " : "", v->lost);
    if (v->broken) tn_text_addf(&t, "%s%lld packets or frames in it are damaged", t.len ? "; " : "", v->broken);
    if (t.s) snprintf(v->damage, sizeof v->damage, "%s", t.s);
    tn_text_free(&t);
}

int tn_video_joins(const tn_video_in *v)
{
    return v->at_end ? v->times.joins : 0;
}

const char *tn_video_damage(const tn_video_in *v)
{
    return v->at_end && v->damage[0] ? v->damage : NULL;
}

/* Matroska's reader skips what is no element of it and says nothing: but what it skipped lies between two packets. */
static void video_note_hole(tn_video_in *v)
{
    const AVPacket *p = v->packet;
    if (p->pos < 0 || strncmp(v->file->iformat->name, "matroska", 8) != 0) return;
    if (p->pos != v->pos && v->byte > 0 && p->pos > v->byte + 256) v->hole = true;
    v->byte = (p->pos == v->pos ? v->byte : p->pos) + p->size; /* several in one block have its place */
    v->pos = p->pos;
}

/* Frames that such a hole took: a pause in the times alone, or other bytes between frames, is none. */
static void video_note_lost(tn_video_in *v)
{
    const AVPacket *p = v->packet;
    const tn_video_times *t = &v->times;
    const long long at = p->dts != AV_NOPTS_VALUE ? p->dts : p->pts;
    if (v->hole && at != AV_NOPTS_VALUE && t->last != AV_NOPTS_VALUE && at > t->last + t->step + t->step / 2)
        v->lost += (at - t->last + t->step / 2) / t->step - 1;
    v->hole = false;
}

/* Reads on to the next packet of the video; of the others it matters how far they go. */
static int video_read(tn_video_in *v)
{
    for (;;) {
        const int rc = av_read_frame(v->file, v->packet);
        if (rc < 0) return rc;
        const AVPacket *p = v->packet;
        const AVStream *s = v->file->streams[p->stream_index];
        const int64_t at = p->pts != AV_NOPTS_VALUE ? p->pts : p->dts;
        if (at > -TN_VIDEO_FAR && at < TN_VIDEO_FAR) {
            const int64_t end = av_rescale_q(at + p->duration, s->time_base, AV_TIME_BASE_Q);
            v->reached = v->reached == AV_NOPTS_VALUE ? end : TN_MAX(v->reached, end);
        }
        video_note_hole(v);
        if (s == v->stream) return 0;
        av_packet_unref(v->packet);
    }
}

/* Hands the decoder its next packet. */
static void video_feed(tn_video_in *v)
{
    const int rc = video_read(v);
    if (rc < 0) {
        v->flushing = true;
        v->stopped = rc == AVERROR_EOF && v->file->pb && v->file->pb->error < 0 ? v->file->pb->error : rc;
        avcodec_send_packet(v->codec, NULL);
        return;
    }
    const int joins = v->times.joins;
    video_note_lost(v);
    tn_video_times_put(&v->times, v->packet);
    /* where recordings are joined the counters of a broadcast go on elsewhere too, which its reader takes for a loss just before */
    if (v->times.joins > joins && v->suspect) v->broken--;
    if (v->suspect) v->suspect--;
    if (v->packet->flags & AV_PKT_FLAG_CORRUPT) v->broken++, v->suspect = 3;
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

/* Grey pictures that say nothing use all their values, unlike coloured ones. */
static bool video_full_range(const AVFrame *a)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(a->format);
    if (a->color_range != AVCOL_RANGE_UNSPECIFIED) return a->color_range == AVCOL_RANGE_JPEG;
    return d && d->nb_components <= 2 && !(d->flags & (AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_RGB));
}

static int video_rgb(tn_video_in *v, tn_video_frame *f, tn_error *err)
{
    const AVFrame *a = v->frame;
    const int w = v->info.width, h = v->info.height;
    v->scale = sws_getCachedContext(v->scale, a->width, a->height, a->format, w, h, AV_PIX_FMT_RGB24,
                                    SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, NULL, NULL, NULL);
    if (!v->scale) return tn_fail(err, TN_ERR_FORMAT, "'%s': frames of this pixel format cannot be made RGB", v->path);
    const int full = video_full_range(a);
    const int *of = sws_getCoefficients(a->colorspace == AVCOL_SPC_UNSPECIFIED ? SWS_CS_DEFAULT : (int)a->colorspace);
    sws_setColorspaceDetails(v->scale, of, full, sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, 1 << 16, 1 << 16);
    const size_t n = 3 * (size_t)w * (size_t)h;
    f->rgb = malloc(n + 64); /* swscale may write a little past the end, and read there when the frame is encoded */
    if (!f->rgb) return tn_oom(err);
    memset(f->rgb + n, 0, 64);
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
    if (pts == AV_NOPTS_VALUE) pts = first ? 0 : v->last_pts + v->times.step;
    if (!first && pts <= v->last_pts) pts = v->last_pts + 1; /* no encoder takes a time twice */
    int rc = video_rgb(v, f, err);
    av_frame_unref(v->frame);
    if (rc) return rc;
    if (first) v->first_pts = pts;
    f->pts = v->last_pts = pts;
    f->seconds = video_seconds(v, pts);
    v->frames++;
    return 0;
}
