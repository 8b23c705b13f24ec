/* Keep calls to the storage to a rate. See `book_calls` in twin.py.

   A pacer is three numbers of 64 bits that all threads share: when the next call may be made, in
   nanoseconds of the monotonic clock; nanoseconds between two calls; and how far a caller that was
   late may catch up. */

#include "_effort.h"

enum { NEXT, INTERVAL, BURST, N_PACER };

/* C libraries ask the system for 32 KiB of entries at a time: about so many. */
enum { ENTRIES_PER_READ = 500 };

/* Time between two looks at whether to stop. */
static const int64_t LONGEST_SLEEP = 20000000;

/* Book the next calls; return the nanoseconds until the first may be made. */
static int64_t book_turns(int64_t *pacer, int64_t n_calls)
{
    int64_t now = read_clock(), late = now - pacer[BURST], turn;
    int64_t next = __atomic_load_n(&pacer[NEXT], __ATOMIC_RELAXED);
    do turn = next > late ? next : late;
    while (!__atomic_compare_exchange_n(&pacer[NEXT], &next, turn + n_calls * pacer[INTERVAL], 0,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return turn > now ? turn - now : 0;
}

/* Count calls that are about to be made, after a wait for their turn where they are paced. */
static void begin_calls(int64_t *pacer, int64_t n_calls, volatile int64_t *steps)
{
    steps[N_CALLS] += n_calls;
    if (read_clock() - last.clock > LOOK_INTERVAL) look(steps);
    if (!pacer && !steps[IS_PAUSED]) return;
    int64_t left = pacer ? book_turns(pacer, n_calls) : 0, now = read_clock(), end = now + left;
    while ((now < end || steps[IS_PAUSED]) && !steps[IS_STOPPED]) {
        int64_t begin = now, piece = end - now;
        if (steps[IS_PAUSED] || piece > LONGEST_SLEEP) piece = LONGEST_SLEEP;
        struct timespec time = {0, (long)piece};
        nanosleep(&time, NULL);
        now = read_clock(); /* a machine that is busy sleeps for longer */
        steps[NS_WAITED] += now - begin;
    }
}

/* Find the numbers of 64 bits in a buffer that can be written, NULL in None; return 0 for an error. */
static int find_numbers(PyObject *from, int n_numbers, Py_buffer *view, int64_t **numbers)
{
    view->obj = NULL;
    *numbers = NULL;
    if (from == Py_None) return 1;
    if (PyObject_GetBuffer(from, view, PyBUF_WRITABLE)) return 0;
    if (view->len < n_numbers * (Py_ssize_t)sizeof **numbers
        || (uintptr_t)view->buf % sizeof **numbers) {
        PyErr_Format(PyExc_ValueError, "this is not %d numbers of 64 bits", n_numbers);
        PyBuffer_Release(view);
        return 0;
    }
    *numbers = view->buf;
    return 1;
}

static void release_numbers(Py_buffer *view)
{
    if (view->obj) PyBuffer_Release(view);
}

/* Find the numbers of both, NULL in None; return 0 for an error. */
static int share_numbers(PyObject *steps, PyObject *pacer, int64_t **found_steps,
                         int64_t **found_pacer, Py_buffer views[2])
{
    views[0].obj = views[1].obj = NULL;
    if (!find_numbers(steps, N_STEPS, &views[0], found_steps)) return 0;
    if (find_numbers(pacer, N_PACER, &views[1], found_pacer)) return 1;
    release_numbers(&views[0]);
    return 0;
}

static PyObject *book_calls(PyObject *self, PyObject *args)
{
    PyObject *pacer;
    long long n_calls;
    Py_buffer view;
    int64_t *numbers;
    (void)self;
    if (!PyArg_ParseTuple(args, "OL:book_calls", &pacer, &n_calls)) return NULL;
    if (!find_numbers(pacer, N_PACER, &view, &numbers)) return NULL;
    int64_t left = numbers ? book_turns(numbers, n_calls) : 0;
    release_numbers(&view);
    return PyLong_FromLongLong(left);
}
