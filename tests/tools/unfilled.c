/* Linked into suites that meson has malloc fill memory for: PoCL takes 256 MB to hand out a program, which that makes 0.2 s for
 * each that is built; those are left as they come. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <malloc.h>
#include <stdlib.h>

cl_int __real_clGetProgramInfo(cl_program p, cl_program_info what, size_t size, void *value, size_t *needed);
cl_int __wrap_clGetProgramInfo(cl_program p, cl_program_info what, size_t size, void *value, size_t *needed);

cl_int __wrap_clGetProgramInfo(cl_program p, cl_program_info what, size_t size, void *value, size_t *needed)
{
    const char *fill = getenv("MALLOC_PERTURB_");
    mallopt(M_PERTURB, 0);
    const cl_int e = __real_clGetProgramInfo(p, what, size, value, needed);
    if (fill) mallopt(M_PERTURB, atoi(fill));
    return e;
}
