/* Whether a file's frames come at one rate, which no header says for sure: all its times are looked at. */
#include "video_form.h"

#include <math.h>
#include <stdlib.h>

typedef struct even_times {
    long long *v;
    size_t n, room;
} even_times;

static int even_add(even_times *t, long long at)
{
    if (t->n == t->room) {
        const size_t room = t->room ? 2 * t->room : 4096;
        long long *v = realloc(t->v, room * sizeof *v);
        if (!v) return AVERROR(ENOMEM);
        t->v = v;
        t->room = room;
    }
    t->v[t->n++] = at;
    return 0;
}

static int even_read(even_times *t, AVFormatContext *file, int stream)
{
    AVPacket *p = av_packet_alloc();
    tn_video_times line;
    int rc = p && stream < (int)file->nb_streams ? 0 : AVERROR(ENOMEM);
    for (unsigned i = 0; i < file->nb_streams; i++)
        if ((int)i != stream) file->streams[i]->discard = AVDISCARD_ALL;
    if (!rc) tn_video_times_begin(&line, file, file->streams[stream]);
    while (!rc && av_read_frame(file, p) >= 0) { /* whoever decodes it tells of damage */
        if (p->stream_index == stream && !(p->flags & AV_PKT_FLAG_DISCARD)) {
            tn_video_times_put(&line, p);
            const long long at = p->pts != AV_NOPTS_VALUE ? p->pts : p->dts;
            if (at != AV_NOPTS_VALUE) rc = even_add(t, at);
        }
        av_packet_unref(p);
    }
    av_packet_free(&p);
    return rc;
}

static int even_order(const void *a, const void *b)
{
    const long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

/* Each frame has a place of its own, near to its time, and no pause is longer than a file of numbers bears. */
static bool even_at(const even_times *t, AVRational base, AVRational rate)
{
    const double frame = av_q2d(base) * av_q2d(rate), room = TN_MAX(0.2, 0.75 * frame);
    double last = -1;
    for (size_t i = 0; i < t->n; i++) {
        const double at = (double)(t->v[i] - t->v[0]) * frame, place = round(at);
        if (fabs(at - place) > room || place <= last || place > last + 50000) return false;
        last = place;
    }
    return true;
}

int tn_video_even_rate(tn_ratio *rate, const tn_video_in *in, tn_error *err)
{
    const AVRational said[] = {in->stream->avg_frame_rate, in->stream->r_frame_rate};
    AVFormatContext *file = NULL;
    even_times t = {0};
    *rate = (tn_ratio){0, 1};
    int rc = tn_video_open_file(&file, in->path);
    if (rc >= 0) rc = even_read(&t, file, in->stream->index);
    if (t.n) qsort(t.v, t.n, sizeof *t.v, even_order);
    for (size_t i = 0; rc >= 0 && i < TN_COUNT(said) && !rate->num; i++)
        if (said[i].num > 0 && even_at(&t, in->stream->time_base, said[i])) *rate = (tn_ratio){said[i].num, said[i].den};
    free(t.v);
    avformat_close_input(&file);
    return rc < 0 ? tn_video_fail(err, "cannot read the video", in->path, rc) : 0;
}
