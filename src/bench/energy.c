#include "energy.h"
#include "clock.h"
#include "files.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files of the system ---- */

static bool file_text(char *line, int size, const char *path)
{
    FILE *f = fopen(path, "r");
    const bool read = f && fgets(line, size, f);
    if (f) fclose(f);
    if (read) line[strcspn(line, "\n")] = 0;
    return read;
}

static bool file_number(double *v, const char *path)
{
    char line[64];
    unsigned long long count;
    if (!file_text(line, sizeof line, path) || sscanf(line, "%llu", &count) != 1) return false;
    *v = (double)count;
    return true;
}

static void add_counter(tn_energy *e, const char *from, const char *path, double unit, double range)
{
    double now;
    if (e->n == TN_ENERGY_COUNTERS) return;
    if (!file_number(&now, path)) {
        snprintf(e->why, sizeof e->why, "%.200s cannot be read; root may", path);
        return;
    }
    snprintf(e->from, sizeof e->from, "%s", from);
    snprintf(e->counter[e->n].path, sizeof e->counter[e->n].path, "%s", path);
    e->counter[e->n].unit = unit;
    e->counter[e->n++].range = range;
}

/* "psys" has the packages in it. */
static void find_rapl(tn_energy *e, const char *root)
{
    char name[64], path[256];
    snprintf(e->why, sizeof e->why, "this machine shows no RAPL counter (/sys/class/powercap/intel-rapl:*)");
    for (int i = 0; i < TN_ENERGY_COUNTERS; i++) {
        double range = 0;
        snprintf(path, sizeof path, "%.128s/sys/class/powercap/intel-rapl:%d/name", root, i);
        if (!file_text(name, sizeof name, path) || strncmp(name, "package", 7) != 0) continue;
        snprintf(path, sizeof path, "%.128s/sys/class/powercap/intel-rapl:%d/max_energy_range_uj", root, i);
        (void)file_number(&range, path);
        snprintf(path, sizeof path, "%.128s/sys/class/powercap/intel-rapl:%d/energy_uj", root, i);
        add_counter(e, "RAPL", path, 1e-6, range);
    }
}

/* "0000:01:00.0" of "pci 0000:01:00.0 uuid ..."; "" where the driver does not tell. */
static void pci_address(char out[32], const tn_device_info *d)
{
    const char *at = strstr(d->hardware, "pci ");
    out[0] = 0;
    if (at) snprintf(out, 32, "%.*s", (int)strcspn(at + 4, " ,"), at + 4);
}

static void find_hwmon(tn_energy *e, const char *address, const char *root)
{
    char folder[200], path[256];
    tn_strs names = {0};
    tn_error ignored;
    snprintf(e->why, sizeof e->why, "its driver shows neither energy nor power (NVML, or hwmon of the PCI device %s)",
             address[0] ? address : "that OpenCL does not name");
    snprintf(folder, sizeof folder, "%.100s/sys/bus/pci/devices/%s/hwmon", root, address);
    if (!address[0] || !tn_is_dir(folder) || tn_list_dir(&names, folder, &ignored)) return;
    for (int i = 0; i < names.n && !e->n; i++) {
        snprintf(path, sizeof path, "%.180s/%.40s/energy1_input", folder, names.v[i]);
        if (tn_is_file(path)) add_counter(e, "hwmon", path, 1e-6, 0);
        snprintf(path, sizeof path, "%.180s/%.40s/power1_average", folder, names.v[i]);
        if (e->n || !tn_is_file(path)) continue;
        add_counter(e, "hwmon", path, 1e-6, 0);
        if (e->n) e->counter[0].power = true;
    }
    tn_strs_free(&names);
}

/* ---- NVML, where its library is: https://docs.nvidia.com/deploy/nvml-api ---- */

/* nvmlReturn_t is an enumeration, 0 NVML_SUCCESS; nvmlDevice_t a pointer. */
typedef int nvml_plain(void);
typedef int nvml_find(const char *name, void **card);

/* Hopper's counter of energy moves every 100 ms or so. */
#define NVML_LEAST 0.5

/* A function of a library is no object: its address is copied, not cast. */
static bool nvml_function(void *library, const char *name, void *to, size_t size)
{
    void *at = dlsym(library, name);
    memcpy(to, &at, size);
    return at != NULL;
}

/* "GPU-8-4-4-4-12" of 32 hexadecimal digits, as NVML has a card's UUID. */
static bool nvml_uuid(char out[48], const tn_device_info *d)
{
    const char *u = strstr(d->hardware, "uuid ");
    if (!u || strspn(u + 5, "0123456789abcdef") != 32) return false;
    u += 5;
    snprintf(out, 48, "GPU-%.8s-%.4s-%.4s-%.4s-%.12s", u, u + 8, u + 12, u + 16, u + 20);
    return true;
}

static bool nvml_card(tn_energy *e, const tn_device_info *d, const char *address)
{
    char uuid[48];
    nvml_find *by_pci, *by_uuid;
    if (address[0] && nvml_function(e->library, "nvmlDeviceGetHandleByPciBusId_v2", &by_pci, sizeof by_pci) &&
        !by_pci(address, &e->card))
        return true;
    return nvml_uuid(uuid, d) && nvml_function(e->library, "nvmlDeviceGetHandleByUUID", &by_uuid, sizeof by_uuid) &&
           !by_uuid(uuid, &e->card);
}

/* Energy from Volta on; power on older cards too. */
static bool nvml_counts(tn_energy *e)
{
    unsigned long long joules;
    unsigned watts;
    if (nvml_function(e->library, "nvmlDeviceGetTotalEnergyConsumption", &e->millijoules, sizeof e->millijoules) &&
        !e->millijoules(e->card, &joules))
        return true;
    e->millijoules = NULL;
    if (nvml_function(e->library, "nvmlDeviceGetPowerUsage", &e->milliwatts, sizeof e->milliwatts) &&
        !e->milliwatts(e->card, &watts))
        return true;
    e->milliwatts = NULL;
    return false;
}

static void find_nvml(tn_energy *e, const tn_device_info *d, const char *address)
{
    nvml_plain *init;
    e->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!e->library || !nvml_function(e->library, "nvmlInit_v2", &init, sizeof init) || init()) return;
    if (!nvml_card(e, d, address) || !nvml_counts(e)) return;
    e->n = 1;
    e->least = NVML_LEAST;
    e->counter[0].unit = 1e-3;
    e->counter[0].power = e->milliwatts != NULL;
    snprintf(e->from, sizeof e->from, "NVML");
}

void tn_energy_open(tn_energy *e, const tn_device_info *d, const char *root)
{
    char address[32];
    *e = (tn_energy){0};
    if (d->type == TN_DEVICE_CPU) {
        find_rapl(e, root);
    } else {
        pci_address(address, d);
        find_nvml(e, d, address);
        if (!e->n) find_hwmon(e, address, root);
    }
    if (e->n) e->why[0] = 0;
}

void tn_energy_close(tn_energy *e)
{
    nvml_plain *shutdown;
    if (e->library && nvml_function(e->library, "nvmlShutdown", &shutdown, sizeof shutdown)) (void)shutdown();
    if (e->library) dlclose(e->library);
    *e = (tn_energy){0};
}

/* ---- readings ---- */

/* In joules or watts; false where it cannot be read any more. */
static bool read_counter(double *v, const tn_energy *e, int i)
{
    unsigned long long joules = 0;
    unsigned watts = 0;
    bool read;
    if (e->millijoules) read = !e->millijoules(e->card, &joules), *v = (double)joules;
    else if (e->milliwatts) read = !e->milliwatts(e->card, &watts), *v = watts;
    else read = file_number(v, e->counter[i].path);
    *v *= e->counter[i].unit;
    return read;
}

/* begun[i]: at the beginning; of watts the last ones. A counter that is lost makes the sum unknown. */
void tn_energy_begin(tn_energy *e)
{
    e->joules = 0;
    for (int i = 0; i < e->n; i++)
        if (!read_counter(&e->begun[i], e, i)) e->joules = NAN;
    e->at = e->sampled = tn_now();
}

void tn_energy_sample(tn_energy *e)
{
    const double now = tn_now(), seconds = now - e->sampled;
    for (int i = 0; i < e->n; i++) {
        double v = 0;
        if (!e->counter[i].power) continue;
        if (!read_counter(&v, e, i)) e->joules = NAN;
        e->joules += (v + e->begun[i]) / 2 * seconds;
        e->begun[i] = v;
    }
    e->sampled = now;
}

double tn_energy_end(tn_energy *e)
{
    tn_energy_sample(e);
    double sum = e->joules;
    for (int i = 0; i < e->n; i++) {
        double now = 0;
        const double wraps = e->counter[i].range * e->counter[i].unit;
        if (e->counter[i].power) continue;
        if (!read_counter(&now, e, i) || (now < e->begun[i] && wraps <= 0)) return 0;
        sum += now >= e->begun[i] ? now - e->begun[i] : now - e->begun[i] + wraps;
    }
    return sum > 0 && tn_now() - e->at >= e->least ? sum : 0;
}
