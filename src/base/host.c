#include "host.h"

#include <stdio.h>
#include <unistd.h>

/* Linux counts what it would take back from its file cache; elsewhere only what lies idle is known. */
size_t tn_host_free(void)
{
    size_t kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && !kib && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %zu", &kib) != 1) kib = 0;
    if (f) fclose(f);
#ifdef _SC_AVPHYS_PAGES
    const long pages = sysconf(_SC_AVPHYS_PAGES);
    if (!kib && pages > 0) return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
#endif
    return 1024 * kib;
}
