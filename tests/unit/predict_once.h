/** A batch through an engine, alone. */
#ifndef TN_PREDICT_ONCE_H
#define TN_PREDICT_ONCE_H
#include "predictor.h"
#include "../testlib.h"

/* heat and loss as of tn_predictor_run. */
static inline void predict_once(tn_engine *engine, const tn_batch *b, float *heat, double *loss)
{
    tn_error e = {0};
    tn_predictor *p;
    ck_assert_msg(!tn_predictor_new(&p, engine, &e), "%s", e.message);
    ck_assert_msg(!tn_predictor_run(p, b, heat, loss, &e), "%s", e.message);
    tn_predictor_free(p);
}
#endif
