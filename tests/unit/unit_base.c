/* Numbers, text and paths. */
#include "files.h"
#include "numeric.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>

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

void unit_base(Suite *s)
{
    add_tests(s, "base", 120, TESTS(ONCE(half_formats_round_trip), ONCE(expanded_paths_use_the_environment)));
}
