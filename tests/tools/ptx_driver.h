/** A driver whose binaries are PTX, made of one that builds the sources all the same: each program has one kernel. */
#ifndef TN_PTX_DRIVER_H
#define TN_PTX_DRIVER_H
#include <stdbool.h>

extern struct ptx_driver {
    bool pointers;                /* kernels have one among their parameters */
    bool refuses;                 /* no text is taken that has it as a number */
    int from_source, from_binary; /* programs that were made */
    int fetched;                  /* binaries that were asked for */
} ptx_driver;
#endif
