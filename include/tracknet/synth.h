/** Synthetic labelled clips, for demonstrations and tests. */
#ifndef TRACKNET_SYNTH_H
#define TRACKNET_SYNTH_H
#include <stdint.h>
#include <tracknet/error.h>
#include <tracknet/progress.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What to draw. Begin with TN_SYNTH_OPTIONS_INIT; zeros mean the defaults named. */
typedef struct tn_synth_options {
    unsigned version;
    const char *out;          /**< root folder; clips go to out/<game>/Clip<i>/ */
    const char *game;         /**< NULL: game1 */
    int look;                 /**< 0: blue hard court by day, yellow ball; 1: clay at dusk, small white ball */
    int clips, frames;        /**< default 4 clips of 40 frames */
    int width, height;        /**< default 512 x 288 */
    uint64_t seed;            /**< the same seed draws the same bytes */
    tn_progress_fn *progress; /**< may be NULL */
    void *user;
    int bars; /**< opaque bars across the picture, up to 4, that hide the ball for a frame or two as it passes; a ball behind one
                 keeps its place in the label, with visibility 3 */
} tn_synth_options;
#define TN_SYNTH_OPTIONS_VERSION 1
#define TN_SYNTH_OPTIONS_INIT    TN_INIT(TN_SYNTH_OPTIONS_VERSION)

/** Draws court, lines, crowd, players and a motion-blurred ball that they sometimes hide, as JPEG with Label.csv. */
TN_API int tn_synth(const tn_synth_options *options, tn_error *err);

#ifdef __cplusplus
}
#endif
#endif
