/** The files of a clip's folder, found by name or, as TrackNetV2's labels have it, by number. */
#ifndef TN_FRAMES_H
#define TN_FRAMES_H
#include "fail.h"
#include <stdbool.h>

typedef struct tn_frame_file {
    char *name;
    long long number; /* the digits that a picture's name ends with before its extension: 12 of frame_000012.jpg; -1: none */
    int frame;        /* the caller's; -1 at first */
} tn_frame_file;

typedef struct tn_frame_files {
    tn_frame_file *v; /* [n], by strcmp of the name */
    int n, pictures;  /* pictures: those named as such */
    int *numbered;    /* [n_numbered] into v, by number, then in natural order */
    int n_numbered;
} tn_frame_files;

int tn_frame_files_read(tn_frame_files *f, const char *dir, tn_error *err);
void tn_frame_files_free(tn_frame_files *f);
/** The file of that name; else, when `name` is a whole number ("12", pandas' "12.0"), the picture of that number; or NULL, also
 * where there are *several. */
tn_frame_file *tn_frame_files_find(const tn_frame_files *f, const char *name, bool *several);
#endif
