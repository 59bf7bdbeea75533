/** Frames go in, answers come out: the one way of pictures and videos through the model. */
#ifndef TN_FLOW_H
#define TN_FLOW_H
#include "handle.h"
#include "image.h"

typedef struct tn_shot {
    tn_image im;     /* freed by the flow */
    long long index; /* from 0 */
    bool first;      /* of a clip: those before it say nothing of it */
    double time;     /* seconds; of a video */
    double at;       /* when, in frames: index, or of a video of varying rate between whole numbers */
    long long pts;   /* in the video's time base */
} tn_shot;

/** What the model says of a shot. */
typedef struct tn_sight {
    tn_ball ball;  /* pixels of the shot */
    bool visible;  /* the confidence reaches the threshold */
    bool repaired; /* visible and ball.x, ball.y are not the model's but the repair's */
    float *heat;   /* [heat_height][heat_width], borrowed; NULL where not tn_flow.pictures, with smooth */
} tn_sight;

typedef struct tn_flow {
    tn_model_handle *m;
    int batch;       /* shots that go to the device together, at most; 1 or more */
    float threshold; /* confidence from which a ball is visible */
    bool smooth;     /* the track is repaired; answers come tn_smooth_delay shots later */
    int max_gap;     /* of smooth: frames of a gap that is filled; 0: none */
    bool pictures;   /* answers want the shot's pixels and heat */
    /** Fills the next shot, or sets *end. */
    int (*next)(void *user, tn_shot *s, bool *end, tn_error *err);
    /** Takes the answers one by one, in order. May draw into the shot. */
    int (*answer)(void *user, tn_shot *s, const tn_sight *a, tn_error *err);
    void *user;
} tn_flow;

/** Until the end, or the first error: shots that came before it are answered. */
int tn_flow_run(const tn_flow *p, tn_error *err);
#endif
