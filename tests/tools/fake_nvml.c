/* Stands for NVIDIA's libnvidia-ml.so.1: one card at 0000:65:00.0, GPU-00112233-4455-6677-8899-aabbccddeeff, that has taken
 * FAKE_NVML_WATTS (50) since this was loaded. FAKE_NVML=power: an older card without a counter of energy; none: no such card. The
 * functions take and give what NVIDIA's documentation says (mJ, mW, NVML_ERROR_*), and nothing before nvmlInit_v2. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };

static int begun, card;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **device);
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules);
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts);

static int is(const char *what)
{
    const char *s = getenv("FAKE_NVML");
    return s && !strcmp(s, what);
}

static double watts(void)
{
    const char *s = getenv("FAKE_NVML_WATTS");
    return s ? atof(s) : 50;
}

int nvmlInit_v2(void)
{
    begun++;
    return SUCCESS;
}

int nvmlShutdown(void)
{
    if (!begun) return UNINITIALIZED;
    begun--;
    return SUCCESS;
}

static int named(const char *name, const char *own, void **device)
{
    if (!begun) return UNINITIALIZED;
    if (!name || !device) return INVALID_ARGUMENT;
    if (is("none") || strcmp(name, own) != 0) return NOT_FOUND;
    *device = &card;
    return SUCCESS;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **device)
{
    return named(address, "0000:65:00.0", device);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
    return named(uuid, "GPU-00112233-4455-6677-8899-aabbccddeeff", device);
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules)
{
    struct timespec t;
    if (!begun) return UNINITIALIZED;
    if (device != &card) return INVALID_ARGUMENT;
    if (is("power")) return NOT_SUPPORTED;
    clock_gettime(CLOCK_MONOTONIC, &t);
    *millijoules = (unsigned long long)(1e3 * watts() * ((double)t.tv_sec + 1e-9 * (double)t.tv_nsec));
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts)
{
    if (!begun) return UNINITIALIZED;
    if (device != &card) return INVALID_ARGUMENT;
    *milliwatts = (unsigned)(1e3 * watts());
    return SUCCESS;
}
