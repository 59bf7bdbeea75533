/** tuning.c's store, for tuner.c: {"checks": op: kind: row: result, "choices": op: key: answer,
 * "parameters": library: what it is built with}. */
#ifndef TN_TUNING_DB_H
#define TN_TUNING_DB_H
#include "dev.h"
#include <jansson.h>

/** What was measured elsewhere (configs/tunings), with which the library is built; a NULL ends them. Choices are JSON: {"device":
 * its whole name, "driver": what its version begins with, "choices"}; clblast.txt has rows of CLBlast's parameters (clblast.h). */
extern const tn_cl_source tn_shipped_tunings[];
/** The text of one of them, "" where there is none of that name. */
const char *tn_shipped(const char *file);

/** The device's store, read from the cache folder at first; beside it, under "shipped", the choices that came with the library for
 * such a device and driver. Borrowed. */
int tn_db(json_t **out, tn_dev *d, tn_error *err);
/** Writes it, with what other processes have put into the file in the meantime. */
void tn_db_save(const tn_dev *d);
/** Writes it as it is: what was taken out of it is forgotten. */
void tn_db_replace(const tn_dev *d);
/** The value at a path of up to four keys (NULL ends it), or NULL. Borrowed. */
json_t *tn_db_at(json_t *db, const char *a, const char *b, const char *c, const char *e);
/** Puts value (stolen) at the path of keys (a NULL ends it before four). */
int tn_db_put(json_t *db, const char *const keys[4], json_t *value, tn_error *err);
#endif
