/* Linked with --wrap=clCreateProgramWithSource, clCreateProgramWithBinary, clBuildProgram and clGetProgramInfo. */
#define CL_TARGET_OPENCL_VERSION 120
#include "ptx_driver.h"

#include <CL/cl.h>
#include <stdlib.h>
#include <string.h>

#define POINTER "\t.param .u64 .ptr .global .align 4 fill_0\n"
#define NUMBER  "\t.param .u64 fill_0\n"

static struct {
    cl_program p;
    char *text;
} made[16];
static int n_made;
static char *source; /* of the last program */
struct ptx_driver ptx_driver;

static cl_program remember(cl_program p, const char *text)
{
    if (!p || n_made == (int)(sizeof made / sizeof *made)) abort();
    made[n_made].p = p;
    made[n_made++].text = strdup(text);
    return p;
}

static const char *text_of(cl_program p)
{
    int i = n_made - 1;
    while (i >= 0 && made[i].p != p) i--; /* the last one of that address */
    if (i < 0) abort();
    return made[i].text;
}

cl_program __real_clCreateProgramWithSource(cl_context c, cl_uint n, const char **text, const size_t *sizes, cl_int *e);
cl_program __wrap_clCreateProgramWithSource(cl_context c, cl_uint n, const char **text, const size_t *sizes, cl_int *e);
cl_program __wrap_clCreateProgramWithSource(cl_context c, cl_uint n, const char **text, const size_t *sizes, cl_int *e)
{
    ptx_driver.from_source++;
    free(source);
    source = strdup(text[0]);
    return remember(__real_clCreateProgramWithSource(c, n, text, sizes, e),
                    ptx_driver.pointers ? ".entry fill(\n" POINTER ")\n" : ".entry fill(\n)\n");
}

cl_program __wrap_clCreateProgramWithBinary(cl_context c, cl_uint n, const cl_device_id *d, const size_t *sizes,
                                            const unsigned char **bin, cl_int *status, cl_int *e);
cl_program __wrap_clCreateProgramWithBinary(cl_context c, cl_uint n, const cl_device_id *d, const size_t *sizes,
                                            const unsigned char **bin, cl_int *status, cl_int *e)
{
    (void)d;
    char *text = strndup((const char *)bin[0], sizes[0]);
    *e = *status = ptx_driver.refuses && strstr(text, NUMBER) ? CL_INVALID_BINARY : CL_SUCCESS;
    ptx_driver.from_binary += !*e;
    cl_program p = *e ? NULL : remember(__real_clCreateProgramWithSource(c, n, (const char **)&source, NULL, e), text);
    free(text);
    return p;
}

cl_int __real_clBuildProgram(cl_program p, cl_uint n, const cl_device_id *d, const char *options, void (*told)(cl_program, void *),
                             void *user);
cl_int __wrap_clBuildProgram(cl_program p, cl_uint n, const cl_device_id *d, const char *options, void (*told)(cl_program, void *),
                             void *user);
cl_int __wrap_clBuildProgram(cl_program p, cl_uint n, const cl_device_id *d, const char *options, void (*told)(cl_program, void *),
                             void *user)
{
    (void)options; /* PoCL has none of another vendor */
    return __real_clBuildProgram(p, n, d, "", told, user);
}

cl_int __wrap_clGetProgramInfo(cl_program p, cl_program_info what, size_t size, void *out, size_t *got);
cl_int __wrap_clGetProgramInfo(cl_program p, cl_program_info what, size_t size, void *out, size_t *got)
{
    const char *text = text_of(p);
    (void)size, (void)got;
    if (what == CL_PROGRAM_BINARY_SIZES) {
        *(size_t *)out = strlen(text) + 1;
        return CL_SUCCESS;
    }
    if (what != CL_PROGRAM_BINARIES) abort();
    strcpy(*(char **)out, text);
    ptx_driver.fetched++;
    return CL_SUCCESS;
}
