/* Keep calls to the storage to a rate. See `book_calls` in twin.py.

   A pacer is three numbers of 64 bits that all threads share: when the next call may be made, in
   nanoseconds of the monotonic clock; nanoseconds between two calls; and how far a caller that was
   late may catch up. */

#include <stdint.h>
#include <time.h>

enum { NEXT, INTERVAL, BURST, N_PACER };

enum { N_CALLS, IS_STOPPED, NS_WAITED, IS_PAUSED, N_STEPS };

/* C libraries ask the system for 32 KiB of entries at a time: about so many. */
enum { ENTRIES_PER_READ = 500 };

/* Time between two looks at whether to stop. */
static const int64_t LONGEST_SLEEP = 20000000;

static int64_t read_clock(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Nanoseconds that this thread was off the processor in calls to the storage. See off_cpu.py. */
static _Thread_local int64_t off_cpu;

/* A clock that stands still while this thread is on a processor. */
static int64_t read_off_cpu_clock(void)
{
    struct timespec worked;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &worked)) return 0;
    return read_clock() - ((int64_t)worked.tv_sec * 1000000000 + worked.tv_nsec);
}

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
    if (!pacer && !steps[IS_PAUSED]) return;
    int64_t left = pacer ? book_turns(pacer, n_calls) : 0, now = read_clock(), end = now + left;
    while ((now < end || steps[IS_PAUSED]) && !steps[IS_STOPPED]) {
        int64_t begin = now, piece = end - now;
        if (steps[IS_PAUSED] || piece > LONGEST_SLEEP) piece = LONGEST_SLEEP;
        struct timespec time = {0, (long)piece};
        nanosleep(&time, NULL);
        now = read_clock(); /* a machine that is busy sleeps for longer */
        steps[NS_WAITED] += now - begin;
        off_cpu -= now - begin; /* it waited for no storage */
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

static PyObject *read_off_cpu(PyObject *self, PyObject *none)
{
    (void)self;
    (void)none;
    return PyLong_FromLongLong(off_cpu);
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
