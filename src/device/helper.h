/** Processes of the command that tn_run_options.helper names. */
#ifndef TN_HELPER_H
#define TN_HELPER_H
#include <stdbool.h>
#include <sys/types.h>

/** Starts `helper what` with the files in and out (-1: nothing is kept) as its input and output; what it says of errors goes
 * nowhere. */
bool tn_helper_start(pid_t *pid, const char *helper, const char *what, int in, int out);
/** Waits until it has ended (*status as of waitpid), or until tn_now() is `end`: false. */
bool tn_helper_wait(pid_t pid, double end, int *status);
/** Ends it, whatever it does. */
void tn_helper_stop(pid_t pid);
/** In that process: its output for answers alone; what drivers print there goes nowhere from now on. */
int tn_helper_answers(int out);
#endif
