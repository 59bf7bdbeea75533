#include "share.h"
#include "fail.h"

tn_share tn_share_of(const tn_ranks *r, int batch, int micro)
{
    const int n = tn_ranks_count(r), i = tn_ranks_number(r), micros = TN_CEIL_DIV(batch, micro);
    const int each = micros / n, more = micros % n;
    const int first = micro * (each * i + TN_MIN(i, more)), last = first + micro * (each + (i < more));
    return (tn_share){batch, TN_MIN(first, batch), TN_MIN(last, batch) - TN_MIN(first, batch)};
}

int tn_share_frames(const tn_share *s, int whole)
{
    return TN_MIN(TN_MAX(whole - s->first, 0), s->n);
}

int tn_share_micro(const tn_ranks *r, int batch)
{
    return TN_CEIL_DIV(batch, tn_ranks_count(r));
}
