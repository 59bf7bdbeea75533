/** A device as a bug report names it. */
#ifndef TN_FACTS_H
#define TN_FACTS_H
#include "dev.h"
#include "text.h"

/** Versions, driver, limits, extensions, quirks and capabilities, a line each; nothing of the person or the machine's place: no
 * path, no name of a host, no serial number. */
void tn_device_facts(tn_text *out, const tn_dev *d);
#endif
