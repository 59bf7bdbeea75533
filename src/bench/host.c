#include "host.h"
#include "clock.h"
#include "fail.h"
#include "jsonio.h"
#include "machine.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Ticks of a line "cpu3 user nice system idle iowait irq softirq steal guest ..." in which somebody worked: a guest's are among the
 * user's, and what the hypervisor gave to others (steal) was no use to us. */
static double ticks_of(const char *line, int *cpu)
{
    unsigned long long t[8] = {0};
    if (sscanf(line, "cpu%d %llu %llu %llu %llu %llu %llu %llu %llu", cpu, &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) <
        5)
        *cpu = -1;
    return (double)(t[0] + t[1] + t[2] + t[5] + t[6] + t[7]);
}

static double seconds_of(const struct rusage *r)
{
    return (double)(r->ru_utime.tv_sec + r->ru_stime.tv_sec) + 1e-6 * (double)(r->ru_utime.tv_usec + r->ru_stime.tv_usec);
}

void tn_load_now(tn_load *l, const char *root)
{
    char path[256], line[512];
    struct rusage self = {0}, children = {0};
    cpu_set_t set;
    double ticks = 0;
    int found = 0, cpu;
    CPU_ZERO(&set);
    snprintf(path, sizeof path, "%.200s/proc/stat", root);
    FILE *f = sched_getaffinity(0, sizeof set, &set) ? NULL : fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        const double t = ticks_of(line, &cpu);
        if (cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &set)) continue;
        ticks += t;
        found++;
    }
    if (f) fclose(f);
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    l->busy = found ? ticks / (double)sysconf(_SC_CLK_TCK) : -1;
    l->own = seconds_of(&self) + seconds_of(&children);
    l->at = tn_now();
}

double tn_load_others(const tn_load *from, const tn_load *to)
{
    const double seconds = to->at - from->at;
    if (from->busy < 0 || to->busy < 0 || seconds <= 0) return -1;
    return TN_MAX(0, (to->busy - from->busy) - (to->own - from->own)) / seconds;
}

static void processor_name(char *out, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(out, size, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        const char *value = strchr(line, ':');
        if (!value || strncmp(line, "model name", 10) != 0) continue;
        snprintf(out, size, "%.*s", (int)strcspn(value + 2, "\n"), value + 2);
        break;
    }
    if (f) fclose(f);
}

json_t *tn_host_describe(void)
{
    char processor[200];
    struct utsname u = {0};
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    processor_name(processor, sizeof processor);
    uname(&u);
    return json_pack("{s:o, s:i, s:I, s:o, s:o}", "processor", tn_json_text(processor), "processors", tn_processors(), "memory",
                     (json_int_t)pages * page, "system", tn_json_text(u.sysname), "release", tn_json_text(u.release));
}
