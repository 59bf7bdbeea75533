/** The labels of a data set: what of them can be used, what is set aside, and a picture to look at. */
#ifndef TRACKNET_LABELS_H
#define TRACKNET_LABELS_H
#include <stdbool.h>
#include <tracknet/config.h>
#include <tracknet/progress.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Why a row of a label file counts as not labelled. */
typedef enum tn_label_kind {
    TN_LABEL_MALFORMED,  /**< its fields cannot be read */
    TN_LABEL_UNPLACED,   /**< the ball is visible but has no coordinates */
    TN_LABEL_OUTSIDE,    /**< the ball lies outside the frame */
    TN_LABEL_DUPLICATE,  /**< the frame has a row above that is used */
    TN_LABEL_MISSING,    /**< there is no such frame */
    TN_LABEL_UNREADABLE, /**< the frame is no JPEG or PNG */
    TN_LABEL_KINDS
} tn_label_kind;

/** Rows that are set aside for one reason. Made by the library, as are the next two: they may grow at the end. */
typedef struct tn_label_fault {
    tn_label_kind kind;
    const char *what; /**< the kind in words */
    int rows;         /**< at least 1 */
    const char *file; /**< the first of them: its label file */
    int line;         /**< from 1; where the row begins */
    const char *why;  /**< and what is wrong with it */
} tn_label_fault;

typedef struct tn_label_clip {
    const char *name;                                        /**< "game/clip" */
    const char *file;                                        /**< its labels */
    int frames;                                              /**< pictures in its folder */
    int labelled, visible, invisible, unlabelled, set_aside; /**< frames; labelled ones are visible or not; set_aside: rows */
    const tn_label_fault *faults;                            /**< one for each kind that occurs */
    int n_faults;
} tn_label_clip;

typedef struct tn_labels_report {
    const char *split, *root;
    const tn_label_clip *clips;
    int n_clips;
    tn_label_clip total; /**< name and file: NULL */
    bool strict;         /**< training.strict_labels */
    const char *sheet;   /**< the contact sheet that was written, or NULL */
} tn_labels_report;

/** Begin with TN_LABELS_OPTIONS_INIT. */
typedef struct tn_labels_options {
    unsigned version;
    const char *split;        /**< "train", "val" or "all"; NULL: all */
    const char *sheet;        /**< PNG of evenly chosen frames with their labels drawn; NULL: none */
    int sheet_frames;         /**< so many at most; 0: 24 */
    const tn_log *log;        /**< may be NULL */
    tn_progress_fn *progress; /**< may be NULL */
    void *user;
} tn_labels_options;
#define TN_LABELS_OPTIONS_VERSION 1
#define TN_LABELS_OPTIONS_INIT    TN_INIT(TN_LABELS_OPTIONS_VERSION)

/**
 * Reads the labels of a split as training does. o NULL: the defaults. Rows that are set aside are no failure, unless nothing is
 * left or training.strict_labels says so: then it returns TN_ERR_FORMAT and there is a report none the less. *report is NULL
 * after any other failure; free it with tn_labels_free.
 */
TN_API int tn_labels_check(const tn_config *c, const tn_labels_options *o, tn_labels_report **report, tn_error *err);
/** NULL is fine. */
TN_API void tn_labels_free(tn_labels_report *r);

#ifdef __cplusplus
}
#endif
#endif
