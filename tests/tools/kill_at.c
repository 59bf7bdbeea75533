/* Loaded before a program (LD_PRELOAD), kills it at the call number $KILL_AT of those that change what is on the disk, counted
 * from the moment that $KILL_FROM exists. With $NO_EXCHANGE the file system cannot exchange two folders. */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_int calls;

static void one_more(void)
{
    const char *at = getenv("KILL_AT"), *from = getenv("KILL_FROM");
    if (!at || (from && access(from, F_OK))) return;
    if (++calls == atoi(at)) kill(getpid(), SIGKILL);
}

#define NEXT(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

int rename(const char *from, const char *to)
{
    one_more();
    return NEXT(rename)(from, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    one_more();
    if (flags && getenv("NO_EXCHANGE")) return errno = EINVAL, -1;
    return NEXT(renameat2)(a, from, b, to, flags);
}

int unlink(const char *path)
{
    one_more();
    return NEXT(unlink)(path);
}

int remove(const char *path)
{
    one_more();
    return NEXT(remove)(path);
}

int mkdir(const char *path, mode_t mode)
{
    one_more();
    return NEXT(mkdir)(path, mode);
}

int fsync(int fd)
{
    one_more();
    return NEXT(fsync)(fd);
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *f)
{
    one_more();
    return NEXT(fwrite)(data, size, n, f);
}
