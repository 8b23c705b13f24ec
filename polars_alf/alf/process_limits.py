"""Limits of a process on address space, threads and open files.

Where Polars and Arrow can have less than they want, they panic or end the process. They are told to
want less, and what they need at least is tried before they are loaded.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import functools
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from polars_alf.errors import LimitError

if TYPE_CHECKING:
    import threading

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

Thread = TypeVar("Thread", bound="threading.Thread")

LEAST_SPACE = 700 << 20
"""Bytes of address space that an index of a small archive takes; its data come on top."""

LEAST_THREADS = 24
"""Threads that Polars and Arrow start beside ours, where they are told to start few."""

LEAST_FILES = 24
"""Files that a small index has open at once, the pipes of Polars among them."""

_AMPLE_SPACE = 4 << 30

_SPACE_PER_PROCESSOR = 256 << 20

_THREADS_PER_PROCESSOR = 8

_STACK = 8 << 20
"""Bytes that a thread's stack takes where no limit says it."""

_M_ARENA_MAX = -8
"""Number of an option in glibc's malloc.h."""


def count_processors() -> int:
    """Return how many processors this process may use: by its affinity, and its groups' quotas."""
    try:
        n_processors = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        n_processors = _count_all()
    for folder in _list_groups("cpu"):
        for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            with contextlib.suppress(OSError, ValueError):  # "max", and -1, are no quota
                quota, period = " ".join((folder / name).read_text() for name in names).split()
                if int(quota) > 0:
                    n_processors = min(n_processors, -(-int(quota) // int(period)))
    return max(n_processors, 1)


def _count_all() -> int:
    return os.cpu_count() or 1


def count_stacks() -> int | None:
    """Return how many threads' stacks fit into a quarter of the address space, None for any."""
    space = _read_limit("RLIMIT_AS")
    return None if space is None else max(space // 4 // (_read_limit("RLIMIT_STACK") or _STACK), 1)


def save_memory() -> None:
    """Have this process, and libraries that are loaded later, give back the memory that is freed.

    An index of 40 million datasets that keeps columns takes a sixth less, in the same time.
    """
    # Arrow's own allocator keeps what was freed: a fifth of the memory of an index.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # Polars makes many morsels before they are taken: a fifth of the memory of `verify`.
    os.environ.setdefault("POLARS_IDEAL_MORSEL_SIZE", "32768")
    # Its allocator keeps what was freed for ten seconds.
    os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:500")
    if "MALLOC_ARENA_MAX" not in os.environ:
        _share_arena()


def _share_arena() -> None:
    """Have all threads take their memory from one arena of glibc's; each would keep what it had."""
    with contextlib.suppress(ImportError, OSError, AttributeError, TypeError):
        import ctypes

        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def fit_libraries() -> None:
    """Set the environment so that libraries start few threads where there is little room.

    It is for libraries that are loaded later, and for processes that are started.
    """
    space, n_threads, n_processors = _read_limit("RLIMIT_AS"), _find_most_threads(), _count_all()
    if space is not None:
        # It reserves a gigabyte to begin with; and glibc 64 MB for the first call of each thread.
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
        os.environ.setdefault("MALLOC_ARENA_MAX", "1")
        _share_arena()
    is_tight = space is not None and space < _AMPLE_SPACE + _SPACE_PER_PROCESSOR * n_processors
    is_tight |= n_threads is not None and n_threads < 64 + _THREADS_PER_PROCESSOR * n_processors
    if is_tight:
        for name in ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, "1")  # Arrow goes by the second
        os.environ.setdefault("ARROW_IO_THREADS", "1")


@functools.cache
def check_limits() -> None:
    """Raise LimitError where this process cannot have what Polars and Arrow need at least."""
    fit_libraries()
    try:
        mmap.mmap(-1, LEAST_SPACE).close()
    except OSError as error:
        raise LimitError(
            error.errno,
            f"this process cannot have {LEAST_SPACE >> 20} MB more of address space, which Polars "
            "and Arrow reserve; raise the limit (ulimit -v), or limit what memory is in use by a "
            "cgroup",
        ) from None
    n_threads = try_threads(LEAST_THREADS)
    if n_threads < LEAST_THREADS:
        raise LimitError(errno.EAGAIN, _describe_threads(n_threads))
    n_files = _try_files(LEAST_FILES)
    if n_files < LEAST_FILES:
        raise LimitError(
            errno.EMFILE,
            f"this process can open only {n_files} more files, and Polars and an index need "
            f"{LEAST_FILES}; raise the limit (ulimit -n)",
        )


def start_threads(threads: Sequence[Thread], *, least: int | None = None) -> list[Thread]:
    """Start threads, and return those that could be; LimitError for fewer than `least` (all)."""
    started: list[Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
    except RuntimeError as error:  # "can't start new thread"
        if len(started) < (len(threads) if least is None else least):
            raise LimitError(errno.EAGAIN, _describe_threads(0)) from error
    return started


def explain_limit(error: OSError) -> str | None:
    """Return the cure of an error that comes from a limit of the process, None for any other."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "raise the limit of open files (ulimit -n)"
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return "raise the limits of threads and memory (ulimit -u, ulimit -v, or of the cgroup)"
    return None


def _describe_threads(n_threads: int) -> str:
    return (
        f"this process can start only {n_threads} more threads, and Polars and Arrow need "
        f"{LEAST_THREADS}; raise the limit (ulimit -u, or pids.max of the cgroup)"
    )


def try_threads(n_wanted: int) -> int:
    """Return how many threads can be started at once, as many as are wanted or fewer.

    Where the address space is limited, no more are tried than have room for their stacks in it.
    """
    n_wanted, n_asked = min(n_wanted, count_stacks() or n_wanted), n_wanted
    gate = _thread.allocate_lock()
    n_started = 0
    with gate, contextlib.suppress(RuntimeError):
        while n_started < n_wanted:
            _thread.start_new_thread(_pass, (gate,))
            n_started += 1
    return n_asked if n_started == n_wanted else n_started


def _pass(gate: _thread.LockType) -> None:
    with gate:
        pass


def _try_files(n_wanted: int) -> int:
    """Return how many files could be opened at once."""
    opened: list[int] = []
    try:
        while len(opened) < n_wanted:
            opened += os.pipe()  # needs no file, as /dev/null would be where there is no /dev
    except OSError:
        pass
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return min(len(opened), n_wanted)


def count_spare_threads() -> int | None:
    """Return how many threads the limits leave beside those of libraries, None for any number."""
    most = _find_most_threads()
    return None if most is None else max(most - LEAST_THREADS, 1)


@functools.cache
def _find_most_threads() -> int | None:
    limits = []
    # It does not hold for root, and counts the threads of all processes of the user.
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        limits.append(_read_limit("RLIMIT_NPROC"))
    for folder in _list_groups("pids"):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((folder / "pids.max").read_text()))
    return min((limit for limit in limits if limit is not None), default=None)


def _read_limit(name: str) -> int | None:
    """Return a soft limit of this process, None where there is none."""
    kind = getattr(resource, name, None)
    if resource is None or kind is None:
        return None
    limit, _ = resource.getrlimit(kind)
    return None if limit == resource.RLIM_INFINITY else limit


def _list_groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, of both versions, from its own to all.

    In a container, the root of what is mounted is its own group, whatever it is called outside.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            mounts = [f"/sys/fs/cgroup/{controllers}", f"/sys/fs/cgroup/{controller}"]
        else:
            continue
        own = Path(path.lstrip("/"))
        for mount in map(Path, mounts):
            if mount.is_dir():
                yield from (mount / group for group in (own, *own.parents))
                break
