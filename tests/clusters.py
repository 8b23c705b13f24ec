"""A real Dask cluster for tests: a scheduler, and workers that can be held and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from polars_alf.parallel import cluster

HERE = Path(__file__).parent
DASK = "from distributed.cli.dask_{} import main; main()"
PATIENCE = 120


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(0.02)


def kill_now_and_then(
    workers: TestCluster, is_due: Callable[[int], bool], is_over: Callable[[], bool]
) -> set[int]:
    """Kill a worker, and start another, each time that it is due; return the pids in the end.

    `is_due` is given how many were killed.
    """
    killed: set[int] = set()
    while not is_over():
        if is_due(len(killed)) and (pid := workers.replace_worker()):
            killed.add(pid)
        time.sleep(0.02)
    return killed


def check_repeats(workers: TestCluster, killed: set[int]) -> int:
    """Check that only what killed workers had was done again; return how often that was so."""
    begun = workers.marks("begun")
    kept = [shard for shard, pid in begun if pid not in killed]
    assert len(kept) == len({*kept}), "a shard was given to two workers that lived"
    assert {*kept} <= {shard for shard, _ in workers.marks("finished")} == {*dict(begun)}
    return len(begun) - len(dict(begun))


def limit_waits(patch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Set time limits of `cluster.connect` for a while."""
    defaults = cluster.connect.__wrapped__.__kwdefaults__  # type: ignore[attr-defined]
    for name, value in seconds.items():
        assert name in defaults
        patch.setitem(defaults, name, value)


class TestCluster:
    """A scheduler with workers on this machine.

    Its workers mark in `folder` which shards they began and finished, and obey the files there
    (see `cluster_worker.py`).

    Parameters
    ----------
    folder
        For logs, and for what passes between workers and tests.
    n_workers
        How many there are.
    nanny
        Whether a worker that was killed is started again.
    blocked
        A module that workers cannot import.
    variables
        Of the workers' environment.
    scheduler_variables
        Of the scheduler's.
    """

    __test__ = False

    def __init__(
        self,
        folder: Path,
        n_workers: int = 2,
        *,
        nanny: bool = True,
        blocked: str = "",
        variables: dict[str, str] | None = None,
        scheduler_variables: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self._nanny, self._blocked, self._variables = nanny, blocked, variables
        arguments = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"]
        self.scheduler = self._start("scheduler", DASK, *arguments, variables=scheduler_variables)
        log = folder / "scheduler.log"
        wait_for(lambda: "Scheduler at:" in log.read_text(), "the scheduler")
        (line,) = [line for line in log.read_text().splitlines() if "Scheduler at:" in line]
        self.tcp = line.split()[-1]
        self.address = self.tcp.replace("tcp:", "dask:")
        for _ in range(n_workers):
            self.start_worker()
        joined = "Register worker"
        wait_for(lambda: log.read_text().count(joined) >= n_workers, "the workers")

    def start_worker(self) -> None:
        """Start another worker, which joins when it is ready."""
        code = f"import sys; sys.modules[{self._blocked!r}] = None; {DASK}"
        preload = () if self._blocked else ("--preload", str(HERE / "cluster_worker.py"))
        name = f"worker-{len(self.workers)}"
        worker = self._start(
            "worker",
            code if self._blocked else DASK,
            self.tcp,
            *("--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"),
            *("--local-directory", str(self.folder / name)),
            *("--nanny" if self._nanny else "--no-nanny", *preload),
            name=f"{name}.log",
            variables=self._variables,
        )
        self.workers.append(worker)

    def replace_worker(self) -> int | None:
        """Kill a worker without a nanny amid a shard and start another; return the pid, or None."""
        under_way = {pid for _, pid in {*self.marks("begun")} - {*self.marks("finished")}}
        for worker in self.workers:
            if worker.pid in under_way and worker.poll() is None:
                worker.kill()
                worker.wait()
                self.start_worker()
                return worker.pid
        return None

    def _start(
        self,
        what: str,
        code: str,
        *arguments: str,
        name: str = "",
        variables: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
            "POLARS_ALF_TEST_FOLDER": str(self.folder),
            # Of four, that Dask tries a task on by default: each takes seconds to start again.
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
            **(variables or {}),
        }
        with (self.folder / (name or f"{what}.log")).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", code.format(what), *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End it, with all that its workers started."""
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            process.wait()

    def clear(self) -> None:
        """Remove the marks of workers, and let them go on."""
        for path in self.folder.iterdir():
            if path.is_file() and path.suffix != ".log":
                path.unlink()

    def hold(self, after: int = 0) -> None:
        """Make workers stop before they do a shard, once so many are finished."""
        (self.folder / "hold").write_text(str(after))

    def release(self) -> None:
        """Let workers go on."""
        (self.folder / "hold").unlink()

    def kill_at(self, folder: str) -> None:
        """Make the shard with a dated folder end its worker, once another shard is finished."""
        (self.folder / "deadly").write_text(folder)

    def marks(self, kind: str) -> list[tuple[str, int]]:
        """Return shard and process of what workers have ``begun``, ``held`` or ``finished``."""
        parts = [path.name.split("-") for path in self.folder.glob(f"{kind}-*")]
        return [(shard, int(pid)) for _, shard, pid in parts]
