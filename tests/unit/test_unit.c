/* Everything that needs no device. */
#include "unit.h"

int main(void)
{
    Suite *s = suite_create("unit");
    unit_base(s);
    unit_weights(s);
    unit_quant(s);
    unit_config(s);
    unit_data(s);
    unit_backbones(s);
    unit_decoders(s);
    unit_fuse(s);
    unit_plan(s);
    return run_suite(s);
}
