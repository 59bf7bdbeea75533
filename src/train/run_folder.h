/** Where a run writes: a folder of its own, or the one it is told, which no other run has written to. */
#ifndef TN_RUN_FOLDER_H
#define TN_RUN_FOLDER_H
#include "settings.h"
#include <tracknet/run.h>

typedef struct tn_run_folder {
    char *out, *log_dir, *ckpt_dir; /* absolute */
    char *aside;                    /* what --overwrite will remove; NULL: nothing */
    bool made;                      /* out was not there before */
    int lock;                       /* on ckpt_dir, as long as the run lasts; -1: none */
} tn_run_folder;

/**
 * Makes the folders: training.output_dir, or runs/<model>-<YYYYmmdd-HHMMSS> where it is null (with -2, -3 ... where that is
 * taken). Where they hold a run already, it fails with TN_ERR_IO unless o->resume goes on from there or o->overwrite is given;
 * then the old run's checkpoints stay until the new run's take their place, and its logs until tn_run_folder_settle. End with
 * tn_run_folder_close, whatever is returned.
 */
int tn_run_folder_open(tn_run_folder *r, const tn_settings *s, const tn_run_options *o, tn_error *err);
/** A copy of the configuration that names the run's folders. Free with tn_config_free, whatever is returned. */
int tn_run_folder_config(tn_config **own, const tn_run_folder *r, const tn_config *c, tn_error *err);
/** The first checkpoint is written: the old run's logs go. */
void tn_run_folder_settle(tn_run_folder *r);
/** Frees. A run that ended before its first checkpoint leaves what was there before. */
void tn_run_folder_close(tn_run_folder *r);
#endif
