/** Opens a device for tests and measurements, with the variables that the command takes as its defaults. */
#ifndef TN_TESTDEV_H
#define TN_TESTDEV_H
#include "dev.h"
#include <stdio.h>
#include <stdlib.h>

static inline int test_device(tn_dev **d, const char *selector, tn_error *err)
{
    const char *name = getenv("TRACKNET_GEMM");
    char gemm[64] = "";
    if (name && name[0]) snprintf(gemm, sizeof gemm, "gemm=%s", name);
    const tn_dev_options o = {.variants = gemm[0] ? gemm : NULL, .cache = getenv("TRACKNET_CACHE")};
    int index;
    TN_TRY(tn_device_select(&index, selector, err));
    return tn_dev_open(d, index, &o, err);
}
#endif
