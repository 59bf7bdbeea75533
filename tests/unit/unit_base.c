/* Numbers, text and paths. */
#include "files.h"
#include "machine.h"
#include "numeric.h"
#include "unit.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

START_TEST(half_formats_round_trip)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = tn_f16_to_f32((uint16_t)h), b = tn_bf16_to_f32((uint16_t)h);
        if (!isnan(f)) ck_assert_uint_eq(tn_f32_to_f16(f), h);
        if (!isnan(b)) ck_assert_uint_eq(tn_f32_to_bf16(b), h);
    }
    ck_assert_uint_eq(tn_f32_to_f16(65520.0f), 0x7c00);     /* rounds to infinity */
    ck_assert_uint_eq(tn_f32_to_bf16(1.00390625f), 0x3f80); /* a tie goes to even */
}
END_TEST

START_TEST(expanded_paths_use_the_environment)
{
    setenv("TN_TEST_VAR", "value", 1);
    char *p = tn_expand_path("$TN_TEST_VAR/x/${TN_TEST_VAR}y");
    ck_assert_str_eq(p, "value/x/valuey");
    free(p);
}
END_TEST

/* A process of its own for each test, so that the affinity is nobody else's. */
START_TEST(the_machine_is_what_the_process_gets)
{
    cpu_set_t all, one;
    const size_t total = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    ck_assert(!sched_getaffinity(0, sizeof all, &all));
    ck_assert_int_ge(tn_processors(), 1);
    ck_assert_int_le(tn_processors(), CPU_COUNT(&all));
    int cpu = 0;
    while (!CPU_ISSET(cpu, &all)) cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ck_assert(!sched_setaffinity(0, sizeof one, &one));
    ck_assert_int_eq(tn_processors(), 1);
    ck_assert(!sched_setaffinity(0, sizeof all, &all));
    ck_assert_uint_gt(tn_memory_free(), 0);
    ck_assert_uint_lt(tn_memory_free(), total);
}
END_TEST

void unit_base(Suite *s)
{
    add_tests(
        s, "base", 120,
        TESTS(ONCE(half_formats_round_trip), ONCE(expanded_paths_use_the_environment), ONCE(the_machine_is_what_the_process_gets)));
}
