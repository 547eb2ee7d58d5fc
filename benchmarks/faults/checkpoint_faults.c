/* Makes the n-th file system operation on a folder fail, or stops the process there (LD_PRELOAD; checkpoint_faults.py).

   Operations are counted from fault_arm(). What is intercepted is what TensorFlow's local file system calls. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STOP = -1, STOP_HALFWAY = -2 }; /* otherwise: an errno */

static char folder[4096];
static int at = -1, action, count;
static FILE *journal;

/* Counts from here; the operation number `n` (from 0) meets `what`. Each operation's name goes to the file `log`. */
void fault_arm(const char *where, int n, int what, const char *log) {
  strncpy(folder, where, sizeof folder - 1);
  journal = log[0] ? fopen(log, "w") : NULL;
  action = what;
  count = 0;
  at = n;
}

static int hit(const char *name, const char *path) {
  if (!folder[0] || !path || !strstr(path, folder)) return 0;
  if (journal) fprintf(journal, "%s %s\n", name, path), fflush(journal);
  return count++ == at;
}

static int hit_fd(const char *name, int fd) {
  char link[64], path[4096];
  if (!folder[0]) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return hit(name, path);
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define MEET(failed) do { if (action < 0) _exit(77); errno = action; return failed; } while (0)

#define ON_PATH(type, name, failed, arguments, call, path) \
  type name arguments { REAL(name); if (hit(#name, path)) MEET(failed); return real call; }

ON_PATH(FILE *, fopen, NULL, (const char *path, const char *mode), (path, mode), path)
ON_PATH(FILE *, fopen64, NULL, (const char *path, const char *mode), (path, mode), path)
ON_PATH(int, rename, -1, (const char *from, const char *to), (from, to), to)
ON_PATH(int, unlink, -1, (const char *path), (path), path)
ON_PATH(int, remove, -1, (const char *path), (path), path)
ON_PATH(int, rmdir, -1, (const char *path), (path), path)
ON_PATH(int, mkdir, -1, (const char *path, mode_t mode), (path, mode), path)

static int mode_of(int flags, va_list list) { return flags & O_CREAT ? va_arg(list, int) : 0; }

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); va_list list; va_start(list, flags); int mode = mode_of(flags, list); va_end(list); \
    if (hit(#name, path)) MEET(-1); \
    return real(path, flags, mode); }
OPEN(open)
OPEN(open64)

size_t fwrite(const void *data, size_t size, size_t n, FILE *file) {
  REAL(fwrite);
  if (hit_fd("fwrite", fileno(file))) {
    if (action == STOP_HALFWAY) real(data, 1, size * n / 2, file), fflush(file);
    MEET(0);
  }
  return real(data, size, n, file);
}

ssize_t write(int fd, const void *data, size_t n) {
  REAL(write);
  if (hit_fd("write", fd)) {
    if (action == STOP_HALFWAY) (void)!real(fd, data, n / 2);
    MEET(-1);
  }
  return real(fd, data, n);
}

int fflush(FILE *file) {
  REAL(fflush);
  if (file && file != journal && hit_fd("fflush", fileno(file))) MEET(EOF);
  return real(file);
}

int fclose(FILE *file) {
  REAL(fclose);
  if (file && file != journal && hit_fd("fclose", fileno(file))) {
    if (action >= 0) real(file);
    MEET(EOF);
  }
  return real(file);
}

int fsync(int fd) {
  REAL(fsync);
  if (hit_fd("fsync", fd)) MEET(-1);
  return real(fd);
}
