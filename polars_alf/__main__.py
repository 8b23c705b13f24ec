"""The command, also as ``python -m polars_alf``."""

from __future__ import annotations

import os

INTERRUPTED = b"interrupted; nothing was begun\n"

try:
    import signal
    import sys
    from types import FrameType
except KeyboardInterrupt:
    os.write(2, INTERRUPTED)
    os._exit(130)


def main() -> None:
    """Load the command line, and run it."""
    # Where a shell has put the command in the background, interrupts are not for it.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end_at_once)
    from polars_alf.alf.encoding import restart_in_utf8
    from polars_alf.alf.process_limits import check_limits, save_memory
    from polars_alf.cli.streams import open_closed_streams
    from polars_alf.errors import LimitError

    open_closed_streams()
    # pyarrow loads NumPy, whose threads nothing here needs.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    restart_in_utf8()
    save_memory()
    try:
        check_limits()
    except LimitError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    from polars_alf.cli.loading import loading

    with loading():
        from polars_alf.cli.app import main as run
    run()


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """End while modules are loaded: an exception there would come out as anything."""
    os.write(2, INTERRUPTED)
    os._exit(130)


if __name__ == "__main__":
    main()
