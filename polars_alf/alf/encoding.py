"""The encoding of file names, which Python takes from the locale when it starts, and never again.

It loads nothing heavy: the command asks before all else.
"""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress
from pathlib import Path

from polars_alf.errors import EncodingError

_CURE = (
    "unset PYTHONLEGACYWINDOWSFSENCODING"
    if sys.platform == "win32"
    else "start it with PYTHONUTF8=1 or -X utf8, or under LC_ALL=C.UTF-8"
)


def decodes_utf8() -> bool:
    """Whether this process decodes the names of files as UTF-8."""
    return codecs.lookup(sys.getfilesystemencoding()).name == "utf-8"


def check_encoding() -> None:
    """Check that this process decodes the names of files as UTF-8, as tables have them.

    Raises
    ------
    EncodingError
        It does not: paths would change, and files that are in the tables would look like strays.
    """
    if not decodes_utf8():
        raise EncodingError(
            f"this Python decodes the names of files as {sys.getfilesystemencoding()}, and tables "
            f"hold UTF-8: paths would change, and files seem to be missing; {_CURE}"
        )


def restart_in_utf8() -> None:
    """Replace a program that decodes names otherwise by itself, in Python's UTF-8 mode.

    The process stays the same one, and what it starts inherits the mode. Return where there is no
    need, and where it cannot be done: `check_encoding` is to refuse there.
    """
    if sys.platform == "win32" or decodes_utf8() or os.environ.get("PYTHONUTF8") == "1":
        return
    # What was read from stdin, or typed, cannot be run again.
    if sys.argv[0] in ("", "-"):
        return
    with suppress(OSError, UnicodeEncodeError):
        arguments = _read_arguments()
        # A program that embeds Python is not ours to replace.
        if sys.executable and len(arguments) == len(sys.orig_argv) > 1:
            python = os.fsencode(sys.executable)
            os.execve(
                python,
                # The option holds where an -E or -I among the arguments hides the variable.
                [python, b"-X", b"utf8", *arguments[1:]],
                os.environb | {b"PYTHONUTF8": b"1"},
            )


def _read_arguments() -> list[bytes]:
    """Return the arguments of this process, the interpreter's own among them."""
    try:
        # Python's codecs for EUC-JP and its like do not undo what the C library has decoded.
        return Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return [os.fsencode(argument) for argument in sys.orig_argv]
