/* How a batch is divided among ranks. */
#include "fail.h"
#include "share.h"
#include "../testlib.h"

enum { RANKS = 7, BATCH = 20 };

/* Whatever the numbers are: every frame of a batch, whole or the last of an epoch, belongs to one rank, and to the same one. */
START_TEST(every_frame_has_one_rank)
{
    for (int n = 1; n <= RANKS; n++)
        for (int batch = 1; batch <= BATCH; batch++)
            for (int micro = 1; micro <= batch; micro++)
                for (int whole = 1; whole <= batch; whole++) {
                    int at = 0;
                    for (int i = 0; i < n; i++) {
                        const tn_share s = tn_share_of(n, i, batch, micro);
                        const int frames = tn_share_frames(&s, whole);
                        ck_assert_int_le(frames, s.n);
                        if (frames) ck_assert_int_eq(s.first, at);
                        at += frames;
                    }
                    ck_assert_int_eq(at, whole);
                }
}
END_TEST

/* Shares begin at micro-batches, which are whole but for the batch's last; none has two more than another. */
START_TEST(shares_are_whole_micro_batches)
{
    for (int n = 1; n <= RANKS; n++)
        for (int batch = 1; batch <= BATCH; batch++)
            for (int micro = 1; micro <= batch; micro++) {
                int least = BATCH, most = 0;
                for (int i = 0; i < n; i++) {
                    const tn_share s = tn_share_of(n, i, batch, micro);
                    const int micros = TN_CEIL_DIV(s.n, micro);
                    if (s.n) ck_assert_int_eq(s.first % micro, 0);
                    if (s.first + s.n < batch) ck_assert_int_eq(s.n % micro, 0);
                    least = TN_MIN(least, micros), most = TN_MAX(most, micros);
                }
                ck_assert_int_le(most - least, 1);
            }
}
END_TEST

/* One micro-batch a rank; more would only be smaller. */
START_TEST(the_usual_micro_batch_keeps_every_rank_busy)
{
    ck_assert_int_eq(tn_share_micro(1, 8), 8);
    ck_assert_int_eq(tn_share_micro(4, 8), 2);
    ck_assert_int_eq(tn_share_micro(3, 16), 6);
    ck_assert_int_eq(tn_share_micro(8, 3), 1);
    const tn_share last = tn_share_of(3, 2, 16, 6);
    ck_assert_int_eq(last.first, 12);
    ck_assert_int_eq(last.n, 4);
}
END_TEST

int main(void)
{
    return run_tests("share", 20,
                     TESTS(ONCE(every_frame_has_one_rank), ONCE(shares_are_whole_micro_batches),
                           ONCE(the_usual_micro_batch_keeps_every_rank_busy)));
}
