#include "machine.h"
#include "cpus.h"
#include "fail.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The first line of a file of /proc or /sys that begins with `key`, behind it; false: there is none. */
static bool line_of(char *line, int size, const char *path, const char *key)
{
    FILE *f = fopen(path, "r");
    bool found = false;
    while (f && !found && fgets(line, size, f)) found = !strncmp(line, key, strlen(key));
    if (f) fclose(f);
    if (found) memmove(line, line + strlen(key), strlen(line + strlen(key)) + 1);
    return found;
}

/* "max" and what is missing are no number. */
static bool number_of(unsigned long long *v, const char *path, const char *key)
{
    char line[128];
    return line_of(line, sizeof line, path, key) && sscanf(line, "%llu", v) == 1;
}

int tn_processors(void)
{
    cpu_set_t set;
    tn_cpus c;
    if (sched_getaffinity(0, sizeof set, &set)) return TN_MAX((int)sysconf(_SC_NPROCESSORS_ONLN), 1);
    tn_cpus_read(&c, &set, "");
    return tn_cpus_threads(&c, 0);
}

/* What a control group leaves of its limit; SIZE_MAX: it sets none. */
static size_t group_leaves(const char *limit, const char *used)
{
    unsigned long long most, now;
    if (!number_of(&most, limit, "") || !number_of(&now, used, "")) return SIZE_MAX;
    return most > now ? (size_t)(most - now) : 0;
}

size_t tn_memory_free(void)
{
    unsigned long long kib;
    if (!number_of(&kib, "/proc/meminfo", "MemAvailable:")) return 0;
    size_t bytes = (size_t)kib * 1024;
    bytes = TN_MIN(bytes, group_leaves("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"));
    return TN_MIN(bytes,
                  group_leaves("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"));
}
