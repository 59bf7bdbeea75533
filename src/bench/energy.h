/** What a device has taken since a moment: counters of the system that some machines let anyone read. */
#ifndef TN_ENERGY_H
#define TN_ENERGY_H
#include <stdbool.h>
#include <tracknet/device.h>

enum { TN_ENERGY_COUNTERS = 16 };

/** How joules are read: RAPL's counters of the processor packages for a CPU, NVML's or hwmon's of the card for a GPU. */
typedef struct tn_energy {
    char from[32]; /* "RAPL", "NVML", "hwmon"; "": they cannot be read */
    char why[256]; /* then this says why */
    struct {
        char path[256];
        double unit, range; /* joules (or watts) of a count; what it wraps at, 0: never */
        bool power;         /* it is watts: means of neighbouring readings count */
    } counter[TN_ENERGY_COUNTERS];
    int n;
    double least;         /* seconds: the counters move so slowly that nothing is known of less */
    void *library, *card; /* NVML, and its millijoules or milliwatts */
    int (*millijoules)(void *card, unsigned long long *v);
    int (*milliwatts)(void *card, unsigned *v);
    double begun[TN_ENERGY_COUNTERS], joules, at, sampled;
} tn_energy;

/** Finds the counters below `root` ("": the machine's own). Close it always. */
void tn_energy_open(tn_energy *e, const tn_device_info *d, const char *root);
void tn_energy_close(tn_energy *e);
void tn_energy_begin(tn_energy *e);
/** Now and then between, where what is read may be watts. */
void tn_energy_sample(tn_energy *e);
/** Joules since tn_energy_begin; 0: not known. */
double tn_energy_end(tn_energy *e);
#endif
