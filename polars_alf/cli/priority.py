"""The priority of a command among the programs of its machine."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from polars_alf.errors import OptionError

LOWEST = 19
"""The highest nice value, which is the lowest priority."""


def lower_priority() -> None:
    """Give this process the lowest priority, and with it all threads and processes to come.

    On Linux the priority of the disk follows that of the processor, unless the caller has set one
    with ionice.
    """
    if not hasattr(os, "setpriority"):
        raise OptionError(
            "--nice has no meaning on this system, which has no nice values; start the command "
            "with a low priority instead (on Windows: start /low polars-alf …)"
        )
    # Linux has a nice value for each thread, which those that it starts inherit.
    is_linux = sys.platform == "linux"
    threads = [int(path.name) for path in Path("/proc/self/task").iterdir()] if is_linux else [0]
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.setpriority(os.PRIO_PROCESS, thread, LOWEST)
