/* Which programs take addresses for buffers, when they are built and when they come out of the cache. */
#include "ptx.h"
#include "../testlib.h"
#include "../tools/ptx_driver.h"

/* A device with a cache folder or none, and its program. */
static bool is_bare(const char *cache, bool takes_addresses)
{
    static const char file[] = "portable/fill.cl";
    const tn_dev_options o = {.cache = cache};
    tn_error err = {0};
    tn_kernel *k;
    tn_dev *d;
    int index;
    ck_assert_msg(!tn_device_select(&index, "cpu", &err) && !tn_dev_open(&d, index, &o, &err), "%s", err.message);
    d->quirk_flags = 0;
    d->bare = takes_addresses;
    ptx_driver.fetched = ptx_driver.from_source = ptx_driver.from_binary = 0;
    ck_assert_msg(!tn_kernel_get(&k, d, file, "fill", "", &err), "%s", err.message);
    const bool bare = k->bare;
    tn_dev_close(d);
    return bare;
}

static const struct {
    bool takes_addresses, pointers, refuses, bare;
} cases[] = {{true, true, false, true}, {true, true, true, false}, {true, false, false, true}, {false, true, false, false}};

START_TEST(programs_know_whether_they_take_addresses)
{
    char *cache = temp_path("programs");
    ptx_driver.pointers = cases[_i].pointers, ptx_driver.refuses = cases[_i].refuses;
    for (int run = 0; run < 3; run++) { /* without a cache, into it, and out of it */
        const bool rebuilt = cases[_i].takes_addresses && !cases[_i].refuses;
        ck_assert(is_bare(run ? cache : "off", cases[_i].takes_addresses) == cases[_i].bare);
        ck_assert_int_eq(ptx_driver.from_source, run < 2);
        ck_assert_int_eq(ptx_driver.from_binary, run < 2 ? rebuilt : 1);
        ck_assert_int_eq(ptx_driver.fetched, run < 2 ? cases[_i].takes_addresses + run : 0); /* to rewrite it, to store it */
    }
    free(cache);
}
END_TEST

int main(void)
{
    return run_tests("programs", 60, TESTS(TIMES(programs_know_whether_they_take_addresses, TN_COUNT(cases))));
}
