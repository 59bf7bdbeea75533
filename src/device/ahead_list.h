/** What a process hands to its helpers (ahead.h), as it lies in a mapped file. */
#ifndef TN_AHEAD_LIST_H
#define TN_AHEAD_LIST_H
#include "dev.h"
#include <stdatomic.h>

enum { TN_AHEAD_ARGS = 64 };

typedef struct tn_ahead_job {
    char file[64], entry[64], options[256];
    tn_range range;
    tn_arg args[TN_AHEAD_ARGS]; /* buffers: NULL */
    int n_args, program;        /* jobs of a program follow each other */
} tn_ahead_job;

typedef struct tn_ahead_list {
    char stamp[64]; /* of the library that wrote it: another one reads nothing */
    char cache_dir[1024];
    int device; /* index */
    int n, programs;
    size_t buffer_bytes;
    atomic_int next, done; /* programs */
    tn_ahead_job job[];
} tn_ahead_list;

/** Whose list it is: stamp, device and cache folder. */
void tn_ahead_stamp(tn_ahead_list *list, const tn_dev *d);
#endif
