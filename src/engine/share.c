#include "share.h"
#include "fail.h"

tn_share tn_share_of(int count, int number, int batch, int micro)
{
    const int micros = TN_CEIL_DIV(batch, micro), each = micros / count, more = micros % count;
    const int first = micro * (each * number + TN_MIN(number, more)), last = first + micro * (each + (number < more));
    return (tn_share){batch, TN_MIN(first, batch), TN_MIN(last, batch) - TN_MIN(first, batch)};
}

int tn_share_frames(const tn_share *s, int whole)
{
    return TN_MIN(TN_MAX(whole - s->first, 0), s->n);
}

int tn_share_micro(int count, int batch)
{
    return TN_CEIL_DIV(batch, count);
}
