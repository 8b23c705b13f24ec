/* Slow storage, for tests and benchmarks: an LD_PRELOAD library that sleeps before metadata calls.
 *
 * SLOW_PREFIX    path of the directory at and below which calls are slow
 * SLOW_US        microseconds that each call takes longer
 * SLOW_AT_A_TIME how many slow calls are served at a time, those of all processes together, while
 *                the others wait; by default all are
 * SLOW_GATE      name of the semaphore for that, which begins with a slash
 * SLOW_LOAD      path of a file of four numbers of 64 bits that all processes share: how many calls
 *                are under way, how many were made, how many others are under way, and how many are
 *                served at a time. With more under way, each takes longer in proportion
 * SLOW_READDIR   "call": each readdir() is slow, which C libraries call once an entry (default);
 *                "buffer": only the first of a directory and each 500th, about as often as the
 *                system is asked for a buffer of entries. Who asks it itself is slow each time
 * SLOW_HANG      path that hangs: a directory, in any call to it or to what lies right in it, or
 *                a file, in stat()
 * SLOW_HANG_IN   "open", "readdir" or "stat": the only call that hangs there; all by default
 * SLOW_HANG_S    seconds that it hangs (default 3600)
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

enum { MOST_DESCRIPTORS = 65536, ENTRIES_IN_BUFFER = 500 };

static const char *prefix, *hang, *hang_in;
static long slow_us, hang_s = 3600;
static int by_buffer;
static sem_t *gate;
static struct { int64_t under_way, made, others, at_a_time; } *load;
/* What directories are open, by descriptor: 1 slow, 2 hangs; and how many entries were read. */
static unsigned char kinds[MOST_DESCRIPTORS];
static unsigned entries[MOST_DESCRIPTORS];

__attribute__((constructor)) static void read_settings(void)
{
    prefix = getenv("SLOW_PREFIX");
    hang = getenv("SLOW_HANG");
    hang_in = getenv("SLOW_HANG_IN");
    if (getenv("SLOW_US")) slow_us = atol(getenv("SLOW_US"));
    if (getenv("SLOW_HANG_S")) hang_s = atol(getenv("SLOW_HANG_S"));
    if (getenv("SLOW_AT_A_TIME"))
        gate = sem_open(getenv("SLOW_GATE"), O_CREAT, 0600, atoi(getenv("SLOW_AT_A_TIME")));
    if (getenv("SLOW_LOAD")) {
        int (*open_really)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        int descriptor = open_really(getenv("SLOW_LOAD"), O_RDWR);
        void *map = mmap(NULL, sizeof *load, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        if (map == MAP_FAILED) abort();
        load = map;
    }
    by_buffer = getenv("SLOW_READDIR") && !strcmp(getenv("SLOW_READDIR"), "buffer");
}

static int is_below(const char *path, const char *above)
{
    size_t length = above ? strlen(above) : 0;
    return length && !strncmp(path, above, length) && (!path[length] || path[length] == '/');
}

static int kind_of(const char *path)
{
    if (hang && is_below(path, hang) && !strchr(path + strlen(hang) + !!path[strlen(hang)], '/'))
        return 2;
    return is_below(path, prefix);
}

static void delay(int kind, const char *call)
{
    if (kind == 2 && (!hang_in || !strcmp(hang_in, call))) {
        struct timespec longer = {hang_s, 0};
        nanosleep(&longer, NULL);
        return;
    }
    if (!kind) return;
    int64_t us = slow_us;
    if (load) {
        __atomic_add_fetch(&load->made, 1, __ATOMIC_RELAXED);
        int64_t n = __atomic_add_fetch(&load->under_way, 1, __ATOMIC_RELAXED) + load->others;
        if (load->at_a_time && n > load->at_a_time) us = us * n / load->at_a_time;
    }
    if (us) {
        struct timespec time = {us / 1000000, us % 1000000 * 1000};
        if (gate) sem_wait(gate);
        nanosleep(&time, NULL);
        if (gate) sem_post(gate);
    }
    if (load) __atomic_sub_fetch(&load->under_way, 1, __ATOMIC_RELAXED);
}

static void delay_path(const char *path, const char *call)
{
    if (path[0] == '/') delay(kind_of(path), call);
}

static void remember(int descriptor, const char *path)
{
    if (descriptor >= 0 && descriptor < MOST_DESCRIPTORS) {
        kinds[descriptor] = kind_of(path);
        entries[descriptor] = 0;
    }
}

/* Write the path of an open directory; return its length, or 0 where there is none. */
static size_t find_path(int descriptor, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0 ? length : 0;
}

static void delay_at(int directory, const char *name, const char *call)
{
    if (name[0] == '/') {
        delay_path(name, call);
        return;
    }
    if (directory < 0 || directory >= MOST_DESCRIPTORS) return;
    int kind = kinds[directory];
    if (hang && kind != 2) { /* perhaps what hangs is this file alone */
        char path[PATH_MAX];
        size_t length = find_path(directory, path);
        if (!strncmp(path, hang, length) && hang[length] == '/' && !strcmp(hang + length + 1, name))
            kind = 2;
    }
    delay(kind, call);
}

#define OPEN(function, symbol) \
    int function(const char *path, int flags, ...) \
    { \
        va_list list; va_start(list, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        REAL(int, symbol, const char *, int, ...); \
        delay_path(path, "open"); \
        int descriptor = real(path, flags, mode); \
        if (path[0] == '/') remember(descriptor, path); \
        return descriptor; \
    }
OPEN(open, "open")
OPEN(open64, "open64")

#define OPENAT(function, symbol) \
    int function(int directory, const char *path, int flags, ...) \
    { \
        va_list list; va_start(list, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        REAL(int, symbol, int, const char *, int, ...); \
        char whole[2 * PATH_MAX] = ""; \
        size_t length = path[0] == '/' ? 0 : find_path(directory, whole); \
        snprintf(whole + length, sizeof whole - length, length ? "/%s" : "%s", path); \
        delay_path(whole, "open"); \
        int descriptor = real(directory, path, flags, mode); \
        if (whole[0] == '/') remember(descriptor, whole); \
        return descriptor; \
    }
OPENAT(openat, "openat")
OPENAT(openat64, "openat64")

int close(int descriptor)
{
    REAL(int, "close", int);
    if (descriptor >= 0 && descriptor < MOST_DESCRIPTORS) kinds[descriptor] = 0;
    return real(descriptor);
}

DIR *opendir(const char *path)
{
    REAL(DIR *, "opendir", const char *);
    delay_path(path, "open");
    DIR *stream = real(path);
    if (stream) remember(dirfd(stream), path);
    return stream;
}

DIR *fdopendir(int descriptor)
{
    REAL(DIR *, "fdopendir", int);
    DIR *stream = real(descriptor);
    char path[PATH_MAX];
    if (stream && find_path(descriptor, path)) remember(descriptor, path);
    return stream;
}

#define READDIR(function, symbol, type) \
    type *function(DIR *stream) \
    { \
        REAL(type *, symbol, DIR *); \
        int descriptor = dirfd(stream); \
        if (descriptor >= 0 && descriptor < MOST_DESCRIPTORS && \
            !(by_buffer && entries[descriptor]++ % ENTRIES_IN_BUFFER)) \
            delay(kinds[descriptor], "readdir"); \
        return real(stream); \
    }
READDIR(readdir, "readdir", struct dirent)
READDIR(readdir64, "readdir64", struct dirent64)

/* Programs that ask the system for entries themselves. A server tells with the last entries that they
   are the last, so that to hear of none is not slow. No call has more than six words. */
long syscall(long number, ...)
{
    REAL(long, "syscall", long, ...);
    long words[6];
    va_list list; va_start(list, number);
    for (int i = 0; i < 6; i++) words[i] = va_arg(list, long);
    va_end(list);
    long result = real(number, words[0], words[1], words[2], words[3], words[4], words[5]);
    if (number == SYS_getdents64 && result > 0 && words[0] < MOST_DESCRIPTORS)
        delay(kinds[words[0]], "readdir");
    return result;
}

#define STAT(function, symbol, type) \
    int function(const char *path, type *status) \
    { \
        REAL(int, symbol, const char *, type *); \
        delay_path(path, "stat"); \
        return real(path, status); \
    }
STAT(stat, "stat", struct stat)
STAT(lstat, "lstat", struct stat)
STAT(stat64, "stat64", struct stat64)
STAT(lstat64, "lstat64", struct stat64)

#define FSTATAT(function, symbol, type) \
    int function(int directory, const char *path, type *status, int flags) \
    { \
        REAL(int, symbol, int, const char *, type *, int); \
        delay_at(directory, path, "stat"); \
        return real(directory, path, status, flags); \
    }
FSTATAT(fstatat, "fstatat", struct stat)
FSTATAT(fstatat64, "fstatat64", struct stat64)
