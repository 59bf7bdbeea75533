/* A question to a process of its own. */
#include "clock.h"
#include "helper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LAST_WORDS = 5 }; /* seconds to end in, after the answer */

static bool put(int fd, const tn_question *q)
{
    for (int i = 0; i < 2; i++)
        if (!tn_helper_send(fd, q->in[i], q->in_size[i])) return false;
    return !shutdown(fd, SHUT_WR);
}

/* Waits for the answer, until `end`; false where there is none. */
static bool receive(void *out, size_t size, int fd, double end)
{
    char *p = out;
    for (size_t have = 0; have < size;) {
        const double left = end - tn_now();
        struct pollfd f = {fd, POLLIN, 0};
        if (left <= 0) return false;
        if (poll(&f, 1, (int)(left * 1000) + 1) <= 0) continue; /* the time is up, or a signal came */
        const ssize_t k = read(fd, p + have, size - have);
        if (k <= 0) return false;
        have += (size_t)k;
    }
    return true;
}

tn_asked tn_helper_ask(void *answer, size_t size, const tn_question *q, int *status)
{
    int fd[2];
    pid_t pid;
    const double end = tn_now() + q->seconds;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd)) return TN_ASKED_NOBODY;
    fcntl(fd[0], F_SETFD, FD_CLOEXEC);
    fcntl(fd[1], F_SETFD, FD_CLOEXEC);
    const bool started = tn_helper_start(&pid, q->helper, q->what, fd[1], fd[1]);
    close(fd[1]);
    const bool told = started && put(fd[0], q) && receive(answer, size, fd[0], end);
    close(fd[0]);
    if (!started) return TN_ASKED_NOBODY;
    if (told && tn_helper_wait(pid, tn_now() + LAST_WORDS, status)) return TN_ASKED_TOLD;
    if (!told && tn_helper_wait(pid, end, status)) return TN_ASKED_ENDED;
    tn_helper_stop(pid);
    return told ? TN_ASKED_TOLD : TN_ASKED_LATE;
}
