#include "scope.h"

/* The locale that this thread came from, 0 outside of every scope: callbacks know nothing of the block that calls them. */
static _Thread_local locale_t scope_host;

tn_scope tn_scope_enter(void)
{
    const locale_t ours = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    const tn_scope s = {uselocale(ours), scope_host, ours};
    if (s.before != ours) scope_host = s.before; /* else a public function that a public function calls */
    return s;
}

tn_scope tn_scope_outside(void)
{
    const tn_scope s = {uselocale(scope_host), scope_host, (locale_t)0};
    return s;
}

void tn_scope_leave(tn_scope *s)
{
    uselocale(s->before);
    scope_host = s->host;
    if (s->ours) freelocale(s->ours);
}
