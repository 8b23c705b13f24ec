/* How long a thread works in calls to the storage, and how long these block it. See effort.py. */

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { N_CALLS, IS_STOPPED, NS_WAITED, IS_PAUSED, NS_WORKED, NS_BLOCKED, IS_ENOUGH, N_STEPS };

/* Time off the processor from which it is worth asking how much of it was spent waiting for one. */
static const int64_t LONG_OFF = 200000;

/* Time between two looks in one call from Python: some are to come in each window of who looks on,
   and each takes as long as several calls to a fast storage. */
static const int64_t LOOK_INTERVAL = 25000000;

static _Thread_local struct { int64_t clock, worked, waited, delay; int was_off; } last;

static int64_t read_time(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time)) return 0;
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int64_t read_clock(void) { return read_time(CLOCK_MONOTONIC); }

/* How long this thread has waited for a processor since the last look at that, as the system tells;
   0 where it does not. */
static int64_t take_delay(void)
{
    int64_t before = last.delay;
#ifdef __linux__
    char text[64] = "";
    int file = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    const char *space = size > 0 ? strchr(text, ' ') : NULL;
    if (space) last.delay = strtoll(space, NULL, 10);
#endif
    return last.delay - before;
}

static void begin_effort(volatile int64_t *steps)
{
    last.clock = read_clock();
    last.worked = read_time(CLOCK_THREAD_CPUTIME_ID);
    last.waited = steps[NS_WAITED];
    if (last.was_off) take_delay();
}

/* Add what came since the last look. */
static void look(volatile int64_t *steps)
{
    int64_t clock = read_clock(), worked = read_time(CLOCK_THREAD_CPUTIME_ID);
    int64_t off = (clock - last.clock) - (worked - last.worked);
    off -= steps[NS_WAITED] - last.waited; /* a sleep until a turn is nobody's call */
    steps[NS_WORKED] += worked - last.worked;
    last.was_off = off > LONG_OFF;
    if (last.was_off) off -= take_delay();
    if (off > 0) steps[NS_BLOCKED] += off;
    last.clock = clock;
    last.worked = worked;
    last.waited = steps[NS_WAITED];
}
