/** What tn_cpu_threads (tracknet/device.h) settled, for the rest of device/. */
#ifndef TN_CPU_THREADS_H
#define TN_CPU_THREADS_H

/** Threads that a CPU device takes in this process; 0: as many as its driver takes. */
int tn_cpu_threads_limit(void);
/** The drivers are being asked for their devices and read the environment: tn_cpu_threads comes too late from now on. */
void tn_cpu_threads_seal(void);
#endif
