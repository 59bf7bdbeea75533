/* What the machine can do and what others take of it, in a folder that looks like the system's. */
#include "bench.h"
#include "ceiling.h"
#include "fake_root.h"
#include "host.h"

#include <sched.h>
#include <string.h>

START_TEST(what_others_take)
{
    char *root = temp_path("root"), line[128];
    tn_load a, b;
    cpu_set_t set;
    int cpu = 0;
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    while (!CPU_ISSET(cpu, &set)) cpu++;
    snprintf(line, sizeof line, "cpu  9 9 9 9\ncpu%d 100 0 50 1000 5 0 0 0\n", cpu);
    put("proc/stat", line);
    tn_load_now(&a, root);
    snprintf(line, sizeof line, "cpu  9 9 9 9\ncpu%d 150 0 200 9000 5 0 0 0\n", cpu);
    put("proc/stat", line);
    tn_load_now(&b, root);
    b.at = a.at + 4; /* 200 ticks of 10 ms in four seconds */
    b.own = a.own + 1;
    ck_assert_double_eq_tol(tn_load_others(&a, &b), (200.0 / (double)sysconf(_SC_CLK_TCK) - 1) / 4, 1e-9);
    b.own = a.own + 10;
    ck_assert_double_eq(tn_load_others(&a, &b), 0);
    tn_remove_tree(root, NULL);
    tn_load_now(&a, root);
    ck_assert(tn_load_others(&a, &b) < 0);
    free(root);
}
END_TEST

START_TEST(ceilings_know_caches)
{
    tn_bench b = {.info = {.type = TN_DEVICE_CPU, .compute_units = 4, .clock_mhz = 3000}, .caps = TN_CAP_CPU | TN_CAP_AVX512};
    char why[200];
    const tn_bench_job j = {.unit = "B/s", .set = 1 << 20};
    b.curve[0].set = 1 << 20, b.curve[0].rate = 200e9;
    b.curve[1].set = 1 << 27, b.curve[1].rate = 20e9;
    b.n_curve = 2;
    ck_assert_double_eq(tn_ceiling_bytes(&b, 1 << 20), 400e9);
    ck_assert_double_eq(tn_ceiling_bytes(&b, 1 << 27), 40e9);
    ck_assert_double_eq(tn_ceiling_bytes(&b, 1e12), 40e9);
    tn_ceiling_judge(why, sizeof why, &b, &j, 300e9);
    ck_assert_str_eq(why, "");
    tn_ceiling_judge(why, sizeof why, &b, &j, 500e9);
    ck_assert_ptr_nonnull(strstr(why, "500 GB/s is more than this device can do"));
    ck_assert_double_eq(tn_ceiling_flops(&b, TN_F32), 4 * 6e9 * 64);
    b.caps |= TN_CAP_AMX_BF16;
    ck_assert_double_eq(tn_ceiling_flops(&b, TN_BF16), 4 * 6e9 * 2048);
    b.info = (tn_device_info){.type = TN_DEVICE_GPU, .compute_units = 132, .clock_mhz = 1980};
    b.caps = TN_CAP_NV_PTX | TN_CAP_NV_MMA80 | TN_CAP_NV_WGMMA; /* an H100: 989 TFLOP/s of bfloat16 are sold at 1.83 GHz */
    ck_assert_double_eq_tol(tn_ceiling_flops(&b, TN_BF16), 1.1 * 132 * 1.98e9 * 4096, 1);
    ck_assert(tn_ceiling_flops(&b, TN_BF16) > 989e12 && tn_ceiling_flops(&b, TN_F32) > 67e12);
}
END_TEST

void bench_machine(Suite *s)
{
    add_tests(s, "machine", 60, TESTS(ONCE(what_others_take), ONCE(ceilings_know_caches)));
}
