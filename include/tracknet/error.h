/** Errors are values: every fallible function returns a tn_status and, when it fails, fills the caller's tn_error. */
#ifndef TRACKNET_ERROR_H
#define TRACKNET_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/** What kind of thing went wrong; 0 is success, everything else is negative. */
typedef enum tn_status {
    TN_OK = 0,
    TN_ERR_ARGUMENT = -1,  /**< the caller passed something that cannot be */
    TN_ERR_CONFIG = -2,    /**< a configuration key or value is wrong */
    TN_ERR_IO = -3,        /**< a file or folder could not be read or written */
    TN_ERR_FORMAT = -4,    /**< a file's contents are not what its format demands */
    TN_ERR_DEVICE = -5,    /**< an OpenCL call failed, or no device fits */
    TN_ERR_MEMORY = -6,    /**< host or device memory ran out */
    TN_ERR_NUMERIC = -7,   /**< a NaN or an infinity where a number must stand */
    TN_ERR_CANCELLED = -8, /**< a callback asked to stop */
} tn_status;

/** One sentence about a failure: what, where, what to do. Owned by the caller; no allocation inside. */
typedef struct tn_error {
    int status;
    char message[1024];
} tn_error;

#ifdef __cplusplus
}
#endif
#endif
