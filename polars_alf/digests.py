"""Digests of the contents of files."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable

_CHUNK = 1 << 20
# A file that became a FIFO since it was listed must not block the run.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def digest_md5(path: str, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Return the MD5 of a file's content, as `one.alf.cache` stores it.

    Parameters
    ----------
    path
        The file, read in pieces of 1 MiB.
    on_bytes
        Called with the size of each piece, in bytes.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    OSError
        The file cannot be read, or is none: a FIFO, say, or a device without an end.
    """
    digest = hashlib.md5(usedforsecurity=False)
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    descriptor = os.open(path, _FLAGS)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file any more", path)
        while n_bytes := file.readinto(buffer):
            digest.update(view[:n_bytes])
            on_bytes(n_bytes)
    return digest.hexdigest()
