/**
 * An OpenCL layer for tests (OPENCL_LAYERS of the ICD loader): it stands between a program and the driver, says of every device
 * what TRACKNET_LAYER tells it to say, and refuses what such a device would refuse. Words of that variable, separated by commas:
 *
 *   gpu        devices are GPUs                         unified, apart    memory is the host's, or the device's own
 *   local=KIB  local memory                             group=N           work-items of a group
 *   kernel=N   of a group of any one kernel             alloc=N           the largest allocation is an N-th of the memory
 *   nohalf     no cl_khr_fp16                           nosubgroups       no sub-groups
 *   args=N     bytes of a kernel's arguments            constant=KIB      of a __constant argument
 *   skip=NAME  kernels of that name do nothing          crash=NAME        the driver crashes in these
 *   twin       a second platform has the last device of the first
 *   slow=twin, slow=first  launches on that device, or on the others, take 50 ms more
 *   pci        devices tell one PCI address             count=FILE        what went through, written as the program ends
 */
#ifndef LAYER_H
#define LAYER_H
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl_layer.h>
#include <stdbool.h>
#include <stddef.h>

/** The driver's functions. */
extern const cl_icd_dispatch *layer_driver;

/** Is the word in the variable? */
bool layer_has(const char *word);
/** The number behind "word="; 0: it is not there. */
size_t layer_number(const char *word);
/** Does the list behind "word=" name this, names separated by colons? */
bool layer_names(const char *word, const char *name);

/** The platform that is not there. */
extern cl_platform_id layer_twin;
/** Is it the device that the twin has? */
bool layer_is_twins(cl_device_id d);

/* What the layer puts in place of the driver's functions. */
cl_int CL_API_CALL layer_platforms(cl_uint n, cl_platform_id *out, cl_uint *count);
cl_int CL_API_CALL layer_platform(cl_platform_id p, cl_platform_info what, size_t size, void *out, size_t *need);
cl_int CL_API_CALL layer_devices(cl_platform_id p, cl_device_type t, cl_uint n, cl_device_id *out, cl_uint *count);
cl_int CL_API_CALL layer_device(cl_device_id d, cl_device_info what, size_t size, void *out, size_t *need);
cl_context CL_API_CALL layer_context(const cl_context_properties *props, cl_uint n, const cl_device_id *d,
                                     void(CL_CALLBACK *note)(const char *, const void *, size_t, void *), void *user, cl_int *e);
cl_int CL_API_CALL layer_kernel(cl_kernel k, cl_device_id d, cl_kernel_work_group_info what, size_t size, void *out, size_t *need);
cl_mem CL_API_CALL layer_buffer(cl_context c, cl_mem_flags flags, size_t bytes, void *host, cl_int *e);
cl_int CL_API_CALL layer_argument(cl_kernel k, cl_uint i, size_t size, const void *value);
cl_int CL_API_CALL layer_launch(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *offset, const size_t *global,
                                const size_t *local, cl_uint n, const cl_event *wait, cl_event *event);
void layer_count_into(cl_icd_dispatch *table);
#endif
