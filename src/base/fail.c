#include "fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int tn_fail(tn_error *err, int status, const char *fmt, ...)
{
    if (!err) return status;
    err->status = status;
    err->opencl = 0;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    return status;
}

int tn_oom(tn_error *err)
{
    return tn_fail(err, TN_ERR_MEMORY, "host memory ran out; close other programs or use a smaller model or batch");
}

int tn_fail_in(tn_error *err, const char *prefix)
{
    char old[sizeof err->message];
    const int opencl = err->opencl;
    memcpy(old, err->message, sizeof old);
    tn_fail(err, err->status, "%.300s: %.700s", prefix, old);
    err->opencl = opencl;
    return err->status;
}
