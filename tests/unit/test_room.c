/* What a run may take of a device: all plans of a run see the same number. The linker puts another host in place of this one. */
#include "fit.h"
#include "../testlib.h"

#include <stdint.h>

static size_t host_left;

size_t __wrap_tn_memory_free(void);
size_t __wrap_tn_memory_free(void)
{
    return host_left;
}

static tn_dev *open_device(size_t left, size_t limit)
{
    const tn_dev_options o = {.memory_limit = limit, .cache = "off"};
    tn_error err = {0};
    tn_dev *d;
    int index;
    host_left = left;
    ck_assert_msg(!tn_device_select(&index, "cpu", &err) && !tn_dev_open(&d, index, &o, &err), "%s", err.message);
    return d;
}

static const struct {
    size_t left, limit;
    bool own;    /* the device has memory of its own */
    size_t room; /* 0: nine tenths of the device's */
} cases[] = {{1000000, 0, false, 900000},
             {SIZE_MAX, 0, false, 0},
             {0, 0, false, 0}, /* the host does not say */
             {1000000, 5000, false, 5000},
             {1000000, 0, true, 0}};

START_TEST(the_room_is_what_was_there_when_the_device_was_opened)
{
    tn_error err = {0};
    tn_buffer *b;
    tn_dev *d = open_device(cases[_i].left, cases[_i].limit);
    const tn_member who = {.dev = d};
    const size_t want = cases[_i].room ? cases[_i].room : d->info.global_memory / 10 * 9;
    if (cases[_i].own) d->info.unified_memory = false, d->caps &= ~(unsigned)TN_CAP_CPU;
    ck_assert_uint_eq(tn_member_room(&who), want);
    host_left = 10000; /* others take the rest */
    ck_assert_msg(!tn_buffer_new(&b, d, 4096, "a test", &err), "%s", err.message);
    ck_assert_uint_eq(tn_member_room(&who), want);
    tn_buffer_free(b);
    tn_dev_close(d);
}
END_TEST

int main(void)
{
    return run_tests("room", 20, TESTS(TIMES(the_room_is_what_was_there_when_the_device_was_opened, sizeof cases / sizeof *cases)));
}
