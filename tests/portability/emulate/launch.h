/** Launches of kernels for Intel's, AMD's and NVIDIA's GPUs, and of what unpacks weights for them, taken from the library
 * (tn_op_run is wrapped by the linker) and run by lanes.h. */
#ifndef EMULATE_LAUNCH_H
#define EMULATE_LAUNCH_H

/** Where the kernels lie: cl/ of the sources or a copy of it. prelude: kernels.h. Borrowed. */
void emulate_sources(const char *cl, const char *prelude);
/** The kernels that were launched since the last call, " one another". Valid until the next call. */
const char *emulated_launches(void);
#endif
