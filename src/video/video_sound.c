/* A second reader of the source: the first one is ahead, and what it passed would have to be kept. */
#include "video_sound.h"
#include "log.h"

#include <stdlib.h>

struct tn_video_sound {
    AVFormatContext *from, *to;
    AVPacket *packet;
    int *streams; /* [from's] of to, or -1 */
    bool held;    /* packet is one that begins later */
    bool end;
};

static int sound_add(tn_video_sound *s, unsigned i, const tn_log *log, tn_error *err)
{
    AVStream *a = s->from->streams[i];
    s->streams[i] = -1;
    a->discard = AVDISCARD_ALL;
    if (a->codecpar->codec_type != AVMEDIA_TYPE_AUDIO) return 0;
    if (avformat_query_codec(s->to->oformat, a->codecpar->codec_id, FF_COMPLIANCE_NORMAL) != 1) {
        tn_logf(log, TN_LOG_WARN, "the sound (%s) has no place in '%s' and is left out; .mkv takes it",
                avcodec_get_name(a->codecpar->codec_id), s->to->url);
        return 0;
    }
    AVStream *b = avformat_new_stream(s->to, NULL);
    if (!b || avcodec_parameters_copy(b->codecpar, a->codecpar) < 0) return tn_oom(err);
    b->codecpar->codec_tag = 0; /* another container's word for it */
    b->time_base = a->time_base;
    av_dict_copy(&b->metadata, a->metadata, 0);
    a->discard = AVDISCARD_DEFAULT;
    s->streams[i] = b->index;
    return 1;
}

static int sound_open(tn_video_sound *s, const char *path, const tn_log *log, int *copied, tn_error *err)
{
    int rc = avformat_open_input(&s->from, path, NULL, NULL);
    if (rc >= 0) rc = avformat_find_stream_info(s->from, NULL);
    if (rc < 0) return tn_video_fail(err, "cannot read the sound of", path, rc);
    s->streams = malloc(sizeof *s->streams * (s->from->nb_streams + 1));
    s->packet = av_packet_alloc();
    if (!s->streams || !s->packet) return tn_oom(err);
    for (unsigned i = 0; i < s->from->nb_streams; i++) {
        rc = sound_add(s, i, log, err);
        if (rc < 0) return rc;
        *copied += rc;
    }
    return 0;
}

int tn_video_sound_open(tn_video_sound **out, const char *path, AVFormatContext *to, const tn_log *log, tn_error *err)
{
    int copied = 0;
    *out = NULL;
    tn_video_sound *s = calloc(1, sizeof *s);
    if (!s) return tn_oom(err);
    s->to = to;
    int rc = sound_open(s, path, log, &copied, err);
    if (rc || !copied) tn_video_sound_close(s);
    else *out = s;
    return rc;
}

int tn_video_sound_until(tn_video_sound *s, int64_t time, tn_error *err)
{
    while (s && !s->end) {
        if (!s->held && av_read_frame(s->from, s->packet) < 0) { /* the video's reader tells of damage */
            s->end = true;
            break;
        }
        s->held = false;
        AVStream *a = s->from->streams[s->packet->stream_index];
        const int to = s->streams[s->packet->stream_index];
        const int64_t at = s->packet->dts != AV_NOPTS_VALUE ? s->packet->dts : s->packet->pts;
        if (to < 0 || at == AV_NOPTS_VALUE) {
            av_packet_unref(s->packet);
            continue;
        }
        if (av_rescale_q(at, a->time_base, AV_TIME_BASE_Q) >= time) return s->held = true, 0;
        av_packet_rescale_ts(s->packet, a->time_base, s->to->streams[to]->time_base);
        s->packet->stream_index = to;
        s->packet->pos = -1;
        const int rc = av_interleaved_write_frame(s->to, s->packet);
        if (rc < 0) return tn_video_fail(err, "cannot write the sound into", s->to->url, rc);
    }
    return 0;
}

void tn_video_sound_close(tn_video_sound *s)
{
    if (!s) return;
    av_packet_free(&s->packet);
    avformat_close_input(&s->from);
    free(s->streams);
    free(s);
}
