/** The parts of test-unit, a file for each room that needs no device. */
#ifndef TN_UNIT_H
#define TN_UNIT_H
#include "../testlib.h"

void unit_base(Suite *s);
void unit_config(Suite *s);
void unit_data(Suite *s);
void unit_backbones(Suite *s);
void unit_decoders(Suite *s);
void unit_fuse(Suite *s);
void unit_plan(Suite *s);
void unit_quant(Suite *s);
void unit_weights(Suite *s);
#endif
