/* Where joules come from: RAPL and hwmon in folders that look like the system's, NVML in a library that stands for NVIDIA's
 * (tools/fake_nvml.c, found as that would be); and what a benchmark makes of them. */
#include "energy.h"
#include "clock.h"
#include "files.h"
#include "work.h"
#include "fake_root.h"
#include "../testdev.h"
#include "../testlib.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const tn_device_info cpu = {.type = TN_DEVICE_CPU};

/* ---- the system's files ---- */

#define RAPL "sys/class/powercap/intel-rapl:"

START_TEST(rapl)
{
    char *root = temp_path("root");
    tn_energy e;
    tn_energy_open(&e, &cpu, root);
    ck_assert(e.n == 0 && strstr(e.why, "no RAPL counter"));
    tn_energy_begin(&e);
    ck_assert_double_eq(tn_energy_end(&e), 0);
    put(RAPL "0/name", "package-0\n");
    put(RAPL "0/max_energy_range_uj", "10000000\n");
    put(RAPL "0/energy_uj", "9000000\n");
    put(RAPL "1/name", "psys\n"); /* has the packages in it */
    put(RAPL "1/energy_uj", "5\n");
    put(RAPL "2/name", "package-1\n");
    put(RAPL "2/max_energy_range_uj", "262143328850\n");
    put(RAPL "2/energy_uj", "262143328849\n");
    tn_energy_open(&e, &cpu, root);
    ck_assert_str_eq(e.from, "RAPL");
    ck_assert_int_eq(e.n, 2);
    tn_energy_begin(&e);
    put(RAPL "0/energy_uj", "2000000\n"); /* past its end: 3 J */
    put(RAPL "2/energy_uj", "499999\n");  /* as well: half a joule */
    ck_assert_double_eq_tol(tn_energy_end(&e), 3.5, 1e-5);
    tn_energy_begin(&e);
    put(RAPL "0/energy_uj", "2750000\n");
    ck_assert_double_eq_tol(tn_energy_end(&e), 0.75, 1e-9);
    tn_energy_begin(&e);
    put(RAPL "0/energy_uj", "none\n"); /* a counter that is gone tells nothing of all */
    ck_assert_double_eq(tn_energy_end(&e), 0);
    tn_energy_close(&e);
    tn_remove_tree(root, NULL);
    free(root);
}
END_TEST

#define CARD "sys/bus/pci/devices/0000:01:00.0/hwmon/hwmon3/"

START_TEST(hwmon)
{
    char *root = temp_path("root");
    tn_energy e;
    const tn_device_info gpu = {.type = TN_DEVICE_GPU, .hardware = "pci 0000:01:00.0"};
    tn_energy_open(&e, &gpu, root);
    ck_assert(e.n == 0 && strstr(e.why, "0000:01:00.0"));
    tn_energy_close(&e);
    put(CARD "power1_average", "40000000\n"); /* uW */
    tn_energy_open(&e, &gpu, root);
    ck_assert_str_eq(e.from, "hwmon");
    tn_energy_begin(&e);
    nanosleep(&(struct timespec){0, 100000000}, NULL);
    put(CARD "power1_average", "80000000\n");
    tn_energy_sample(&e); /* 60 W in the mean till here, 80 W from here on */
    const double half = tn_now() - e.at;
    nanosleep(&(struct timespec){0, 100000000}, NULL);
    const double joules = tn_energy_end(&e), all = tn_now() - e.at;
    ck_assert_double_eq_tol(joules, 60 * half + 80 * (all - half), 0.05 * joules);
    tn_energy_close(&e);
    put(CARD "energy1_input", "1000000\n"); /* uJ: better than watts */
    tn_energy_open(&e, &gpu, root);
    tn_energy_begin(&e);
    put(CARD "energy1_input", "3500000\n");
    ck_assert_double_eq_tol(tn_energy_end(&e), 2.5, 1e-9);
    tn_energy_begin(&e);
    put(CARD "energy1_input", "1\n"); /* it began anew, and nobody says at what */
    ck_assert_double_eq(tn_energy_end(&e), 0);
    tn_energy_close(&e);
    tn_remove_tree(root, NULL);
    free(root);
}
END_TEST

/* ---- NVML ---- */

static double watts_of(const char *hardware)
{
    const tn_device_info gpu = {.type = TN_DEVICE_GPU, .hardware = "", .name = "a card"};
    tn_device_info named = gpu;
    tn_energy e;
    snprintf(named.hardware, sizeof named.hardware, "%s", hardware);
    tn_energy_open(&e, &named, "/nowhere");
    ck_assert_str_eq(e.from, e.n ? "NVML" : "");
    ck_assert(e.n || e.why[0]);
    tn_energy_begin(&e);
    ck_assert_double_eq(tn_energy_end(&e), 0); /* so soon nothing is known */
    tn_energy_begin(&e);
    const double begin = tn_now();
    nanosleep(&(struct timespec){0, 600000000}, NULL);
    const double joules = tn_energy_end(&e), watts = joules / (tn_now() - begin);
    tn_energy_close(&e);
    return watts;
}

START_TEST(nvml)
{
    unsetenv("FAKE_NVML");
    ck_assert_double_eq_tol(watts_of("pci 0000:65:00.0 uuid ffffffffffffffffffffffffffffffff"), 50, 2);
    /* another address (a domain that OpenCL cuts), the same card */
    ck_assert_double_eq_tol(watts_of("pci 0000:66:00.0 uuid 00112233445566778899aabbccddeeff"), 50, 2);
    ck_assert_double_eq(watts_of("pci 0000:66:00.0"), 0);
    ck_assert_double_eq(watts_of(""), 0);
    setenv("FAKE_NVML", "power", 1);
    ck_assert_double_eq_tol(watts_of("pci 0000:65:00.0"), 50, 2);
    setenv("FAKE_NVML", "none", 1);
    ck_assert_double_eq(watts_of("pci 0000:65:00.0"), 0);
    unsetenv("FAKE_NVML");
}
END_TEST

/* ---- images per joule ---- */

static const json_t *figure(const json_t *list, const char *id)
{
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) if (!strcmp(tn_json_str(m, "id", ""), id)) return m;
    ck_abort_msg("there is no %s", id);
    return NULL;
}

/* A prediction on whatever device there is, with the fake card's 50 W: images a second over images per joule. */
START_TEST(images_per_joule)
{
    static const tn_bench_level level = {.name = "test", .least = 3, .most = 5, .work = 1.4};
    const tn_device_info gpu = {.type = TN_DEVICE_GPU, .hardware = "pci 0000:65:00.0"};
    tn_run_options o = TN_RUN_OPTIONS_INIT;
    tn_energy energy;
    tn_error err = {0};
    tn_bench b = {.level = &level, .list = json_array(), .notes = json_array(), .left = json_array(), .part = "work"};
    tn_bench_work *w = calloc(1, sizeof *w);
    char *configs = tn_strf("%s/configs", getenv("TEST_SOURCE"));
    *w = (tn_bench_work){.o = &o, .config_dir = configs, .energy = &energy, .steps = json_array()};
    o.device = getenv("TRACKNET_TEST_DEVICE");
    tn_energy_open(&energy, &gpu, "");
    ck_assert_str_eq(energy.from, "NVML");
    ck_assert_msg(!tn_bench_size(&b, w, "tiny", TN_F32, &err), "%s", err.message);
    for (const char *const *use = (const char *const[]){"train", "predict", NULL}; *use; use++) {
        char id[96];
        snprintf(id, sizeof id, "work.%s.tiny.float32.throughput", *use);
        const json_t *rate = figure(b.list, id);
        snprintf(id, sizeof id, "work.%s.tiny.float32.images-per-joule", *use);
        const json_t *per_joule = figure(b.list, id);
        ck_assert_str_eq(tn_json_str(per_joule, "unit", ""), "img/J");
        ck_assert_str_eq(tn_json_str(per_joule, "better", ""), "more");
        ck_assert_int_eq(tn_json_int(per_joule, "batch", 0), tn_json_int(rate, "batch", -1));
        const double watts = tn_json_num(rate, "value", 0) / tn_json_num(per_joule, "value", 0);
        ck_assert_msg(watts > 35 && watts < 75, "%s: %g W", *use, watts); /* medians of bursts beside a sum over them */
    }
    tn_energy_close(&energy);
    json_decref(b.list);
    json_decref(b.notes);
    json_decref(b.left);
    json_decref(w->steps);
    free(w);
    free(configs);
}
END_TEST

int main(void)
{
    return run_tests("energy", 120, TESTS(ONCE(rapl), ONCE(hwmon), ONCE(nvml), ONCE(images_per_joule)));
}
