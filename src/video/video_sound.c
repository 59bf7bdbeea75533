/* A second reader of the source: the first one is ahead, and what it passed would have to be kept. */
#include "video_sound.h"
#include "log.h"
#include "video_form.h"

#include <stdlib.h>
#include <string.h>

/* One stream of sound; times in its ticks. */
typedef struct sound_line {
    int to;          /* the output's stream, or -1 */
    int64_t raw;     /* the last packet's stored time; AV_NOPTS_VALUE: none yet */
    int64_t next;    /* where it goes on, as it is written */
    int64_t least;   /* no packet may begin before it */
    int64_t shift;   /* what is added to stored times */
    int64_t written; /* the last packet's time in the output's ticks; AV_NOPTS_VALUE: none yet */
    bool own;        /* by another measure than the pictures */
} sound_line;

struct tn_video_sound {
    AVFormatContext *from;
    tn_sound_place place;
    AVPacket *packet;
    sound_line *lines; /* [n], of from's streams */
    int n, picture;    /* which of them are the pictures */
    tn_video_times times;
    int64_t origin;        /* microseconds; AV_NOPTS_VALUE: times stay */
    long long left, taken; /* packets */
    bool held;             /* packet is one that begins later, its time is made */
    bool end;
};

/* ---- opening ---- */

static void sound_without(const tn_sound_place *p, const AVStream *a)
{
    const AVOutputFormat *mkv = av_guess_format("matroska", NULL, NULL);
    const bool better = mkv && mkv != p->to->oformat && tn_video_form_may(mkv, a->codecpar->codec_id) &&
                        !tn_video_form_try(mkv, p->c, a, FF_COMPLIANCE_NORMAL);
    tn_logf(p->log, TN_LOG_WARN, "the sound (%s) has no place in '%s' and is left out%s", avcodec_get_name(a->codecpar->codec_id),
            p->path, better ? "; .mkv takes it" : "");
}

/* Whether the container takes it; of young formats it wants to be asked with emphasis. */
static bool sound_fits(const tn_sound_place *p, const AVStream *a)
{
    const AVOutputFormat *f = p->to->oformat;
    if (!tn_video_form_may(f, a->codecpar->codec_id)) return false;
    if (!tn_video_form_try(f, p->c, a, FF_COMPLIANCE_NORMAL)) return true;
    if (tn_video_form_try(f, p->c, a, FF_COMPLIANCE_EXPERIMENTAL)) return false;
    p->to->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
    return true;
}

/* Seconds from the pictures' begin to the sound's. */
static double sound_late(const tn_video_sound *s, const AVStream *a)
{
    const AVStream *v = s->picture < s->n ? s->from->streams[s->picture] : a;
    if (v->start_time == AV_NOPTS_VALUE || a->start_time == AV_NOPTS_VALUE) return 0;
    return (double)a->start_time * av_q2d(a->time_base) - (double)v->start_time * av_q2d(v->time_base);
}

static int sound_add(tn_video_sound *s, int i, tn_error *err)
{
    AVStream *a = s->from->streams[i];
    s->lines[i] = (sound_line){.to = -1, .raw = AV_NOPTS_VALUE, .written = AV_NOPTS_VALUE};
    if (i != s->picture) a->discard = AVDISCARD_ALL;
    if (a->codecpar->codec_type != AVMEDIA_TYPE_AUDIO) return 0;
    if (!sound_fits(&s->place, a)) return sound_without(&s->place, a), 0;
    if (tn_video_form_is_even(s->place.to->oformat) && sound_late(s, a) > 0.25) {
        tn_logf(s->place.log, TN_LOG_WARN,
                "the sound begins %.1f s behind the pictures, which '%s' cannot say, and is left out; .mkv takes it",
                sound_late(s, a), s->place.path);
        return 0;
    }
    const AVStream *b = tn_video_form_sound(s->place.to, a);
    if (!b) return tn_oom(err);
    a->discard = AVDISCARD_DEFAULT;
    s->lines[i].to = b->index;
    return 0;
}

static int sound_open(tn_video_sound *s, const tn_video_in *in, tn_error *err)
{
    const int rc = tn_video_open_file(&s->from, in->path);
    if (rc < 0) return tn_video_fail(err, "cannot read the sound of", in->path, rc);
    s->n = (int)s->from->nb_streams;
    s->lines = malloc(sizeof *s->lines * (size_t)(s->n + 1));
    s->packet = av_packet_alloc();
    if (!s->lines || !s->packet) return tn_oom(err);
    for (int i = 0; i < s->n; i++) TN_TRY(sound_add(s, i, err));
    if (s->picture < s->n) tn_video_times_begin(&s->times, s->from, s->from->streams[s->picture]);
    return 0;
}

int tn_video_sound_open(tn_video_sound **out, const tn_video_in *in, const tn_sound_place *place, tn_error *err)
{
    *out = NULL;
    const unsigned before = place->to->nb_streams;
    tn_video_sound *s = calloc(1, sizeof *s);
    if (!s) return tn_oom(err);
    s->place = *place;
    s->picture = in->stream->index;
    s->origin = AV_NOPTS_VALUE;
    int rc = sound_open(s, in, err);
    if (rc || place->to->nb_streams == before) tn_video_sound_close(s);
    else *out = s;
    return rc;
}

void tn_video_sound_origin(tn_video_sound *s, int64_t time)
{
    if (s) s->origin = time;
}

/* ---- times ---- */

/* What is added to the stored time `raw`: as to the pictures', where that goes on from what was before. In joined files either's
 * times may be the first to step back, and then the sound goes on by itself until it meets the pictures again. */
static void sound_shift(const tn_video_sound *s, sound_line *l, const AVStream *a, int64_t raw)
{
    const AVRational tb = a->time_base, pictures = s->from->streams[s->picture]->time_base;
    const int64_t second = av_rescale_q(1, (AVRational){1, 1}, tb), shift = av_rescale_q(s->times.shift, pictures, tb);
    const bool first = l->raw == AV_NOPTS_VALUE;
    const int64_t off = raw + shift - l->next; /* that is how far the pictures' measure leads away */
    const bool near = off > -second / 3 && off < second;
    const bool broken = !first && (raw < l->raw - second / 20 || raw > l->raw + 3600 * second);
    if (first || ((l->own || broken) && near)) l->shift = shift, l->own = false;
    else if (broken) l->shift = l->next - raw, l->own = true;
    else if (llabs(raw + l->shift - l->next) > second / 3 && llabs(off) < llabs(raw + l->shift - l->next)) l->shift = shift;
}

/* Gives the packet its time in the source's ticks, growing from one to the next; false: it cannot have one. */
static bool sound_time(const tn_video_sound *s, sound_line *l, AVPacket *p)
{
    const AVStream *a = s->from->streams[p->stream_index];
    const int64_t raw = p->dts > -TN_VIDEO_FAR && p->dts < TN_VIDEO_FAR ? p->dts : p->pts;
    const bool known = raw > -TN_VIDEO_FAR && raw < TN_VIDEO_FAR;
    if (!known && l->raw == AV_NOPTS_VALUE) return false;
    if (known) sound_shift(s, l, a, raw);
    int64_t at = known ? raw + l->shift : l->next;
    const bool first = l->raw == AV_NOPTS_VALUE;
    if (known) l->raw = raw;
    if (!first && at < l->least) {
        if (l->least - at > av_rescale_q(3, (AVRational){1, 10}, a->time_base)) return false;
        at = l->least;
    }
    l->least = at + 1;
    l->next = at + TN_MAX(p->duration, 1);
    p->pts = p->dts = at;
    return true;
}

/* ---- copying ---- */

/* The next packet that is to be written; false: there is none. */
static bool sound_next(tn_video_sound *s)
{
    if (s->held) return true;
    while (!s->end) {
        if (av_read_frame(s->from, s->packet) < 0) { /* the video's reader tells of damage */
            s->end = true;
            return false;
        }
        const int i = s->packet->stream_index;
        if (i == s->picture && i < s->n) tn_video_times_put(&s->times, s->packet);
        else if (i < s->n && s->lines[i].to >= 0) {
            s->taken++;
            if (sound_time(s, &s->lines[i], s->packet)) return true;
            s->left++;
        }
        av_packet_unref(s->packet);
    }
    return false;
}

/* A packet that the container refuses is damaged; the file that it goes into is not, but for a full disk. */
static int sound_write(tn_video_sound *s, tn_error *err)
{
    AVFormatContext *to = s->place.to;
    AVPacket *p = s->packet;
    const int i = p->stream_index;
    if (s->origin != AV_NOPTS_VALUE) {
        const int64_t at = p->dts - av_rescale_q(s->origin, AV_TIME_BASE_Q, s->from->streams[i]->time_base);
        if (at + p->duration / 2 < 0) return av_packet_unref(p), 0;
        p->pts = p->dts = TN_MAX(at, 0);
    }
    p->stream_index = s->lines[i].to;
    p->pos = -1;
    av_packet_rescale_ts(p, s->from->streams[i]->time_base, to->streams[p->stream_index]->time_base);
    if (s->lines[i].written != AV_NOPTS_VALUE) p->pts = p->dts = TN_MAX(p->dts, s->lines[i].written + 1); /* of coarser ticks */
    s->lines[i].written = p->dts;
    const int rc = av_interleaved_write_frame(to, p);
    if (rc < 0 && (rc == AVERROR(ENOMEM) || (to->pb && to->pb->error < 0)))
        return tn_video_fail(err, "cannot write the sound into", s->place.path, rc);
    s->left += rc < 0;
    return 0;
}

int tn_video_sound_until(tn_video_sound *s, int64_t time, tn_error *err)
{
    while (s && sound_next(s)) {
        const AVRational tb = s->from->streams[s->packet->stream_index]->time_base;
        s->held = av_rescale_q(s->packet->dts, tb, AV_TIME_BASE_Q) >= time;
        if (s->held) return 0;
        TN_TRY(sound_write(s, err));
    }
    return 0;
}

void tn_video_sound_tell(const tn_video_sound *s)
{
    if (s && s->left)
        tn_logf(s->place.log, TN_LOG_WARN, "the sound is damaged: %lld of %lld packets of it are left out of '%s'", s->left,
                s->taken, s->place.path);
}

void tn_video_sound_close(tn_video_sound *s)
{
    if (!s) return;
    av_packet_free(&s->packet);
    avformat_close_input(&s->from);
    free(s->lines);
    free(s);
}
