"""The lock of a folder's state: one writer at a time, on any storage, from any machine.

The locks of the system are not enough. Lustre without ``flock`` and NFS without ``lockd`` refuse
them; other mounts of NFS, and most of FUSE, grant them on each machine apart, without a word. A
file that is created only if it is not there is one for all machines, so that is what this rests on.

A writer creates ``lock-N``, one above the newest number, and renames it to ``lock-N.free`` at its
end. Numbers are never used twice: of all who find a writer dead, one gets the next number, and the
others meet it there. A writer of this machine is dead if its process is. One of another machine
touches its lock every few seconds, and counts as dead once it has long not done so. Should it only
have been suspended, it finds at its commit that its lock is no longer the newest, and commits
nothing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Self

from polars_alf.alf.process_limits import start_threads
from polars_alf.display import warn_caller
from polars_alf.errors import ArchiveBusyError, PolarsAlfError, TakeoverWarning

BEAT_SECONDS = 10.0
"""Time between two signs of life."""

SILENT_SECONDS = 60.0
"""Time without a sign of life from which a writer is suspected to be dead."""

WATCH_SECONDS = 21.0
"""Time for which a suspect is watched: it may have waited for a server that is back just now."""

# No name of a dataset, such as lock.7.free, which an index of the archive would count.
_LOCK = re.compile(r"lock-(\d{1,18})(\.free)?")

_NAME = re.compile(r"[\w.:/-]{1,255}")

_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

# Whatever lies at the name: no link is followed, and no pipe waited for.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _FLAGS

_ANONYMOUS = "a process of unknown name"


@dataclass(frozen=True, slots=True)
class Writer:
    """The process that holds a lock, as the file of the lock names it."""

    host: str
    machine: str
    """Name of the machine, another for containers that do not see each other's processes."""
    pid: int
    started: str
    """Start of the process, as a later one may have its number; '' where the system is silent."""
    begun: float
    """When it took the lock, in seconds since 1970 by its own clock."""
    token: str

    @classmethod
    def this(cls) -> Self:
        """Return a writer of this process."""
        process = _find_process("self")
        # Where /proc is that of a container outside, its numbers are of other processes.
        is_ours = process and process.pid == os.getpid()
        return cls(
            host=socket.gethostname(),
            machine=_find_machine(),
            pid=os.getpid(),
            started=process.started if process and is_ours else "",
            begun=time.time(),
            token=uuid.uuid4().hex,
        )

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read the file of a lock; None where it does not say whose it is, as on a full disk."""
        try:
            with os.fdopen(os.open(path, _READ), "rb") as file:
                text = file.read(4096)
        except PermissionError:
            return None
        try:
            writer = cls(**json.loads(text))
            names = (writer.host, writer.machine, writer.token)
            is_valid = all(map(_NAME.fullmatch, names)) and writer.pid > 0
            return writer if is_valid and isinstance(writer.begun, float) else None
        except (ValueError, TypeError):
            return None

    @classmethod
    def read_newest(cls, state: Path) -> Self | None:
        """Read the newest lock in a folder, free or not; None where it does not say whose it is."""
        number, is_free = _find_newest(state)
        try:
            return cls.read(state / f"lock-{number}{'.free' if is_free else ''}")
        except FileNotFoundError:
            return None

    def __str__(self) -> str:
        begun = describe_seconds(max(time.time() - self.begun, 0))
        return f"process {self.pid} on {self.host}, begun {begun} ago"


@dataclass(frozen=True, slots=True)
class _Lock:
    """A lock that this process holds."""

    path: Path
    number: int
    writer: Writer
    done: threading.Event

    def is_newest(self) -> bool:
        """Whether no other writer has taken its place."""
        # The number alone would not do: on some mounts of buckets two can create the same file.
        try:
            return _find_newest(self.path.parent) == (self.number, False) and (
                Writer.read(self.path) in (self.writer, None)
            )
        except FileNotFoundError:
            return False

    def beat(self) -> None:
        """Show signs of life until the lock is released."""
        while not self.done.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                _touch(self.path)

    def release(self) -> None:
        """Let others write. Where that fails they find it by itself, as `_held` has it no more."""
        self.done.set()
        with contextlib.suppress(OSError):
            self.path.rename(self.path.with_name(f"{self.path.name}.free"))


_held: dict[Path, _Lock] = {}
"""Locks of this process, by the folder that they are of."""


@contextlib.contextmanager
def hold_writer_lock(folder: Path, state: Path, patience: float) -> Iterator[None]:
    """Hold the lock of a folder of tables, in its state.

    A writer of another machine that seems dead is watched, if `patience` is enough seconds for
    that. Raises ArchiveBusyError where another one lives, or may, and OSError where the state
    cannot be written.
    """
    lock = _acquire(folder, state, patience)
    try:
        _held[folder] = lock
        start_threads([threading.Thread(target=lock.beat, daemon=True)])
        yield
    except Exception:
        # What this run was at may have been moved by one that took it for dead.
        with _ignoring_storage():
            check_writer_lock(folder)
        raise
    finally:
        _held.pop(folder, None)
        lock.release()


@contextlib.contextmanager
def _ignoring_storage() -> Iterator[None]:
    """Ignore errors of the storage, but not what this module raises."""
    try:
        yield
    except PolarsAlfError:
        raise
    except OSError:
        pass


def check_writer_lock(folder: Path) -> None:
    """Raise ArchiveBusyError where another writer has taken the place of this one."""
    lock = _held.get(folder)
    if lock is None or lock.is_newest():
        return
    raise ArchiveBusyError(
        f"this run gave no sign of life for a while, as when a machine sleeps, and another one has "
        f"taken over {folder}: the tables are as that one leaves them; run again when it has ended"
    )


def find_writer(state: Path) -> Writer | str | None:
    """Return who holds the newest lock in a folder, a text if that is not known; None if free."""
    number, is_free = _find_newest(state)
    if is_free:
        return None
    with contextlib.suppress(FileNotFoundError):  # released at this moment
        return Writer.read(state / f"lock-{number}") or _ANONYMOUS
    return None


def describe_seconds(seconds: float) -> str:
    """Return a time in words, in the largest unit of which there are two."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}s"
    return f"{seconds:.0f} seconds"


def measure_age(path: Path, state: Path) -> float:
    """Return how long ago a file was changed, by the clock of its storage."""
    with tempfile.TemporaryFile(dir=state) as now:
        return os.fstat(now.fileno()).st_mtime - _read_time(path)


def _acquire(folder: Path, state: Path, patience: float) -> _Lock:
    number, is_free = _find_newest(state)
    while True:
        if not is_free:
            with contextlib.suppress(FileNotFoundError):  # released meanwhile
                _check_dead(folder, state / f"lock-{number}", patience)
        number += 1
        lock = _Lock(state / f"lock-{number}", number, Writer.this(), threading.Event())
        try:
            _create(lock)
        except FileExistsError:
            is_free = False  # another was quicker, and the listing may be a client's old one
            continue
        try:
            if lock.is_newest():
                _remove_older(state, number)
                return lock
        except BaseException:
            lock.release()
            raise
        # The listing was old, and the lock is one below another.
        lock.path.unlink(missing_ok=True)
        number, is_free = _find_newest(state)


def _find_newest(state: Path) -> tuple[int, bool]:
    """Return the newest number of a lock, and whether that is free."""
    found = [
        (int(match[1]), bool(match[2]))
        for match in map(_LOCK.fullmatch, os.listdir(state))
        if match
    ]
    return max(found, default=(0, True))


def _create(lock: _Lock) -> None:
    descriptor = os.open(lock.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
    # What makes room, such as a prune, must be able to run on a full disk.
    with os.fdopen(descriptor, "wb", buffering=0) as file, contextlib.suppress(OSError):
        file.write(json.dumps(asdict(lock.writer)).encode())


def _remove_older(state: Path, number: int) -> None:
    for name in os.listdir(state):
        match = _LOCK.fullmatch(name)
        if match and int(match[1]) < number:
            with contextlib.suppress(OSError):
                (state / name).unlink()


def _check_dead(folder: Path, path: Path, patience: float) -> None:
    """Raise ArchiveBusyError unless the writer of a lock is dead; then warn of it."""
    writer = Writer.read(path)
    is_dead = writer and _is_dead(writer)
    silence = measure_age(path, path.parent)
    if is_dead is None and silence > SILENT_SECONDS and patience >= WATCH_SECONDS:
        is_dead = _is_silent(path)
    who = str(writer or _ANONYMOUS)
    if not is_dead:
        raise ArchiveBusyError(
            f"another run is writing the tables of {folder}: {who}, last sign of life "
            f"{describe_seconds(max(silence, 0))} ago; wait for its end, or give another folder "
            f"for the tables; if it was killed, run again after {describe_seconds(SILENT_SECONDS)} "
            "without a sign of life"
        )
    if patience and not (writer and writer.pid == os.getpid()):
        warn_caller(
            f"another run had begun to write the tables of {folder} and was cut off: {who}, last "
            f"sign of life {describe_seconds(max(silence, 0))} ago; this run takes its place",
            TakeoverWarning,
        )


def _is_dead(writer: Writer) -> bool | None:
    """Return whether the process of a writer has ended, None where that cannot be seen."""
    if writer.machine != _find_machine() or os.name == "nt":
        return None
    if writer.pid == os.getpid():
        return writer.token not in {lock.writer.token for lock in _held.values()}
    try:
        os.kill(writer.pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # it is another user's
    found = _find_process(writer.pid)
    if not (found and writer.started):
        return None  # it may be another process by now
    return found.started != writer.started or found.has_ended


def _is_silent(path: Path) -> bool:
    """Watch a lock, and return whether its writer gave no sign of life all the while."""
    before = _read_time(path)
    deadline = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < deadline:
        time.sleep(BEAT_SECONDS / 10)
        if _read_time(path) != before:
            return False
    return True


def _read_time(path: Path) -> float:
    try:
        # A client of NFS asks the server when a file is opened, and else may remember.
        descriptor = os.open(path, _READ)
    except PermissionError:
        return path.lstat().st_mtime
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except FileNotFoundError:
        raise
    except OSError:
        # Some storage sets no times; to write the same again changes it too.
        with os.fdopen(os.open(path, os.O_RDWR | _FLAGS), "r+b") as file:
            text = file.read()
            file.seek(0)
            file.write(text)


class _Process(NamedTuple):
    pid: int
    started: str
    has_ended: bool


def _find_process(pid: int | str) -> _Process | None:
    """Return what the system shows of a process, None if nothing."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")  # of the program's name, which may have anything
    fields = tail.split()
    return _Process(int(head.split()[0]), started=fields[19], has_ended=fields[0] in "ZX")


@functools.cache
def _find_machine() -> str:
    """Return the name of this boot of the machine, and of the processes that are seen."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()}/{uuid.getnode():x}"
