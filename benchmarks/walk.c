/* The least that a walk with sizes can do: getdents64 and fstatat, in processes that share the folders.

   walk ROOT PROCESSES [PREFIX]

   prints "files folders bytes". With PREFIX, each process also writes a line of size, tab and path
   for each file to a file of its own, PREFIX.0 and so on. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BUFFER = 1 << 20, ENTRIES = 1 << 15, FOLDERS_PER_PROCESS = 32, MOST_PROCESSES = 256 };

struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

struct totals {
    long files, folders, bytes;
};

struct shared {
    atomic_long next;
    struct totals of[MOST_PROCESSES];
};

struct folders {
    char **paths;
    long count, room;
};

static int list = -1;
static char buffer[BUFFER];
static size_t filled;

static void stop(const char *what) {
    perror(what);
    exit(1);
}

static void flush(void) {
    for (size_t done = 0; done < filled;) {
        ssize_t written = write(list, buffer + done, filled - done);
        if (written < 0) stop("write");
        done += written;
    }
    filled = 0;
}

static void write_line(long size, const char *path, size_t length, const char *name) {
    char digits[24];
    size_t n = sizeof digits, name_length = strlen(name);
    if (filled + length + name_length + sizeof digits + 3 > BUFFER) flush();
    do digits[--n] = '0' + size % 10;
    while (size /= 10);
    memcpy(buffer + filled, digits + n, sizeof digits - n);
    filled += sizeof digits - n;
    buffer[filled++] = '\t';
    memcpy(buffer + filled, path, length);
    filled += length;
    buffer[filled++] = '/';
    memcpy(buffer + filled, name, name_length);
    filled += name_length;
    buffer[filled++] = '\n';
}

static void keep(struct folders *found, const char *path, const char *name) {
    if (found->count == found->room) {
        found->room = found->room ? 2 * found->room : 256;
        found->paths = realloc(found->paths, found->room * sizeof *found->paths);
        if (!found->paths) stop("realloc");
    }
    if (asprintf(&found->paths[found->count++], "%s/%s", path, name) < 0) stop("asprintf");
}

/* Walks a folder. Those below it are walked as well, or kept in `below` where that is given.
   `path` has room for PATH_MAX bytes, of which `length` are used. */
static void walk(int parent, const char *name, char *path, size_t length, struct totals *totals,
                 struct folders *below) {
    int descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) stop(path);
    totals->folders++;
    _Alignas(struct entry) char entries[ENTRIES];
    long size, at;
    while ((size = syscall(SYS_getdents64, descriptor, entries, sizeof entries)) > 0) {
        for (at = 0; at < size; at += ((struct entry *)(entries + at))->size) {
            const struct entry *entry = (struct entry *)(entries + at);
            const char *child = entry->name;
            if (child[0] == '.' && (!child[1] || (child[1] == '.' && !child[2]))) continue;
            struct stat status;
            int is_folder = entry->type == DT_DIR;
            if (!is_folder) {
                if (fstatat(descriptor, child, &status, AT_SYMLINK_NOFOLLOW)) stop(path);
                is_folder = S_ISDIR(status.st_mode);
            }
            if (is_folder && below) {
                keep(below, path, child);
            } else if (is_folder) {
                size_t more = strlen(child) + 1;
                if (length + more >= PATH_MAX) continue;
                path[length] = '/';
                memcpy(path + length + 1, child, more);
                walk(descriptor, child, path, length + more, totals, NULL);
                path[length] = 0;
            } else {
                totals->files++;
                totals->bytes += status.st_size;
                if (list >= 0) write_line(status.st_size, path, length, child);
            }
        }
    }
    if (size < 0) stop(path);
    close(descriptor);
}

static void walk_from(const char *folder, struct totals *totals, struct folders *below) {
    char path[PATH_MAX];
    size_t length = strlen(folder);
    if (length >= PATH_MAX) stop(folder);
    memcpy(path, folder, length + 1);
    walk(AT_FDCWD, folder, path, length, totals, below);
}

static void open_list(const char *prefix, int process) {
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s.%d", prefix, process);
    list = open(name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
    if (list < 0) stop(name);
}

int main(int argc, char **argv) {
    int processes = argc > 2 ? atoi(argv[2]) : 0;
    if (processes < 1 || processes >= MOST_PROCESSES) {
        fprintf(stderr, "usage: walk ROOT PROCESSES [PREFIX]\n");
        return 2;
    }
    const char *prefix = argc > 3 ? argv[3] : NULL;
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) stop("mmap");

    /* Level by level, until there are folders enough for nobody to be left with a large one. */
    if (prefix) open_list(prefix, 0);
    struct folders level = {0};
    walk_from(argv[1], &shared->of[0], &level);
    while (level.count && level.count < FOLDERS_PER_PROCESS * processes) {
        struct folders next = {0};
        for (long i = 0; i < level.count; i++) walk_from(level.paths[i], &shared->of[0], &next);
        level = next;
    }
    if (prefix) flush();

    for (int process = 1; process <= processes; process++) {
        pid_t child = fork();
        if (child < 0) stop("fork");
        if (child) continue;
        struct totals totals = {0};
        if (prefix) open_list(prefix, process);
        for (long i; (i = atomic_fetch_add(&shared->next, 1)) < level.count;)
            walk_from(level.paths[i], &totals, NULL);
        if (prefix) flush();
        shared->of[process] = totals;
        _exit(0);
    }
    int failed = 0, status;
    while (wait(&status) > 0) failed |= status;
    struct totals sum = {0};
    for (int process = 0; process <= processes; process++) {
        sum.files += shared->of[process].files;
        sum.folders += shared->of[process].folders;
        sum.bytes += shared->of[process].bytes;
    }
    printf("%ld %ld %ld\n", sum.files, sum.folders, sum.bytes);
    return failed != 0;
}
