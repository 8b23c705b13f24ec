"""The command, also as ``python -m polars_alf``."""

from __future__ import annotations

import gc
import os
import sys

from polars_alf.alf.encoding import restart_in_utf8
from polars_alf.cli.streams import open_closed_streams


def main() -> None:
    """Load the command line, which takes a third of a second, and run it."""
    open_closed_streams()
    # pyarrow loads NumPy, whose threads nothing here needs.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Loaded modules stay: looking for garbage among them takes a sixth of the time.
    gc.disable()
    try:
        restart_in_utf8()
        from polars_alf.cli.app import main as run
    except KeyboardInterrupt:
        print("interrupted; nothing was begun", file=sys.stderr)
        sys.exit(130)
    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
