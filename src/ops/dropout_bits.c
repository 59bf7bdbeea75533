/* Masks of dropout as bits, for the products that read them several times. */
#include "ops.h"

enum { LANES = 32, BLOCKS = 4, GROUP = 256 };

/* As bits_mask of cl/gpu/dropout_bits.cl. */
typedef struct {
    int32_t cols, first, at;
    uint32_t salt;
} bits_mask;

static int bits_check(const tn_bits *b, const tn_tensor *out, tn_error *err)
{
    size_t words = 0;
    bool whole = b->n > 0 && b->n <= TN_BITS_MOST && b->rows > 0 && b->p > 0 && b->p < 1;
    for (int i = 0; whole && i < b->n; i++) {
        whole = b->cols[i] > 0 && b->cols[i] % 32 == 0;
        words += tn_bits_words(b->rows, b->cols[i]);
    }
    if (whole && words <= INT32_MAX && tn_tensor_bytes(out) >= words * sizeof(uint16_t)) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "dropout's bits: %d masks of %d rows do not fit [%d,%d]", b->n, b->rows, out->rows,
                   out->cols);
}

int tn_dropout_bits(tn_ctx *c, const tn_bits *b, tn_tensor *out, tn_error *err)
{
    bits_mask mask[TN_BITS_MOST] = {{0}};
    int units = 0;
    size_t at = 0;
    TN_TRY(bits_check(b, out, err));
    TN_TRY(tn_ctx_step_ready(c, err));
    for (int i = 0; i < b->n; i++) {
        mask[i] = (bits_mask){b->cols[i], units, (int32_t)at, b->salt[i]};
        units += (int)TN_CEIL_DIV(tn_bits_words(b->rows, b->cols[i]), (size_t)LANES * BLOCKS);
        at += tn_bits_words(b->rows, b->cols[i]);
    }
    const tn_arg args[] = {TN_DATA(mask),        TN_INT(b->n),    TN_INT(units), TN_INT(b->rows), TN_UINT(tn_drop_threshold(b->p)),
                           TN_BUF(c->constants), TN_BUF(out->mem)};
    const size_t items = TN_ROUND_UP((size_t)units * LANES, (size_t)GROUP);
    const tn_range range = {1, {items}, {TN_MIN((size_t)GROUP, c->dev->info.max_work_group)}};
    return tn_op_run(c, "gpu/dropout_bits.cl", "dropout_bits", "", args, TN_COUNT(args), &range, err);
}
