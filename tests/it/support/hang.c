/* A disk that hangs, for LD_PRELOAD: while the file HANG_WHILE exists, whoever opens, links, makes,
 * renames, removes or syncs something below the folder HANG_BELOW waits, as on a hard mount whose
 * server is gone. HANG_WHILE is outside of that folder. Built by tests/it/support/hang.rs. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *below, *flag;

__attribute__((constructor)) static void settings(void)
{
    below = getenv("HANG_BELOW");
    flag = getenv("HANG_WHILE");
}

/* The next function of this name, which is libc's. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void hang_at(const char *path)
{
    if (!below || !flag || !path)
        return;
    size_t length = strlen(below);
    if (strncmp(path, below, length) || (path[length] && path[length] != '/'))
        return;
    int kept = errno;
    struct timespec pause = {0, 10 * 1000 * 1000};
    while (!access(flag, F_OK))
        nanosleep(&pause, NULL);
    errno = kept;
}

static void hang_in(int fd, const char *name)
{
    char link[64], path[2 * PATH_MAX];
    if (!below || !flag)
        return;
    if (name && name[0] == '/') {
        hang_at(name);
        return;
    }
    if (fd == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/cwd");
    else
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int kept = errno;
    ssize_t length = readlink(link, path, PATH_MAX);
    errno = kept;
    if (length < 0)
        return;
    path[length] = 0;
    if (name)
        snprintf(path + length, sizeof path - length, "/%s", name);
    hang_at(path);
}

#define MODE(flags, last)                                                                          \
    mode_t mode = 0;                                                                               \
    if (__OPEN_NEEDS_MODE(flags)) {                                                                \
        va_list rest;                                                                              \
        va_start(rest, last);                                                                      \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }

int open(const char *path, int flags, ...)
{
    MODE(flags, flags)
    hang_in(AT_FDCWD, path);
    return NEXT(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE(flags, flags)
    hang_in(AT_FDCWD, path);
    return NEXT(open64)(path, flags, mode);
}

int openat(int fd, const char *path, int flags, ...)
{
    MODE(flags, flags)
    hang_in(fd, path);
    return NEXT(openat)(fd, path, flags, mode);
}

int openat64(int fd, const char *path, int flags, ...)
{
    MODE(flags, flags)
    hang_in(fd, path);
    return NEXT(openat64)(fd, path, flags, mode);
}

int link(const char *from, const char *to)
{
    hang_in(AT_FDCWD, to);
    return NEXT(link)(from, to);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    hang_in(to_fd, to);
    return NEXT(linkat)(from_fd, from, to_fd, to, flags);
}

int rename(const char *from, const char *to)
{
    hang_in(AT_FDCWD, from);
    hang_in(AT_FDCWD, to);
    return NEXT(rename)(from, to);
}

int unlink(const char *path)
{
    hang_in(AT_FDCWD, path);
    return NEXT(unlink)(path);
}

int mkdir(const char *path, mode_t mode)
{
    hang_in(AT_FDCWD, path);
    return NEXT(mkdir)(path, mode);
}

int fsync(int fd)
{
    hang_in(fd, NULL);
    return NEXT(fsync)(fd);
}

int fdatasync(int fd)
{
    hang_in(fd, NULL);
    return NEXT(fdatasync)(fd);
}
