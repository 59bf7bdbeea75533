#include "energy.h"
#include "clock.h"
#include "files.h"

#include <dlfcn.h>
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

/* ---- NVML, where its library is ---- */

typedef int nvml_init(void);
typedef int nvml_by_pci(const char *address, void **card);
typedef int nvml_total(void *card, unsigned long long *millijoules);

/* A function of a library is no object: its address is copied, not cast. */
static bool nvml_function(void *library, const char *name, void *to, size_t size)
{
    void *at = dlsym(library, name);
    memcpy(to, &at, size);
    return at != NULL;
}

static void find_nvml(tn_energy *e, const char *address)
{
    nvml_init *init;
    nvml_by_pci *by_pci;
    nvml_total *total;
    unsigned long long now;
    e->library = address[0] ? dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!e->library) return;
    const bool there = nvml_function(e->library, "nvmlInit_v2", &init, sizeof init) &&
                       nvml_function(e->library, "nvmlDeviceGetHandleByPciBusId_v2", &by_pci, sizeof by_pci) &&
                       nvml_function(e->library, "nvmlDeviceGetTotalEnergyConsumption", &total, sizeof total);
    if (!there || init() || by_pci(address, &e->card) || total(e->card, &now)) return;
    e->total = total;
    e->n = 1;
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
        if (!root[0]) find_nvml(e, address);
        if (!e->n) find_hwmon(e, address, root);
    }
    if (e->n) e->why[0] = 0;
}

void tn_energy_close(tn_energy *e)
{
    nvml_init *shutdown;
    if (e->library && nvml_function(e->library, "nvmlShutdown", &shutdown, sizeof shutdown)) (void)shutdown();
    if (e->library) dlclose(e->library);
    *e = (tn_energy){0};
}

static double counted(const tn_energy *e, int i)
{
    unsigned long long millijoules = 0;
    double v = 0;
    if (e->total) return e->total(e->card, &millijoules) ? 0 : 1e-3 * (double)millijoules;
    return file_number(&v, e->counter[i].path) ? v * e->counter[i].unit : 0;
}

void tn_energy_begin(tn_energy *e)
{
    for (int i = 0; i < e->n; i++) e->begun[i] = counted(e, i);
    e->at = tn_now();
}

double tn_energy_end(tn_energy *e)
{
    const double seconds = tn_now() - e->at;
    double sum = 0;
    for (int i = 0; i < e->n; i++) {
        const double now = counted(e, i), wraps = e->counter[i].range * e->counter[i].unit;
        if (e->counter[i].power) sum += (now + e->begun[i]) / 2 * seconds;
        else sum += now >= e->begun[i] ? now - e->begun[i] : now - e->begun[i] + wraps;
    }
    return sum;
}
