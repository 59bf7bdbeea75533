#include "cpus.h"
#include "fail.h"
#include "text.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool cpus_line(char *line, int size, const char *root, const char *file)
{
    char *path = tn_strf("%s/%s", root, file);
    FILE *f = path ? fopen(path, "r") : NULL;
    const bool there = f && fgets(line, size, f);
    if (f) fclose(f);
    free(path);
    return there;
}

/* The first processor of the core that i belongs to; i where nothing is said. */
static int core_of(const char *root, int i)
{
    char file[96], line[256];
    int first = i;
    snprintf(file, sizeof file, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
    if (cpus_line(line, sizeof line, root, file) && sscanf(line, "%d", &first) == 1 && first >= 0 && first < CPU_SETSIZE)
        return first;
    return i;
}

static void read_online(tn_cpus *c, const char *root)
{
    char line[256], end;
    int last = 0;
    c->online = c->allowed;
    c->dense = false;
    if (!cpus_line(line, sizeof line, root, "sys/devices/system/cpu/online")) return;
    if (sscanf(line, "0-%d%c", &last, &end) == 2 && end == '\n') c->dense = true, c->online = last + 1;
    else if (!strcmp(line, "0\n")) c->dense = true, c->online = 1;
}

/* A quota over its period in processors; INT_MAX: none. */
static int in_processors(unsigned long long most, unsigned long long period)
{
    return most && period && most / period < CPU_SETSIZE ? (int)TN_CEIL_DIV(most, period) : INT_MAX;
}

/* What version 2 grants a group and those above it; `group` is cut down to nothing. */
static int quota_v2(const char *root, char *group)
{
    int least = INT_MAX;
    for (;;) {
        char file[4200], line[128];
        unsigned long long most, period;
        snprintf(file, sizeof file, "sys/fs/cgroup%s/cpu.max", group);
        if (cpus_line(line, sizeof line, root, file) && sscanf(line, "%llu %llu", &most, &period) == 2)
            least = TN_MIN(least, in_processors(most, period));
        if (!group[0]) return least;
        *strrchr(group, '/') = 0;
    }
}

/* Of a container, which sees its own group at the top. */
static int quota_v1(const char *root)
{
    char line[128];
    long long most = 0, period = 0;
    if (!cpus_line(line, sizeof line, root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us") || sscanf(line, "%lld", &most) != 1 || most <= 0)
        return INT_MAX;
    if (!cpus_line(line, sizeof line, root, "sys/fs/cgroup/cpu/cpu.cfs_period_us") || sscanf(line, "%lld", &period) != 1)
        return INT_MAX;
    return in_processors((unsigned long long)most, (unsigned long long)TN_MAX(period, 0));
}

/* The group of version 2 that the process is in: "" at the top, or where nothing is said. */
static void find_group(char group[4096], const char *root)
{
    char *path = tn_strf("%s/proc/self/cgroup", root), line[4096];
    FILE *f = path ? fopen(path, "r") : NULL;
    group[0] = 0;
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "0::/", 4)) snprintf(group, 4096, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    if (!strcmp(group, "/")) group[0] = 0;
    if (f) fclose(f);
    free(path);
}

static int quota(const char *root)
{
    char group[4096];
    find_group(group, root);
    const int v1 = quota_v1(root), v2 = quota_v2(root, group);
    return TN_MIN(v1, v2);
}

void tn_cpus_read(tn_cpus *c, const cpu_set_t *mask, const char *root)
{
    bool seen[CPU_SETSIZE] = {false};
    *c = (tn_cpus){.allowed = CPU_COUNT(mask), .quota = quota(root)};
    read_online(c, root);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, mask)) continue;
        const int core = core_of(root, i);
        c->cores += !seen[core];
        c->leading += c->leading == i && core == i;
        seen[core] = true;
    }
}

int tn_cpus_threads(const tn_cpus *c, int wanted)
{
    const int most = TN_MIN(c->allowed, wanted > 0 ? wanted : c->quota);
    return TN_MAX(most, 1);
}

bool tn_cpus_bindable(const tn_cpus *c, int threads)
{
    if (!c->dense || c->allowed != c->online || c->quota < threads) return false;
    return threads == c->online || (threads == c->cores && c->leading >= threads);
}
