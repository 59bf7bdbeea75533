/* How kernels that go down the columns of [rows, C] divide them on GPUs: a group has LANES runs of VW columns side by side, and
 * ROWS rows at once, neighbours in memory. Needs common.h. */
#ifndef LANES
#define LANES 8
#endif
#ifndef WG
#define WG 256 /* a multiple of LANES */
#endif
#define ROWS   (WG / LANES)
#define ITEM   ((int)get_local_id(0))
#define LINE   (ITEM / LANES)
#define COLUMN (((int)(get_global_id(0) / WG) * LANES + ITEM % LANES) * VW)
