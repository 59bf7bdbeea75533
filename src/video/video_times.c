/* Where stored times are not one line, they are made one. */
#include "video_av.h"

#include <stdlib.h>

enum { ABSURD = 3600 }; /* seconds */

static long long times_step(const AVStream *s)
{
    const AVRational rate = s->avg_frame_rate.num > 0 ? s->avg_frame_rate : s->r_frame_rate;
    const long long step = rate.num > 0 ? av_rescale_q(1, av_inv_q(rate), s->time_base) : 1;
    return TN_MAX(step, 1);
}

void tn_video_times_begin(tn_video_times *t, const AVFormatContext *file, const AVStream *s)
{
    *t = (tn_video_times){.last = AV_NOPTS_VALUE, .step = times_step(s), .end = AV_NOPTS_VALUE};
    t->leap = av_rescale_q(ABSURD, (AVRational){1, 1}, s->time_base);
    const bool noisy = file->iformat->flags & AVFMT_TS_DISCONT; /* its times are not in one index */
    t->late = av_rescale_q(noisy ? 2 : ABSURD, (AVRational){1, 1}, s->time_base);
    /* of a stream of packets without a header the length is itself a guess from such times */
    const bool told = file->duration > 0 && file->duration_estimation_method == AVFMT_DURATION_FROM_STREAM;
    const int64_t start = file->start_time == AV_NOPTS_VALUE ? 0 : file->start_time;
    if (told) t->end = av_rescale_q(TN_MAX(start, 0) + file->duration, AV_TIME_BASE_Q, s->time_base);
}

static bool times_broken(const tn_video_times *t, long long at, bool by_dts)
{
    /* frames are stored out of their order, but not by many */
    const long long room = by_dts && t->by_dts ? 2 * t->step : 20 * t->step;
    const long long d = at - t->last;
    return d < -room || (d > t->leap && (t->end == AV_NOPTS_VALUE || at > t->end));
}

/* A single wrong time leads away and back: what fits the line that was left takes it up again. */
static bool times_return(const tn_video_times *t, long long at)
{
    const long long next = t->last + t->step + t->shift;
    return t->joins && llabs(at + t->before - next) <= 3 * t->step && llabs(at + t->shift - next) > 3 * t->step;
}

/* Noise in a packet's head leaves times that nothing can be reckoned with. */
static void times_drop_absurd(const tn_video_times *t, AVPacket *p)
{
    const long long late = TN_MAX(40 * t->step, t->late);
    if (p->dts > TN_VIDEO_FAR || p->dts < -TN_VIDEO_FAR) p->dts = AV_NOPTS_VALUE;
    if (p->pts > TN_VIDEO_FAR || p->pts < -TN_VIDEO_FAR) p->pts = AV_NOPTS_VALUE;
    if (p->dts == AV_NOPTS_VALUE || p->pts == AV_NOPTS_VALUE) return;
    if (p->pts < p->dts - 2 * t->step || p->pts > p->dts + late) p->pts = AV_NOPTS_VALUE;
}

void tn_video_times_put(tn_video_times *t, AVPacket *p)
{
    times_drop_absurd(t, p);
    const bool by_dts = p->dts != AV_NOPTS_VALUE;
    const long long at = by_dts ? p->dts : p->pts;
    if (at == AV_NOPTS_VALUE) return;
    if (t->last != AV_NOPTS_VALUE) {
        const long long old = t->shift;
        if (times_return(t, at)) {
            t->shift = t->before;
            t->before = old;
        } else if (times_broken(t, at, by_dts)) {
            t->shift += t->last + t->step - at;
            t->before = old;
            t->joins++;
        }
    }
    t->last = at;
    t->by_dts = by_dts;
    if (p->dts != AV_NOPTS_VALUE) p->dts += t->shift;
    if (p->pts != AV_NOPTS_VALUE) p->pts += t->shift;
}
