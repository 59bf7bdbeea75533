/* The table: a decoder is a file and a row here. */
#include "model.h"

#include <string.h>

#define DECODERS(X) X(tn_decoder_upsampling) X(tn_decoder_fpn) X(tn_decoder_hrnet) X(tn_decoder_deformable)

#define DECLARED(d) extern const tn_decoder_kind d;
#define LISTED(d)   &(d),
DECODERS(DECLARED)
static const tn_decoder_kind *const decoders[] = {DECODERS(LISTED) NULL};

const tn_decoder_kind *tn_decoder_find(const char *name)
{
    for (int i = 0; decoders[i]; i++)
        if (!strcmp(decoders[i]->name, name)) return decoders[i];
    return NULL;
}
