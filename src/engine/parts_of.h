/** The parts of a model as the configuration describes them. */
#ifndef TN_PARTS_OF_H
#define TN_PARTS_OF_H
#include "model.h"
#include "settings.h"

int tn_decoder_of_settings(tn_decoder *d, const tn_settings *s, tn_error *err);
/** Borrows its lists from the settings; tn_model_new copies. */
tn_lora tn_lora_of_settings(const tn_settings *s);
#endif
