"""Run a command, or a line of Python, and note what it does: `python watched.py LOG ARGUMENTS`.

Noted is what Python audits: what is opened, listed, removed or renamed, and what is run, unpickled
or connected to. What libraries in other languages do is for `strace` to tell.
"""

from __future__ import annotations

import os
import sys

NOTED = (
    *("open", "os.scandir", "os.listdir", "os.remove", "os.rmdir", "os.rename", "os.mkdir"),
    *("os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime", "shutil.rmtree"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn"),
    *("pickle.find_class", "marshal.loads", "ctypes.dlopen"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request"),
)


def main(log: str, arguments: list[str]) -> None:
    # Whatever is imported before the hook is there is no deed of the command.
    import one.api  # noqa: F401

    import polars_alf.cache
    import polars_alf.cli.app
    import polars_alf.one

    notes = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(event: str, values: tuple[object, ...]) -> None:
        if event in NOTED:
            os.write(notes, f"{event} {values!r}\n".encode("utf-8", "backslashreplace"))

    sys.addaudithook(note)
    if arguments[0] == "-c":
        exec(arguments[1])
    else:
        sys.argv = ["polars-alf", *arguments]
        polars_alf.cli.app.main()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
