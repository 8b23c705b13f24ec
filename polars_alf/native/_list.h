/* List directories into columns. See `list_directories` in twin.py for what is returned.

   Everything is written into growing buffers of bytes, which Python takes over as they are. A
   buffer that cannot grow sets `full`, and the walk ends with a MemoryError. */

#include <fcntl.h>
#include <sys/stat.h>

#include "_pacer.h"
#include "_entries.h"

#ifdef __APPLE__
#define MTIME(st) ((st).st_mtimespec)
#define CTIME(st) ((st).st_ctimespec)
#else
#define MTIME(st) ((st).st_mtim)
#define CTIME(st) ((st).st_ctim)
#endif

#ifndef O_CLOEXEC
#define O_CLOEXEC 0
#endif

typedef struct { char *data; size_t size, room; } buffer;

/* The columns, in the order in which Python gets them. */
enum {
    PATHS, ORIGINS, MTIMES, CTIMES, INODES, ERRORS, OTHERS, ENDS, SUBDIRECTORIES, /* directories */
    NAMES,                                                                        /* names */
    FILE_CODES, FILE_SIZES, FILE_MTIMES, FILE_INODES,                             /* files */
    ODD_DIRECTORIES, ODD_CODES, ODD_KINDS, ODD_ERRORS,                            /* odd entries */
    LEFT_PATHS, LEFT_ORIGINS,                                                     /* not listed */
    UNEXAMINED_CODES,                                             /* files of the last directory */
    N_COLUMNS
};

enum { INVALID_NAME = 1, LINKED_DIRECTORY, SPECIAL_FILE, UNKNOWN_TYPE, UNREAD_LINK, UNREAD_FILE,
       OTHER_FILE, COPIES };

typedef struct {
    buffer columns[N_COLUMNS];
    buffer stack, stack_ends;  /* directories that wait: origin and path of each; where each ends */
    buffer path;               /* the system's path of the directory that is listed */
    entries entries;           /* of that directory */
    int base;                  /* the directory given that was opened last, or -1 */
    size_t base_size;          /* of its path, with a slash */
    int32_t base_origin;
    int32_t *table;            /* codes of names by their hash; -1 is free */
    size_t mask;
    buffer name_ends;
    int32_t n_names, n_directories;
    int64_t n_files, most_files, most_examined;
    size_t prefix;
    int recurse, examine, tell_others, pass_copies, full;
    volatile int64_t *steps;   /* see list_directories in twin.py */
    int64_t no_steps[N_STEPS];
    int64_t *pacer;            /* see _pacer.h; NULL where calls are not paced */
} listing;

static char *grow(listing *all, buffer *to, size_t more)
{
    if (more > to->room - to->size) {
        size_t room = to->room < 512 ? 1024 : to->room * 2;
        while (room - to->size < more) room *= 2;
        char *data = realloc(to->data, room);
        if (!data) { all->full = 1; return NULL; }
        to->data = data;
        to->room = room;
    }
    to->size += more;
    return to->data + to->size - more;
}

static void add_bytes(listing *all, buffer *to, const void *bytes, size_t size)
{
    char *at = grow(all, to, size);
    if (at && size) memcpy(at, bytes, size);
}

static void add_i32(listing *all, int column, int32_t value)
{
    add_bytes(all, &all->columns[column], &value, sizeof value);
}

static void add_u64(listing *all, int column, uint64_t value)
{
    add_bytes(all, &all->columns[column], &value, sizeof value);
}

/* Nanoseconds since the epoch; times that 64 bits do not hold become the nearest that they do.
   The lowest of all means that the time is not known, so it is none of them. */
static uint64_t nanoseconds(struct timespec time)
{
    const int64_t second = 1000000000, most = INT64_MAX / second;
    if (time.tv_sec >= most) return (uint64_t)INT64_MAX;
    if (time.tv_sec <= -most) return (uint64_t)-INT64_MAX;
    return (uint64_t)((int64_t)time.tv_sec * second + time.tv_nsec);
}

/* Whether a name is UTF-8 without control characters (C0, DEL and C1), in shortest form and without
   surrogates, as Python has it. */
static int is_valid(const unsigned char *at)
{
    while (*at) {
        uint32_t first = *at++, point, lowest;
        int more;
        if (first < 0x80) {
            if (first < 0x20 || first == 0x7f) return 0;
            continue;
        }
        if (first >= 0xc2 && first < 0xe0) { more = 1; point = first & 0x1f; lowest = 0x80; }
        else if (first >= 0xe0 && first < 0xf0) { more = 2; point = first & 0xf; lowest = 0x800; }
        else if (first >= 0xf0 && first < 0xf5) { more = 3; point = first & 7; lowest = 0x10000; }
        else return 0;
        for (; more; more--, at++) {
            if ((*at & 0xc0) != 0x80) return 0;  /* the final NUL, too */
            point = point << 6 | (*at & 0x3f);
        }
        if (point < lowest || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return 0;
        if (point < 0xa0) return 0;
    }
    return 1;
}

/* Whether a name has the two dots without which it is no dataset's. */
static int has_two_dots(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot && strchr(dot + 1, '.');
}

/* Whether a folder of this name has earlier states of the others, or what was deleted. */
static int has_copies(const char *name)
{
    static const char *const NAMES[] = {
        ".snapshot", ".snapshots", ".zfs", "~snapshot", "lost+found", "#recycle", "@eaDir",
        "$RECYCLE.BIN", ".rsync-partial",
    };
    if (!strncmp(name, ".Trash-", 7)) return 1;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (!strcmp(name, NAMES[i])) return 1;
    return 0;
}

static uint64_t hash_name(const char *name, size_t size)
{
    const uint64_t odd = 0x9e3779b97f4a7c15u;
    uint64_t hash = size * odd, word;
    for (; size >= 8; size -= 8, name += 8) {
        memcpy(&word, name, 8);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, name, size);
    hash = (hash ^ word) * odd;
    return hash ^ hash >> 32;
}

static const char *name_of(listing *all, int32_t code, size_t *size)
{
    const uint64_t *ends = (const uint64_t *)all->name_ends.data;
    uint64_t start = code ? ends[code - 1] : 0;
    *size = ends[code] - start - 1;
    return all->columns[NAMES].data + start;
}

static int double_table(listing *all)
{
    size_t room = all->table ? (all->mask + 1) * 2 : 1024;
    int32_t *table = malloc(room * sizeof *table);
    if (!table) { all->full = 1; return 0; }
    memset(table, 0xff, room * sizeof *table);
    for (int32_t code = 0; code < all->n_names; code++) {
        size_t size, i;
        const char *name = name_of(all, code, &size);
        for (i = hash_name(name, size) & (room - 1); table[i] >= 0; i = (i + 1) & (room - 1)) {}
        table[i] = code;
    }
    free(all->table);
    all->table = table;
    all->mask = room - 1;
    return 1;
}

/* The code of a name: its position among the distinct names. */
static int32_t encode(listing *all, const char *name)
{
    size_t size = strlen(name), other_size, i;
    if ((!all->table || (size_t)all->n_names * 2 > all->mask) && !double_table(all)) return 0;
    for (i = hash_name(name, size) & all->mask; all->table[i] >= 0; i = (i + 1) & all->mask) {
        const char *other = name_of(all, all->table[i], &other_size);
        if (other_size == size && !memcmp(other, name, size)) return all->table[i];
    }
    add_bytes(all, &all->columns[NAMES], name, size + 1);
    uint64_t end = all->columns[NAMES].size;
    add_bytes(all, &all->name_ends, &end, sizeof end);
    if (all->full) return 0;
    all->table[i] = all->n_names;
    return all->n_names++;
}

static void add_odd(listing *all, const char *name, int kind, int error)
{
    add_i32(all, ODD_DIRECTORIES, all->n_directories);
    add_i32(all, ODD_CODES, encode(all, name));
    add_i32(all, ODD_KINDS, kind);
    add_i32(all, ODD_ERRORS, error);
}

static void add_file(listing *all, const char *name, const struct stat *status)
{
    add_i32(all, FILE_CODES, encode(all, name));
    add_u64(all, FILE_SIZES, status ? (uint64_t)status->st_size : 0);
    add_u64(all, FILE_MTIMES, status ? nanoseconds(MTIME(*status)) : 0);
    add_u64(all, FILE_INODES, status ? (uint64_t)status->st_ino : 0);
    all->n_files++;
}

/* Count a file that is no dataset, or tell its name. */
static int add_other(listing *all, const char *name)
{
    if (all->tell_others) add_odd(all, name, OTHER_FILE, 0);
    return !all->tell_others;
}

static void push(listing *all, int32_t origin, const char *path, size_t size, const char *name)
{
    add_bytes(all, &all->stack, &origin, sizeof origin);
    add_bytes(all, &all->stack, path, size);
    if (name) {
        if (size) add_bytes(all, &all->stack, "/", 1);
        add_bytes(all, &all->stack, name, strlen(name));
    }
    add_bytes(all, &all->stack, "", 1);
    uint64_t end = all->stack.size;
    add_bytes(all, &all->stack_ends, &end, sizeof end);
}

/* Take one entry; return how many of `others` it counts for. */
static int take(listing *all, int directory, int32_t origin, const char *path, size_t path_size,
                const char *name, int type, int64_t *n_examined)
{
    struct stat status;
    int result;
    if (!is_valid((const unsigned char *)name)) {
        add_odd(all, name, INVALID_NAME, 0);
        return 0;
    }
    if (type == DT_UNKNOWN) {
        begin_calls(all->pacer, 1, all->steps);
        AGAIN(result, fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW));
        if (result) {
            add_odd(all, name, UNKNOWN_TYPE, errno);
            return 0;
        }
        type = S_ISDIR(status.st_mode) ? DT_DIR : S_ISREG(status.st_mode) ? DT_REG
             : S_ISLNK(status.st_mode) ? DT_LNK : DT_FIFO;
    }
    if (type == DT_DIR) {
        if (all->pass_copies && has_copies(name)) {
            add_odd(all, name, COPIES, 0);
            return 0;
        }
        buffer *names = &all->columns[SUBDIRECTORIES];
        if (names->size && names->data[names->size - 1]) add_bytes(all, names, "/", 1);
        add_bytes(all, names, name, strlen(name));
        if (all->recurse) push(all, origin, path, path_size, name);
        return 0;
    }
    if (type == DT_REG) {
        if (!has_two_dots(name)) return add_other(all, name);
        if (!all->examine) {
            add_file(all, name, NULL);
            return 0;
        }
        if (*n_examined >= all->most_examined) {
            add_i32(all, UNEXAMINED_CODES, encode(all, name));
            return 0;
        }
        ++*n_examined;
    } else if (type != DT_LNK) {
        add_odd(all, name, SPECIAL_FILE, 0);
        return 0;
    }
    begin_calls(all->pacer, 1, all->steps);
    AGAIN(result, fstatat(directory, name, &status, 0));
    if (result)
        add_odd(all, name, type == DT_REG ? UNREAD_FILE : UNREAD_LINK, errno);
    else if (S_ISREG(status.st_mode)) {
        if (!has_two_dots(name)) return add_other(all, name);
        add_file(all, name, all->examine ? &status : NULL);
    } else
        add_odd(all, name, type == DT_LNK && S_ISDIR(status.st_mode) ? LINKED_DIRECTORY
                                                                     : SPECIAL_FILE, 0);
    return 0;
}

/* Read the entries of a directory that is open; return 0, or the error that ended it. */
static int read_entries(listing *all, int descriptor, int32_t origin, const char *path,
                        size_t path_size, uint64_t *n_others)
{
    int64_t n_examined = 0, n_entries = 0;
    int type, error = open_entries(&all->entries, descriptor);
    if (error) return error;
    begin_calls(all->pacer, 1, all->steps);
    for (;;) {
        if (n_entries++ == ENTRIES_PER_READ) {
            begin_calls(all->pacer, 1, all->steps);
            n_entries = 0;
        }
        const char *name = next_entry(&all->entries, &type);
        if (!name || all->full || all->steps[IS_STOPPED]) break;
        if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]))) continue;
        *n_others += take(all, descriptor, origin, path, path_size, name, type, &n_examined);
    }
    close_entries(&all->entries);
    return all->full || all->steps[IS_STOPPED] ? 0 : all->entries.error;
}

/* Open the directory in `path`. One below a directory that was given is opened from there: the
   system need not go through all that is above each time. */
static int open_path(listing *all, int32_t origin)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    const char *path = all->path.data;
    int descriptor;
    if (origin == all->base_origin && all->base >= 0) {
        AGAIN(descriptor, openat(all->base, path + all->base_size, flags));
        return descriptor;
    }
    AGAIN(descriptor, open(path, flags));
    if (origin != all->base_origin) {
        if (all->base >= 0) close(all->base);
        all->base = descriptor;
        all->base_origin = origin;
        all->base_size = all->path.size - !path[all->prefix];  /* the NUL stands where a slash does */
    }
    return descriptor;
}

/* List the directory on top of the stack. */
static void list_next(listing *all)
{
    uint64_t *ends = (uint64_t *)all->stack_ends.data;
    size_t last = all->stack_ends.size / sizeof *ends - 1, start = last ? ends[last - 1] : 0;
    int32_t origin;
    memcpy(&origin, all->stack.data + start, sizeof origin);
    start += sizeof origin;
    size_t size = all->stack.size - start - 1;
    /* A copy, as directories below take this one's place on the stack. */
    all->path.size = all->prefix;
    add_bytes(all, &all->path, all->stack.data + start, size + 1);
    all->stack.size = start - sizeof origin;
    all->stack_ends.size = last * sizeof *ends;
    if (all->full) return;
    const char *path = all->path.data + all->prefix;

    struct stat status;
    uint64_t n_others = 0, unknown = (uint64_t)INT64_MIN, times[2] = {unknown, unknown}, inode = 0;
    int descriptor, result, error;
    begin_calls(all->pacer, 1, all->steps);
    descriptor = open_path(all, origin);
    if (descriptor < 0) {
        error = errno;
    } else {
        AGAIN(result, fstat(descriptor, &status));
        if (!result) {
            times[0] = nanoseconds(MTIME(status));
            times[1] = nanoseconds(CTIME(status));
            inode = status.st_ino;
        }
        error = read_entries(all, descriptor, origin, path, size, &n_others);
        if (descriptor != all->base) close(descriptor);
        path = all->path.data + all->prefix;
    }
    add_bytes(all, &all->columns[PATHS], path, size + 1);
    add_i32(all, ORIGINS, origin);
    add_u64(all, MTIMES, times[0]);
    add_u64(all, CTIMES, times[1]);
    add_u64(all, INODES, inode);
    add_i32(all, ERRORS, error);
    add_u64(all, OTHERS, n_others);
    add_u64(all, ENDS, (uint64_t)all->n_files);
    add_bytes(all, &all->columns[SUBDIRECTORIES], "", 1);
    all->n_directories++;
}

/* Move what is left on the stack into the columns, in the order in which it would be listed. */
static void leave(listing *all)
{
    uint64_t *ends = (uint64_t *)all->stack_ends.data;
    for (size_t i = all->stack_ends.size / sizeof *ends; i > 0 && !all->full; i--) {
        size_t start = i > 1 ? ends[i - 2] : 0, size = ends[i - 1] - start;
        int32_t origin;
        memcpy(&origin, all->stack.data + start, sizeof origin);
        add_i32(all, LEFT_ORIGINS, origin);
        add_bytes(all, &all->columns[LEFT_PATHS], all->stack.data + start + sizeof origin,
                  size - sizeof origin);
    }
}

static void list_all(listing *all, const char *prefix, size_t prefix_size, const char *paths,
                     size_t paths_size)
{
    add_bytes(all, &all->path, prefix, prefix_size);
    all->prefix = prefix_size;
    /* The last path first, so that the first one comes to lie on top. */
    int32_t n_paths = 0;
    for (size_t i = 0; i < paths_size; i++) n_paths += !paths[i];
    for (size_t end = paths_size; end > 0 && !all->full;) {
        size_t start = end - 1;
        while (start > 0 && paths[start - 1]) start--;
        push(all, --n_paths, paths + start, end - 1 - start, NULL);
        end = start;
    }
    while (all->stack_ends.size && all->n_files < all->most_files && !all->steps[IS_ENOUGH]
           && !all->columns[UNEXAMINED_CODES].size && !all->full && !all->steps[IS_STOPPED])
        list_next(all);
    if (all->base >= 0) close(all->base);
    leave(all);
}

/* The columns wanted as a tuple of bytes, NULL with an exception; frees all. */
static PyObject *finish(listing *all, const int *wanted, int n_wanted)
{
    PyObject *columns = all->full ? PyErr_NoMemory() : PyTuple_New(n_wanted);
    for (int i = 0; i < n_wanted && columns; i++) {
        buffer *column = &all->columns[wanted ? wanted[i] : i];
        PyObject *bytes = PyBytes_FromStringAndSize(column->data, (Py_ssize_t)column->size);
        if (!bytes || PyTuple_SetItem(columns, i, bytes)) {
            Py_DECREF(columns);
            columns = NULL;
        }
    }
    for (int i = 0; i < N_COLUMNS; i++) free(all->columns[i].data);
    free(all->stack.data);
    free(all->stack_ends.data);
    free(all->path.data);
    free_entries(&all->entries);
    free(all->name_ends.data);
    free(all->table);
    free(all);
    return columns;
}

/* Use the steps and the pacer of a caller; for an error, return 0 and free all. */
static int use_numbers(listing *all, PyObject *from, PyObject *pacer, Py_buffer views[2])
{
    int64_t *steps;
    if (!share_numbers(from, pacer, &steps, &all->pacer, views)) {
        free(all);
        return 0;
    }
    all->steps = steps ? steps : all->no_steps;
    return 1;
}

static PyObject *list_directories(PyObject *self, PyObject *args)
{
    const char *prefix, *paths;
    Py_ssize_t prefix_size, paths_size;
    long long most_files, most_examined;
    int recurse, examine, tell_others, pass_copies;
    PyObject *steps, *pacer = Py_None;
    Py_buffer views[2];
    (void)self;
    if (!PyArg_ParseTuple(args, "y#y#ppppLLO|O:list_directories", &prefix, &prefix_size, &paths,
                          &paths_size, &recurse, &examine, &tell_others, &pass_copies,
                          &most_files, &most_examined, &steps, &pacer))
        return NULL;
    if (memchr(prefix, 0, (size_t)prefix_size) || (paths_size && paths[paths_size - 1])) {
        PyErr_SetString(PyExc_ValueError, "the prefix has a NUL, or the last path none at its end");
        return NULL;
    }
    listing *all = calloc(1, sizeof *all);
    if (!all) return PyErr_NoMemory();
    if (!use_numbers(all, steps, pacer, views)) return NULL;
    all->base = all->base_origin = -1;
    all->recurse = recurse;
    all->examine = examine;
    all->tell_others = tell_others;
    all->pass_copies = pass_copies;
    all->most_files = most_files;
    all->most_examined = most_examined;
    Py_BEGIN_ALLOW_THREADS
    begin_effort(all->steps);
    list_all(all, prefix, (size_t)prefix_size, paths, (size_t)paths_size);
    look(all->steps);
    Py_END_ALLOW_THREADS
    release_numbers(&views[0]);
    release_numbers(&views[1]);
    return finish(all, NULL, N_COLUMNS);
}

static PyObject *examine_files(PyObject *self, PyObject *args)
{
    const char *directory, *names;
    Py_ssize_t directory_size, names_size;
    PyObject *steps, *pacer = Py_None;
    Py_buffer views[2];
    (void)self;
    if (!PyArg_ParseTuple(args, "y#y#O|O:examine_files", &directory, &directory_size, &names,
                          &names_size, &steps, &pacer))
        return NULL;
    if (memchr(directory, 0, (size_t)directory_size) || (names_size && names[names_size - 1])) {
        PyErr_SetString(PyExc_ValueError, "the path has a NUL, or the last name none at its end");
        return NULL;
    }
    listing *all = calloc(1, sizeof *all);
    if (!all) return PyErr_NoMemory();
    if (!use_numbers(all, steps, pacer, views)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    int descriptor, result;
    begin_effort(all->steps);
    begin_calls(all->pacer, 1, all->steps);
    AGAIN(descriptor, open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int error = descriptor < 0 ? errno : 0;
    for (Py_ssize_t i = 0; i < names_size && !all->full && !all->steps[IS_STOPPED];
         i += (Py_ssize_t)strlen(names + i) + 1) {
        struct stat status;
        begin_calls(all->pacer, 1, all->steps);
        if (descriptor >= 0) {
            AGAIN(result, fstatat(descriptor, names + i, &status, 0));
            error = result ? errno : S_ISREG(status.st_mode) ? 0 : -1;
        }
        add_u64(all, FILE_SIZES, error ? 0 : (uint64_t)status.st_size);
        add_u64(all, FILE_MTIMES, error ? 0 : nanoseconds(MTIME(status)));
        add_u64(all, FILE_INODES, error ? 0 : (uint64_t)status.st_ino);
        add_i32(all, ERRORS, error);
    }
    if (descriptor >= 0) close(descriptor);
    look(all->steps);
    Py_END_ALLOW_THREADS
    release_numbers(&views[0]);
    release_numbers(&views[1]);
    const int wanted[] = {FILE_SIZES, FILE_MTIMES, FILE_INODES, ERRORS};
    return finish(all, wanted, 4);
}
