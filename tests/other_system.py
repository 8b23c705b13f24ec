"""Run Python with this package seeing another system: `other_system.py windows -m polars_alf …`.

Only modules of polars_alf see it: `os`, `sys` and `signal` as they import them lack what the other
system lacks, and name it. All others, such as pathlib, stay as they are, as they would not work.
"""

from __future__ import annotations

import builtins
import os
import runpy
import signal
import sys
from types import ModuleType
from typing import Any

WINDOWS_LACKS = {
    "os": {
        *("chown", "environb", "fork", "geteuid", "getuid", "posix_fadvise", "register_at_fork"),
        *("sched_getaffinity", "statvfs", "sysconf", "uname", "O_CLOEXEC", "O_DIRECTORY"),
        *("O_NOFOLLOW", "O_NONBLOCK"),
    },
    "sys": set[str](),
    "signal": {"setitimer", "SIGALRM", "SIGHUP", "ITIMER_REAL"},
}

MACOS_LACKS = {
    "os": {"posix_fadvise", "sched_getaffinity"},
    "sys": set[str](),
    "signal": set[str](),
}

MISSING_MODULES = {"windows": {"fcntl", "resource", "grp", "pwd"}, "macos": set[str]()}


class Seen(ModuleType):
    """A module as another system has it."""

    def __init__(self, real: ModuleType, lacks: set[str], **instead: Any) -> None:
        super().__init__(real.__name__)
        vars(self).update(_real=real, _lacks=lacks, **instead)

    def __getattr__(self, name: str) -> Any:
        if name in vars(self)["_lacks"]:
            raise AttributeError(f"this system has no {name}")
        return getattr(vars(self)["_real"], name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(vars(self)["_real"], name, value)


def open_no_folder(path: Any, flags: int, *mode: int, dir_fd: None = None) -> int:
    """Open a file as Windows does, which opens no folders and knows no descriptors of them."""
    if dir_fd is not None:
        raise NotImplementedError("dir_fd")
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return os.open(path, flags, *mode)


def link_at_paths(source: Any, target: Any) -> None:
    """Link as Windows does, which takes no descriptors and follows every link."""
    os.link(source, target)


def scan_path(path: Any = ".") -> Any:
    """Scan a folder as Windows does, by its path, without inodes in the listing."""
    if isinstance(path, int):
        raise TypeError("a path, not a descriptor")
    return os.scandir(path)


def see(system: str) -> dict[str, Seen]:
    """Return the modules that a system has in the place of ours."""
    if system == "macos":
        return {
            "os": Seen(os, MACOS_LACKS["os"]),
            "sys": Seen(sys, MACOS_LACKS["sys"], platform="darwin"),
            "signal": Seen(signal, MACOS_LACKS["signal"]),
        }
    instead = {
        "name": "nt",
        "open": open_no_folder,
        "link": link_at_paths,
        "scandir": scan_path,
        "supports_dir_fd": set(),
        "supports_fd": set(),
        "supports_follow_symlinks": set(),
        "O_BINARY": 0,
    }
    return {
        "os": Seen(os, WINDOWS_LACKS["os"], **instead),
        "sys": Seen(sys, WINDOWS_LACKS["sys"], platform="win32"),
        "signal": Seen(signal, WINDOWS_LACKS["signal"]),
    }


def pretend(system: str) -> None:
    """Let modules of polars_alf that are imported from now on see a system."""
    modules, missing = see(system), MISSING_MODULES[system]
    real = builtins.__import__

    def load(name: str, scope: Any = None, *more: Any, **named: Any) -> Any:
        if str((scope or {}).get("__name__", "")).partition(".")[0] == "polars_alf":
            if name in missing:
                raise ImportError(f"this system has no module {name}", name=name)
            if name in modules:
                return modules[name]
        return real(name, scope, *more, **named)

    builtins.__import__ = load


if __name__ == "__main__":
    _, system, kind, what, *arguments = sys.argv
    pretend(system)
    sys.argv = [what if kind == "-m" else kind, *arguments]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what)
