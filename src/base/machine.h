/** What the machine gives this process: processors and memory. */
#ifndef TN_MACHINE_H
#define TN_MACHINE_H
#include <stddef.h>

/** Processors that this process may run on, at least 1: its affinity, and its control group's quota rounded up. */
int tn_processors(void);
/** Bytes that can be taken without swapping, by the kernel's estimate and the control group's limit; 0: not known. */
size_t tn_memory_free(void);
#endif
