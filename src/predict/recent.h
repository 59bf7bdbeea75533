/** Frames as they come, and the windows of them that a model of several frames is asked about: as evaluation lays them over a clip
 * (windows.h), so that a video is answered as its labelled frames were. */
#ifndef TN_RECENT_H
#define TN_RECENT_H
#include "engine.h"

/** Zeroed at first, and whenever another clip begins (tn_recent_restart). */
typedef struct tn_recent {
    uint8_t *frames; /* [n] resized, the oldest first: those before the next one */
    int n;
} tn_recent;

void tn_recent_free(tn_recent *r);
void tn_recent_restart(tn_recent *r);

/** What is asked about n new frames. */
typedef struct tn_asked {
    uint8_t *frames;  /* [frames - 1 + n] room, whose last n are the caller's to fill before tn_asked_windows */
    uint8_t *windows; /* [n_windows, frames], what the model takes; frames itself where it takes one */
    int n, n_windows, length, answers;
    size_t frame; /* bytes */
} tn_asked;

int tn_asked_new(tn_asked *a, const tn_engine *e, int n, tn_error *err);
void tn_asked_free(tn_asked *a);
/** Where the i-th new frame goes. */
uint8_t *tn_asked_frame(const tn_asked *a, int i);
/** Lays the windows: each new frame's own, or where every frame of one has its heatmap as few as there can be, one behind the
 * other, the last of which ends with the last frame. */
void tn_asked_windows(const tn_asked *a, const tn_recent *r);
/** Which of the windows' heatmaps, [n_windows, answers], is the i-th new frame's. */
int tn_asked_answer(const tn_asked *a, int i);
/** The new frames become what comes before the next. */
int tn_recent_add(tn_recent *r, const tn_asked *a, tn_error *err);
/** out: zeroed; for windows as long as a's. */
int tn_recent_copy(tn_recent *out, const tn_recent *r, const tn_asked *a, tn_error *err);
#endif
