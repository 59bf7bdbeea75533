/* What libavformat's tables say about a container is asked first; its own word is a header that it writes. */
#include "video_form.h"

#include <string.h>

bool tn_video_form_may(const AVOutputFormat *form, enum AVCodecID id)
{
    /* Formats of broadcasting and discs have no table; what they cannot name, players find by guess, and only these. */
    static const enum AVCodecID known[] = {AV_CODEC_ID_H264, AV_CODEC_ID_MPEG4, AV_CODEC_ID_MP2, AV_CODEC_ID_MP3, AV_CODEC_ID_AC3};
    static const enum AVCodecID named[] = {AV_CODEC_ID_AAC, AV_CODEC_ID_EAC3, AV_CODEC_ID_DTS, AV_CODEC_ID_OPUS};
    const int said = avformat_query_codec(form, id, FF_COMPLIANCE_EXPERIMENTAL);
    if (said >= 0) return said == 1;
    for (size_t i = 0; i < TN_COUNT(known); i++)
        if (id == known[i]) return true;
    for (size_t i = 0; i < TN_COUNT(named); i++)
        if (id == named[i]) return !strcmp(form->name, "mpegts");
    return false;
}

bool tn_video_form_is_even(const AVOutputFormat *form)
{
    return form->flags & AVFMT_NOTIMESTAMPS || !strcmp(form->name, "avi");
}

AVStream *tn_video_form_picture(AVFormatContext *to, const AVCodecContext *c)
{
    AVStream *s = avformat_new_stream(to, NULL);
    if (!s || avcodec_parameters_from_context(s->codecpar, c) < 0) return NULL;
    s->time_base = c->time_base;
    s->avg_frame_rate = s->r_frame_rate = c->framerate;
    s->sample_aspect_ratio = c->sample_aspect_ratio;
    return s;
}

AVStream *tn_video_form_sound(AVFormatContext *to, const AVStream *from)
{
    AVStream *s = avformat_new_stream(to, NULL);
    if (!s || avcodec_parameters_copy(s->codecpar, from->codecpar) < 0) return NULL;
    s->codecpar->codec_tag = 0; /* another container's word for it */
    s->time_base = from->time_base;
    av_dict_copy(&s->metadata, from->metadata, 0);
    return s;
}

int tn_video_form_try(const AVOutputFormat *form, const AVCodecContext *c, const AVStream *sound, int strict)
{
    AVFormatContext *f = NULL;
    uint8_t *written = NULL;
    int rc = avformat_alloc_output_context2(&f, form, NULL, NULL);
    if (rc >= 0 && (!tn_video_form_picture(f, c) || (sound && !tn_video_form_sound(f, sound)))) rc = AVERROR(ENOMEM);
    if (rc >= 0) rc = avio_open_dyn_buf(&f->pb);
    if (rc >= 0) {
        f->strict_std_compliance = strict;
        rc = avformat_write_header(f, NULL);
        avio_close_dyn_buf(f->pb, &written);
        f->pb = NULL;
    }
    av_free(written);
    avformat_free_context(f);
    return rc < 0 ? rc : 0;
}

/* The same of pictures; where there is no table, a header for some of usual size is tried. */
static bool form_shows(const AVOutputFormat *form, enum AVCodecID id)
{
    if (!tn_video_form_may(form, id)) return false;
    if (avformat_query_codec(form, id, FF_COMPLIANCE_EXPERIMENTAL) >= 0) return true;
    AVCodecContext *c = avcodec_alloc_context3(NULL);
    if (!c) return true; /* what memory is short of is said later */
    c->codec_type = AVMEDIA_TYPE_VIDEO;
    c->codec_id = id;
    c->width = 640, c->height = 360;
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    c->time_base = (AVRational){1, 25}, c->framerate = (AVRational){25, 1};
    const int rc = tn_video_form_try(form, c, NULL, FF_COMPLIANCE_NORMAL);
    avcodec_free_context(&c);
    return rc >= 0;
}

int tn_video_form(const AVOutputFormat **out, const char *path, tn_error *err)
{
    const AVOutputFormat *f = *out = av_guess_format(NULL, path, NULL);
    if (!f) return tn_fail(err, TN_ERR_ARGUMENT, "'%s': the name does not end as a kind of video file; name a .mp4 or .mkv", path);
    if (f->flags & (AVFMT_NOFILE | AVFMT_NEEDNUMBER)) /* it would open others, under names of its own */
        return tn_fail(err, TN_ERR_ARGUMENT, "'%s': what ends like this is not one video file; name a .mp4 or .mkv", path);
    if (!form_shows(f, AV_CODEC_ID_H264) && !form_shows(f, AV_CODEC_ID_MPEG4))
        return tn_fail(err, TN_ERR_ARGUMENT,
                       "'%s': neither H.264 nor MPEG-4 video goes into this kind of file: name a .mp4 or .mkv", path);
    return 0;
}
