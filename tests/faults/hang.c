/* A disk that hangs: calls that reach below the folder BANSHI_HANG_BELOW wait while the file
   BANSHI_HANG_WHILE exists. Loaded into a worker by LD_PRELOAD; made by hang.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void wait_below(const char *path) {
  const char *folder = getenv("BANSHI_HANG_BELOW"), *file = getenv("BANSHI_HANG_WHILE");
  if (!folder || !file || !path) return;
  size_t length = strlen(folder);
  if (strncmp(path, folder, length) || (path[length] && path[length] != '/')) return;
  struct timespec pause = {0, 20 * 1000 * 1000};
  while (access(file, F_OK) == 0) nanosleep(&pause, NULL);
}

static void wait_for(int descriptor) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return;
  path[length] = 0;
  wait_below(path);
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

int fsync(int descriptor) {
  wait_for(descriptor);
  return REAL(int, fsync, int)(descriptor);
}

int fdatasync(int descriptor) {
  wait_for(descriptor);
  return REAL(int, fdatasync, int)(descriptor);
}

#define MODE \
  mode_t mode = 0; \
  if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { \
    va_list more; \
    va_start(more, flags); \
    mode = va_arg(more, mode_t); \
    va_end(more); \
  } \
  wait_below(path);

int open(const char *path, int flags, ...) {
  MODE
  return REAL(int, open, const char *, int, ...)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE
  return REAL(int, open64, const char *, int, ...)(path, flags, mode);
}

int openat(int at, const char *path, int flags, ...) {
  MODE
  return REAL(int, openat, int, const char *, int, ...)(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
  MODE
  return REAL(int, openat64, int, const char *, int, ...)(at, path, flags, mode);
}

int link(const char *from, const char *to) {
  wait_below(to);
  return REAL(int, link, const char *, const char *)(from, to);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
  wait_below(to);
  return REAL(int, linkat, int, const char *, int, const char *, int)(from_at, from, to_at, to, flags);
}
