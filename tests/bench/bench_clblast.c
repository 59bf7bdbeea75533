/* Searches CLBlast's parameters on one device, as devices --tune does, and says what each candidate took: for
 * configs/tunings/clblast.txt. bench_clblast SECONDS [DEVICE [CACHE]] */
#include "clblast.h"
#include "tuning.h"
#include <tracknet/device.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_line(void *user, tn_log_level level, const char *text)
{
    (void)user, (void)level;
    puts(text);
    fflush(stdout);
}

static int search(double seconds, const char *device, const char *cache, const char *self, tn_error *err)
{
    const tn_log log = {.fn = print_line};
    const tn_dev_options o = {.log = &log, .helper = self, .cache = cache};
    tn_dev *d;
    tn_text table = {0};
    int index;
    bool changed;
    TN_TRY(tn_device_select(&index, device, err));
    TN_TRY(tn_dev_open(&d, index, &o, err));
    int rc = tn_clblast_tune(&changed, d, seconds, err);
    if (!rc) rc = tn_tuning_table(&table, d, err);
    if (!rc) printf("%s\n", changed ? table.s : "CLBlast's own parameters stay");
    tn_text_free(&table);
    tn_dev_close(d);
    return rc;
}

int main(int argc, char **argv)
{
    char self[4096] = "";
    tn_error err = {0};
    if (argc > 1 && !strcmp(argv[1], "try-clblast")) return tn_device_try_clblast(STDIN_FILENO, STDOUT_FILENO, &err) ? 1 : 0;
    if (argc < 2 || readlink("/proc/self/exe", self, sizeof self - 1) <= 0) return 2;
    if (!search(atof(argv[1]), argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL, self, &err)) return 0;
    fprintf(stderr, "%s\n", err.message);
    return 1;
}
