/**
 * Executables of PoCL's objects (TN_QUIRK_OBJECTS). Linking one makes PoCL load its library of built-in functions, 9 MB of LLVM's
 * code and half a second in every process; a program built of the same object's code is linked once, and then lies in PoCL's own
 * cache under that code's hash (pocl 3.1 to 7.0, lib/CL/devices/common_driver.c, pocl_llvm_convert_and_link_ir).
 */
#ifndef TN_OBJECTS_H
#define TN_OBJECTS_H
#include "dev_cl.h"

/** LLVM's code within an object as PoCL hands it out (lib/CL/pocl_binary.c), *n bytes; NULL where it is packed in another way. */
const unsigned char *tn_object_code(const unsigned char *object, size_t bytes, size_t *n);
/** A new program of an object, from which kernels are created. OpenCL's status; *out is NULL where that is not CL_SUCCESS. */
cl_int tn_object_load(cl_program *out, const tn_dev *d, const unsigned char *object, size_t bytes);
/** The same of a program that was compiled and not linked, *p, which is replaced; where it fails it stays, with the log. object:
 * its binary, or NULL. */
cl_int tn_object_link(cl_program *p, const tn_dev *d, const unsigned char *object, size_t bytes);
#endif
