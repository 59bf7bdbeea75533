/** Where a run writes: a folder of its own, or the one it is told, which no other run has written to. */
#ifndef TN_RUN_FOLDER_H
#define TN_RUN_FOLDER_H
#include "run_place.h"
#include "settings.h"
#include <tracknet/run.h>

/** Zero-initialised: none. */
typedef struct tn_run_folder {
    tn_run_place at; /* absolute */
    bool made[3];    /* out, log_dir, ckpt_dir: were not there before */
    bool claimed;    /* what is written to them is this run's */
    bool replacing;  /* the old run comes back, unless tn_run_folder_settle */
    bool settled;
    unsigned there;        /* which logs were there before, by bit */
    int locks[3], n_locks; /* on the folders, as long as the run lasts */
} tn_run_folder;

/**
 * Makes the folders: training.output_dir, or runs/<model>-<YYYYmmdd-HHMMSS> where it is null (with -2, -3 ... where that is
 * taken). Where they hold a run already, it fails with TN_ERR_IO unless o->resume is that run's or o->overwrite is given; then
 * the old run's checkpoints stay until tn_run_folder_make_way, and a kill or a failure before tn_run_folder_settle gives the
 * old run back whole. End with tn_run_folder_close, whatever is returned.
 */
int tn_run_folder_open(tn_run_folder *r, const tn_settings *s, const tn_run_options *o, tn_error *err);
/** Whether tn_run_folder_open would succeed, with its sentence; nothing is written. */
int tn_run_folder_check(const tn_settings *s, const tn_run_options *o, tn_error *err);
/** A copy of the configuration that names the run's folders. Free with tn_config_free, whatever is returned. */
int tn_run_folder_config(tn_config **own, const tn_run_folder *r, const tn_config *c, tn_error *err);
/** The first checkpoint is about to be written: the old run's make way. */
int tn_run_folder_make_way(const tn_run_folder *r, tn_error *err);
/** The first checkpoints are written: the old run is removed. */
void tn_run_folder_settle(tn_run_folder *r);
/** Frees. A run that ended before its first checkpoint leaves what was there before. */
void tn_run_folder_close(tn_run_folder *r);
#endif
