/** Work-items as fibers of one thread, for kernels compiled for the host (kernels.h). */
#ifndef EMULATE_LANES_H
#define EMULATE_LANES_H
#include <stddef.h>

enum { MOST_ITEMS = 512, MOST_SHARED = 128 /* bytes that a lane leaves for its neighbours */ };

/** Runs body for every item of groups[0] x groups[1] groups, one group after another; lanes: of a sub-group. A sentence where the
 * kernel did what no device forgives, else NULL. */
const char *emu_launch(void (*body)(void), const size_t groups[2], int group_items, int lanes);
/** Ends the launch: `what` is wrong. Does not return. For units.c. */
void emu_fail(const char *what);
/** Leaves bytes for the other lanes of the sub-group and waits until all have; tag: which operation this is. */
void emu_leave(int tag, const void *mine, int bytes);
/** What a lane left, until the next emu_leave. */
const void *emu_left(int lane);
int emu_lanes(void);
unsigned emu_lane(void);
#endif
