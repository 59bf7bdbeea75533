/**
 * Buffers given to kernels by their addresses. NVIDIA's driver looks after every buffer among a kernel's arguments at each launch,
 * some 0.35 us of the host's time apiece (tests/bench/bench_launch.c). A parameter that the rewritten PTX (ptx.h) declares as a
 * plain number instead of a pointer takes the address itself, which stays what it is as long as the buffer lives.
 */
#ifndef TN_ADDRESS_H
#define TN_ADDRESS_H
#include "dev_cl.h"

/** Finds out whether the device takes addresses, and has its programs built so from then on (tn_dev.bare). */
void tn_try_addresses(tn_dev *d);
/** Where `b` lies on its device; 0 for NULL. The first time for each buffer that is no region this waits. */
int tn_buffer_address(cl_ulong *out, tn_buffer *b, tn_error *err);
#endif
