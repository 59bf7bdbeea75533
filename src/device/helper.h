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
/** To its input, a socket: all of it, or false. */
bool tn_helper_send(int fd, const void *data, size_t n);
/** Ends it, whatever it does. */
void tn_helper_stop(pid_t pid);

/** A question that a process `helper what` answers, within so many seconds: what it reads, in two parts (the second may be empty).
 */
typedef struct tn_question {
    const char *helper, *what;
    const void *in[2];
    size_t in_size[2];
    double seconds;
} tn_question;

/** It answered; it could not be started; it ended without an answer (*status as of waitpid); the time was up, and it was stopped.
 */
typedef enum tn_asked { TN_ASKED_TOLD, TN_ASKED_NOBODY, TN_ASKED_ENDED, TN_ASKED_LATE } tn_asked;
/** helper_ask.c: asks, and waits for `size` bytes of answer, which are whole where the result is TN_ASKED_TOLD. */
tn_asked tn_helper_ask(void *answer, size_t size, const tn_question *q, int *status);

/* Such a process's own side. */
/** All of it, or false. */
bool tn_helper_read(int in, void *data, size_t n);
/** The file for the answer, which is the caller's; what drivers print to `out` from here on goes nowhere. */
int tn_helper_answers_to(int out);
#endif
