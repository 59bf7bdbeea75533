/** What a process hands to its builders (ahead.h), through a socket. */
#ifndef TN_AHEAD_LIST_H
#define TN_AHEAD_LIST_H
#include "dev.h"

enum { TN_AHEAD_ARGS = 64 };

typedef struct tn_ahead_job {
    char file[64], entry[64], options[256];
    tn_range range;
    tn_arg args[TN_AHEAD_ARGS]; /* buffers: NULL */
    int n_args, program;        /* jobs of a program follow each other */
} tn_ahead_job;

/** The jobs of one program, which follow it; answered by one byte. */
typedef struct tn_ahead_order {
    char stamp[64]; /* of the library that wrote it: another one reads nothing */
    char cache_dir[1024];
    int device; /* index */
    int n;
    size_t buffer_bytes; /* of the largest buffer of a launch */
} tn_ahead_order;

/** Whose order it is: stamp, device and cache folder. */
void tn_ahead_stamp(tn_ahead_order *o, const tn_dev *d);
#endif
