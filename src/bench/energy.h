/** What a device has taken since a moment: counters of the system that some machines let anyone read. */
#ifndef TN_ENERGY_H
#define TN_ENERGY_H
#include <stdbool.h>
#include <tracknet/device.h>

enum { TN_ENERGY_COUNTERS = 16 };

/** How joules are read: RAPL's counters of the processor packages for a CPU, hwmon's or NVML's of the card for a GPU. */
typedef struct tn_energy {
    char from[32]; /* "RAPL", "hwmon", "NVML"; "": they cannot be read */
    char why[256]; /* then this says why */
    struct {
        char path[256];
        double unit, range; /* joules of a count; what it wraps at, 0: never */
        bool power;         /* it is watts: the mean of both readings counts */
    } counter[TN_ENERGY_COUNTERS];
    int n;
    void *library, *card; /* NVML */
    int (*total)(void *card, unsigned long long *millijoules);
    double begun[TN_ENERGY_COUNTERS], at;
} tn_energy;

/** Finds the counters below `root` ("": the machine's own), where the library loads NVML when that is empty. Close it always. */
void tn_energy_open(tn_energy *e, const tn_device_info *d, const char *root);
void tn_energy_close(tn_energy *e);
void tn_energy_begin(tn_energy *e);
/** Joules since tn_energy_begin; 0: not known. */
double tn_energy_end(tn_energy *e);
#endif
