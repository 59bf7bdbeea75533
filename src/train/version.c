#include <tracknet/tracknet.h>

const char *tn_version(void)
{
    return TN_VERSION_STRING;
}
