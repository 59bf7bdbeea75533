#include "dev_cl.h"

#include <stdlib.h>

unsigned char *tn_binary_of(cl_program p, size_t *n)
{
    if (clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof *n, n, NULL) || !*n) return NULL;
    unsigned char *binary = calloc(1, *n + 1), **list = &binary;
    if (binary && !clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof binary, list, NULL)) return binary;
    free(binary);
    return NULL;
}

cl_int tn_program_of_binary(cl_program *out, const tn_dev *d, const unsigned char *binary, size_t n)
{
    cl_int status = 0, e = 0;
    *out = clCreateProgramWithBinary(d->cl->ctx, 1, &d->cl->id, &n, &binary, &status, &e);
    return e ? e : status;
}
