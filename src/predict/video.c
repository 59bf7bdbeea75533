#include "video.h"
#include "files.h"
#include "flow.h"
#include "log.h"
#include "scope.h"
#include "table.h"
#include "trail.h"
#include "video_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE "Frame,Visibility,X,Y,Confidence,Time"
enum { VIDEO_BATCH = 8, VIDEO_AHEAD_BYTES = 256 << 20 };

typedef struct {
    const tn_run_options *o;
    const tn_predict_options *p;
    tn_model_handle *m;
    tn_video_in *in;
    tn_video_ahead *ahead;
    tn_video_out *out; /* NULL: none */
    tn_table table;
    tn_trail trail;
    long long at, done, total;
    double before; /* the last frame's time, in frames */
    int batch;
} video_task;

/* The frame's time in frames; of a file whose times say nothing, its number. */
static double video_at(video_task *t, double seconds)
{
    const tn_ratio rate = tn_video_describe(t->in)->rate;
    const double at = rate.num > 0 && rate.den > 0 ? seconds * rate.num / rate.den : (double)t->at;
    return t->before = t->at ? fmax(at, t->before + 0.25) : at;
}

static int video_next(void *user, tn_shot *s, bool *end, tn_error *err)
{
    video_task *t = user;
    tn_video_frame f = {0};
    TN_TRY(tn_watch_tell(tn_handle_watch(t->m), TN_PHASE_PREDICTING, t->p->video, t->done, t->total, err));
    TN_TRY(tn_video_ahead_next(t->ahead, &f, end, err));
    if (*end) return 0;
    const tn_video_info *i = tn_video_describe(t->in);
    s->im = (tn_image){i->width, i->height, f.rgb};
    s->time = f.seconds;
    s->pts = f.pts;
    s->at = video_at(t, f.seconds);
    s->first = !t->at;
    s->index = t->at++;
    return 0;
}

static int video_row(const video_task *t, const tn_prediction *r, tn_error *err)
{
    tn_text row = {0};
    const double x = r->visible ? r->x : 0, y = r->visible ? r->y : 0;
    tn_text_addf(&row, "%lld,%d,%.2f,%.2f,%.4f,%.6f", r->frame, r->visible, x, y, r->confidence, r->time);
    tn_text_addf(&row, t->p->smooth ? ",%d\n" : "\n", r->repaired);
    return tn_table_row(&t->table, &row, err);
}

static int video_answer(void *user, tn_shot *s, const tn_sight *a, tn_error *err)
{
    video_task *t = user;
    const tn_prediction r = {.image = t->p->video,
                             .x = a->ball.x,
                             .y = a->ball.y,
                             .confidence = a->ball.confidence,
                             .adapter = t->o->n_adapters ? t->o->adapters[0] : NULL,
                             .visible = a->visible,
                             .repaired = a->repaired,
                             .frame = s->index,
                             .time = s->time};
    TN_TRY(video_row(t, &r, err));
    if (t->out) {
        const tn_video_frame f = {s->im.rgb, s->pts, s->time};
        tn_trail_add(&t->trail, r.x, r.y, r.visible);
        tn_trail_draw(&t->trail, &s->im);
        TN_TRY(tn_video_out_frame(t->out, &f, err));
    }
    t->done++;
    const int total = t->total > t->done ? (int)TN_MIN(t->total, 2147483647) : t->total ? (int)t->done : 0;
    if (t->p->each && TN_CALLBACK(t->p->each(t->p->user, &r, (int)t->done, total))) return tn_cancelled(TN_PHASE_PREDICTING, err);
    return 0;
}

static int video_begin(video_task *t, tn_error *err)
{
    const tn_video_info *i = tn_video_describe(t->in);
    const size_t frame = 3 * (size_t)i->width * (size_t)i->height;
    const int room = (int)TN_MAX(VIDEO_AHEAD_BYTES / frame, 2);
    t->total = i->frames;
    t->batch = TN_MIN(t->p->batch ? t->p->batch : VIDEO_BATCH, room);
    TN_TRY(tn_check_table(t->p->video_out, err));
    TN_TRY(tn_check_table(t->p->csv, err));
    if (t->p->video_out) TN_TRY(tn_video_out_open(&t->out, t->p->video_out, t->in, t->o->log, err));
    TN_TRY(tn_table_open(&t->table, t->p->csv, t->p->smooth ? TABLE ",Repaired\n" : TABLE "\n", err)); /* empties the one there */
    return tn_video_ahead_start(&t->ahead, t->in, TN_MIN(2 * t->batch, room), err);
}

static int video_none(const video_task *t, tn_error *err)
{
    const char *damage = tn_video_damage(t->in);
    return tn_fail(err, TN_ERR_FORMAT, "'%s': not one frame could be read%s%s", t->p->video, damage ? ": " : "",
                   damage ? damage : "");
}

/* What was wrong with a file that was read to its end. */
static void video_tell(const video_task *t)
{
    const char *damage = tn_video_damage(t->in), *path = t->p->video;
    const int joins = tn_video_joins(t->in);
    if (joins)
        tn_logf(t->o->log, TN_LOG_WARN,
                "the times of '%s' step back or leap at %d place%s: what comes there follows one frame behind what was before",
                path, joins, joins > 1 ? "s" : "");
    if (damage) tn_logf(t->o->log, TN_LOG_WARN, "'%s' is damaged: %s; what could be read was predicted", path, damage);
}

static int video_run(video_task *t, float threshold, tn_error *err)
{
    const tn_flow flow = {.m = t->m,
                          .batch = t->batch,
                          .threshold = threshold,
                          .smooth = t->p->smooth,
                          .max_gap = t->p->max_gap,
                          .pictures = t->out != NULL,
                          .next = video_next,
                          .answer = video_answer,
                          .user = t};
    int rc = tn_flow_run(&flow, err);
    tn_video_ahead_stop(t->ahead);
    t->ahead = NULL;
    if (!rc && !t->done) rc = video_none(t, err);
    /* What a stopped run has done is whole: it was asked to stop, nothing failed. */
    if (t->out && (!rc || (rc == TN_ERR_CANCELLED && t->done))) {
        tn_error unsaid;
        const int finished = tn_video_out_finish(t->out, !rc, rc ? &unsaid : err);
        t->out = NULL;
        if (!rc) rc = finished;
    }
    if (!rc) video_tell(t);
    return rc;
}

static int video_check(const tn_run_options *o, const tn_predict_options *p, tn_error *err)
{
    if (p->n_images || p->outdir)
        return tn_fail(err, TN_ERR_ARGUMENT, "a video is predicted alone: images and a folder of pictures go with another call");
    if (o->n_adapters > 1) return tn_fail(err, TN_ERR_ARGUMENT, "a video is predicted with one adapter, not %d", o->n_adapters);
    if (!tn_is_file(p->video)) return tn_fail(err, TN_ERR_IO, "there is no video '%s'", p->video);
    if (tn_same_file(p->video, p->video_out) || tn_same_file(p->video, p->csv))
        return tn_fail(err, TN_ERR_ARGUMENT, "'%s' would be written over: name another file for what is written", p->video);
    if (tn_same_file(p->csv, p->video_out))
        return tn_fail(err, TN_ERR_ARGUMENT, "'%s' cannot be the table and the video: name two files", p->csv);
    TN_TRY(tn_may_write(p->video_out, err));
    TN_TRY(tn_table_may(p->csv, err));
    return p->video_out ? tn_video_out_check(p->video_out, err) : 0;
}

int tn_predict_video(const tn_config *c, const tn_run_options *o, const tn_predict_options *p, tn_error *err)
{
    video_task t = {.o = o, .p = p};
    float threshold = 0;
    TN_TRY(video_check(o, p, err));
    TN_TRY(tn_run_threshold(&threshold, o, o->n_adapters ? o->adapters[0] : NULL, err));
    int rc = tn_video_open(&t.in, p->video, err);
    if (!rc) rc = tn_model_open(&t.m, c, o, err);
    if (!rc) rc = video_begin(&t, err);
    if (!rc) rc = video_run(&t, threshold, err);
    tn_video_ahead_stop(t.ahead);
    tn_video_out_drop(t.out);
    const int closed = tn_table_close(&t.table, rc ? &(tn_error){0} : err);
    if (!rc) rc = closed;
    tn_video_close(t.in);
    tn_model_close(t.m);
    return rc;
}
