/** Adapters put into an engine. */
#ifndef TN_ADAPTER_USE_H
#define TN_ADAPTER_USE_H
#include "adapter.h"

/** A tn_lora that holds every module of all adapters at the largest rank, so that they can be swapped. */
int tn_adapter_union(tn_lora *l, tn_adapter *const *a, int n, tn_error *err);
/** Puts one adapter into an engine whose model was built from the union. */
int tn_adapter_apply(const tn_adapter *a, tn_engine *e, tn_error *err);
enum { TN_MAX_ADAPTERS = 16 };
/** The engine for o: with o->adapters the model holds them all and `list` their files (else the checkpoint's own state is
 * loaded and *n is 0). tn_adapters_use puts adapter i in place, with the decoder that lies beside it, if one does. */
int tn_adapters_engine(tn_engine **e, tn_adapter *list[TN_MAX_ADAPTERS], int *n, const tn_settings *s, const tn_run_options *o,
                       tn_error *err);
int tn_adapters_use(const tn_adapter *a, tn_engine *e, const tn_run_options *o, tn_error *err);
#endif
