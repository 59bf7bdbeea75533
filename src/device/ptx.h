/**
 * Programs as rewritten PTX. NVIDIA's driver compiles OpenCL C for a target that refuses Hopper's own instructions
 * (wgmma, the copy engine), but it keeps assembly comments: such an instruction stands in the source behind "//@@ ", as a comment.
 * The host takes the PTX that the driver made, uncovers them, raises the target, and has the driver build that text.
 */
#ifndef TN_PTX_H
#define TN_PTX_H
#include "dev_cl.h"

/** Has a source of this kind instructions to uncover? */
bool tn_ptx_has_hidden(const char *text);
/**
 * A copy of a PTX text with every hidden instruction uncovered, ".target sm_90" raised to sm_90a, and each
 * "//@@minnctapersm N" of a kernel's body moved to where that directive belongs, behind .reqntid. `salt` goes into a comment: the
 * same text with another salt is another text to the driver's cache. Caller frees; NULL when memory ran out.
 */
char *tn_ptx_uncover(const char *ptx, unsigned long long salt);
/**
 * Builds the program again from its rewritten PTX where that has anything hidden; *p is replaced, also by NULL. TN_ERR_DEVICE with
 * the compiler's words where it is refused, and where the compiler runs the matrix unit's instructions one by one (it only says so
 * in its report: such a kernel is right and slow).
 */
int tn_ptx_rebuild(cl_program *p, tn_dev *d, const char *file, tn_error *err);
#endif
