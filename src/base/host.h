/** The machine that the program runs on. */
#ifndef TN_HOST_H
#define TN_HOST_H
#include <stddef.h>

/** Bytes of memory that a program may still take without pushing others out; 0: not known. */
size_t tn_host_free(void);
#endif
