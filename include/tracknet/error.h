/** Errors are values: every fallible function returns a tn_status and, when it fails, fills the caller's tn_error. */
#ifndef TRACKNET_ERROR_H
#define TRACKNET_ERROR_H
#include <tracknet/api.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What kind of thing went wrong; 0 is success, everything else is negative. Functions return it as an int. */
typedef enum tn_status {
    TN_OK = 0,
    TN_ERR_ARGUMENT = -1,  /**< the caller passed something that cannot be: NULL, or a struct of an unknown version */
    TN_ERR_CONFIG = -2,    /**< a configuration key or value is wrong */
    TN_ERR_IO = -3,        /**< a file or folder could not be read or written */
    TN_ERR_FORMAT = -4,    /**< a file's contents are not what its format demands */
    TN_ERR_DEVICE = -5,    /**< an OpenCL call failed, or no device fits */
    TN_ERR_MEMORY = -6,    /**< host or device memory ran out */
    TN_ERR_NUMERIC = -7,   /**< a NaN or an infinity where a number must stand */
    TN_ERR_CANCELLED = -8, /**< a callback asked to stop */
} tn_status;

/**
 * One sentence about a failure: what, where, what to do. Owned by the caller; no allocation inside, and the struct never
 * grows. It is filled when a function fails and means nothing otherwise, so look at the returned status first. Every
 * function takes NULL where nobody wants the sentence.
 */
typedef struct tn_error {
    int status; /**< what the function returned */
    int opencl; /**< the OpenCL error code (CL_..., negative) behind it; 0 when none is */
    char message[1024];
} tn_error;

#ifdef __cplusplus
}
#endif
#endif
