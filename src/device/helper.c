#include "helper.h"
#include "clock.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

bool tn_helper_start(pid_t *pid, const char *helper, const char *what, int in, int out)
{
    char *const argv[] = {(char *)helper, (char *)what, NULL};
    posix_spawn_file_actions_t files;
    if (posix_spawn_file_actions_init(&files)) return false;
    int e = posix_spawn_file_actions_adddup2(&files, in, 0);
    if (!e && out >= 0) e = posix_spawn_file_actions_adddup2(&files, out, 1);
    if (!e && out < 0) e = posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    if (!e) e = posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    if (!e) e = posix_spawn(pid, helper, &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    return !e;
}

bool tn_helper_wait(pid_t pid, double end, int *status)
{
    pid_t done;
    while (!(done = waitpid(pid, status, WNOHANG)) && tn_now() < end) nanosleep(&(struct timespec){0, 10000000}, NULL);
    return done == pid;
}

void tn_helper_stop(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    (void)tn_helper_wait(pid, tn_now() + 2, &status); /* one that hangs in its driver may not end even so: it is left */
}

bool tn_helper_send(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n) {
        const ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) return false;
        p += k, n -= (size_t)k;
    }
    return true;
}

bool tn_helper_read(int in, void *data, size_t n)
{
    char *p = data;
    while (n) {
        const ssize_t k = read(in, p, n);
        if (k <= 0) return false;
        p += k, n -= (size_t)k;
    }
    return true;
}

int tn_helper_answers_to(int out)
{
    const int own = dup(out), nowhere = open("/dev/null", O_WRONLY);
    if (nowhere >= 0) dup2(nowhere, out), close(nowhere);
    return own;
}
