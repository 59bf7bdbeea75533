/** Numbers are read and written with a point, whatever locale the program around the library has set. */
#ifndef TN_SCOPE_H
#define TN_SCOPE_H
#include <locale.h>

/** What a thread's locale was; belongs to the block that made it. */
typedef struct tn_scope {
    locale_t before, host, ours;
} tn_scope;

/** The C locale for this thread alone, until tn_scope_leave. Scopes nest. */
tn_scope tn_scope_enter(void);
/** The program's locale again, for a call of its own functions. */
tn_scope tn_scope_outside(void);
void tn_scope_leave(tn_scope *s);

/** The rest of the block runs in the C locale: in public functions through TN_ENTRY, and first in each thread of ours. */
#define TN_SCOPE tn_scope tn_scope_ __attribute__((cleanup(tn_scope_leave), unused)) = tn_scope_enter()

/** The value of a call of the program's function, made in the program's locale. */
#define TN_CALLBACK(call)                                                                                                          \
    ({                                                                                                                             \
        tn_scope tn_outside_ __attribute__((cleanup(tn_scope_leave), unused)) = tn_scope_outside();                                \
        (call);                                                                                                                    \
    })
#endif
