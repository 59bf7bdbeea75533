/** Entries of one or several folders that make way for new ones together: meanwhile they stand in a folder "overwritten" beside
 * their place, and a list of them says after a kill how it was before. */
#ifndef TN_REPLACE_H
#define TN_REPLACE_H
#include "fail.h"
#include "text.h"

/**
 * Writes the list: `paths` are absolute, in existing folders, and need not be there; what is not there now will not be after
 * tn_replace_undo. `dir`, absolute, keeps the list, and who calls this holds an exclusive flock on it until the end.
 */
int tn_replace_begin(const char *dir, const tn_strs *paths, tn_error *err);
/** One of the paths makes way, a link itself and not what it points to; no entry there is fine. */
int tn_replace_aside(const char *path, tn_error *err);
/** The new ones stay, at once for all; then the old ones are removed. */
void tn_replace_commit(const char *dir);
/** The old ones come back, the new ones go; or, where they were to stay, what is left of the old ones goes. Nothing happens where
 * nothing was begun. For who holds the lock of `dir`. */
void tn_replace_undo(const char *dir);
/** For readers, before `path` is opened: tn_folder_repair, and tn_replace_undo where the writer is dead. */
void tn_replace_repair(const char *path);
#endif
