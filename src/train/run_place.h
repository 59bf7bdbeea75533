/** What stands in the folders that a run is to write to. */
#ifndef TN_RUN_PLACE_H
#define TN_RUN_PLACE_H
#include <stdbool.h>

/** Absolute where they are there. */
typedef struct tn_run_place {
    char *out, *log_dir, *ckpt_dir;
} tn_run_place;

/** One folder, whatever it is called. */
bool tn_run_same_dir(const char *a, const char *b);
/** Whether there is a folder, file or link of that name. */
bool tn_run_holds(const char *dir, const char *name);
/** Whether `best` or `last` is there to go on with. */
bool tn_run_has_checkpoint(const tn_run_place *p);
/**
 * Which of the folders, borrowed, holds a run that this one would mix with; NULL: none does. With `resume` the run that it is a
 * checkpoint of is no other: its best or last by name, or one whose configuration names these folders.
 */
const char *tn_run_taken(const tn_run_place *p, const char *resume);
#endif
