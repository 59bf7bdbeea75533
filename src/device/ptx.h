/**
 * Programs as rewritten PTX, for two ends. NVIDIA's driver compiles OpenCL C for a target that refuses Hopper's own instructions
 * (wgmma, the copy engine), but it keeps assembly comments: such an instruction stands in the source behind "//@@ ", as a comment.
 * The host takes the PTX that the driver made, uncovers them, raises the target, and has the driver build that text. And on a
 * device that takes addresses (address.h) pointers to global memory are declared as numbers.
 */
#ifndef TN_PTX_H
#define TN_PTX_H
#include "dev_cl.h"

/** Has a source of this kind instructions to uncover? */
bool tn_ptx_has_hidden(const char *text);
/** Has one of its kernels a pointer to global memory among its parameters? */
bool tn_ptx_has_pointers(const char *ptx);
/**
 * A copy of a PTX text with every hidden instruction uncovered, and where there was one ".target sm_90" raised to sm_90a, each
 * "//@@minnctapersm N" of a kernel's body moved to where that directive belongs, behind .reqntid, and `salt` in a comment: the
 * same text with another salt is another text to the driver's cache. `bare`: pointers to global memory among the parameters are
 * declared as the numbers they are. Caller frees; NULL when memory ran out.
 */
char *tn_ptx_rewrite(const char *ptx, bool bare, unsigned long long salt);
/** What rewritten PTX is built with; also when it is loaded again, or the driver's cache would not know it. */
#define TN_PTX_OPTIONS "-cl-nv-verbose"
/**
 * Builds the program again from its rewritten PTX where that has anything hidden, or pointers on a device that takes addresses.
 * p->p is replaced, also by NULL; one without anything hidden stays as it is where the driver refuses the other, and p->bare says
 * which it is. TN_ERR_DEVICE with the compiler's words where it is refused, and where the compiler runs the matrix unit's
 * instructions one by one (it only says so in its report: such a kernel is right and slow).
 */
int tn_ptx_rebuild(tn_program *p, tn_dev *d, const char *file, tn_error *err);
#endif
