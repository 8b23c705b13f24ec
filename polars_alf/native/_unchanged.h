/* Compare directories with their fingerprints. See `count_unchanged` in twin.py.

   Uses what _list.h has for the times of a file. */

#ifdef O_PATH
#define FOLDER_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)
#else
#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#endif

typedef struct {
    int base;             /* a directory that is open, or -1 */
    const char *path;     /* of the base, relative to the prefix */
    size_t size;
    char *full;           /* the prefix, and room for the longest path */
    size_t prefix;
} place;

/* Examine a directory. What lies below the last one that was opened is found from there: the
   system need not go through all that is above each time. */
static int examine(place *from, const char *path, size_t size, struct stat *status)
{
    int result;
    int is_below = from->base >= 0 && size > from->size
                && (!from->size || (path[from->size] == '/' && !memcmp(path, from->path, from->size)));
    if (is_below) {
        AGAIN(result, fstatat(from->base, path + from->size + (from->size > 0), status, 0));
        return result;
    }
    if (from->base >= 0) close(from->base);
    memcpy(from->full + from->prefix, path, size + 1);
    AGAIN(from->base, open(from->full, FOLDER_FLAGS));
    from->path = path;
    from->size = size;
    if (from->base >= 0) AGAIN(result, fstat(from->base, status));
    else AGAIN(result, stat(from->full, status));
    return result;
}

static PyObject *count_unchanged(PyObject *self, PyObject *args)
{
    const char *prefix, *paths;
    Py_ssize_t prefix_size, paths_size, n_paths = 0, longest = 0, done = 0;
    Py_buffer known[3], views[2];
    PyObject *shared = Py_None, *numbers = Py_None;
    int64_t *pacer, *steps, no_steps[N_STEPS] = {0};
    (void)self;
    if (!PyArg_ParseTuple(args, "y#y#y*y*y*|OO:count_unchanged", &prefix, &prefix_size, &paths,
                          &paths_size, &known[0], &known[1], &known[2], &numbers, &shared))
        return NULL;
    if (!share_numbers(numbers, shared, &steps, &pacer, views)) {
        for (int i = 0; i < 3; i++) PyBuffer_Release(&known[i]);
        return NULL;
    }
    if (!steps) steps = no_steps;
    for (Py_ssize_t i = 0, start = 0; i < paths_size; i++) {
        if (paths[i]) continue;
        n_paths++;
        if (i - start > longest) longest = i - start;
        start = i + 1;
    }
    int is_wrong = memchr(prefix, 0, (size_t)prefix_size) || (paths_size && paths[paths_size - 1]);
    for (int i = 0; i < 3; i++)
        is_wrong |= known[i].len != n_paths * 8
                 || (n_paths && (uintptr_t)known[i].buf % sizeof(uint64_t));
    place from = {-1, NULL, 0, is_wrong ? NULL : malloc((size_t)(prefix_size + longest + 1)),
                  (size_t)prefix_size};
    if (from.full) {
        Py_BEGIN_ALLOW_THREADS
        begin_effort(steps);
        memcpy(from.full, prefix, (size_t)prefix_size);
        const char *path = paths;
        for (; done < n_paths; done++) {
            const uint64_t *mtimes = known[0].buf, *ctimes = known[1].buf, *inodes = known[2].buf;
            struct stat status;
            size_t size = strlen(path);
            begin_calls(pacer, 1, steps);
            if (examine(&from, path, size, &status) || nanoseconds(MTIME(status)) != mtimes[done]
                || nanoseconds(CTIME(status)) != ctimes[done]
                || (uint64_t)status.st_ino != inodes[done])
                break;
            path += size + 1;
        }
        if (from.base >= 0) close(from.base);
        free(from.full);
        look(steps);
        Py_END_ALLOW_THREADS
    }
    for (int i = 0; i < 3; i++) PyBuffer_Release(&known[i]);
    release_numbers(&views[0]);
    release_numbers(&views[1]);
    if (is_wrong) {
        PyErr_SetString(PyExc_ValueError, "the prefix has a NUL, the last path none at its end, or "
                                          "there are not as many fingerprints as paths");
        return NULL;
    }
    return from.full ? PyLong_FromSsize_t(done) : PyErr_NoMemory();
}
