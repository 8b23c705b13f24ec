"""Programs of every kind around an index: it works, or says at once what to do instead."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trees import SESSION, make_tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks, groups of processes")

MANY = {f"S{subject}/2020-01-{day:02}/001": SESSION for subject in range(4) for day in range(1, 29)}

EXPECTED = 3 * len(MANY)

WORKING = """
import os, sys, tempfile
import polars_alf as alf

def index(executor=None):
    with tempfile.TemporaryDirectory() as folder:
        try:
            return alf.index_archive(ROOT, folder, executor=executor, jobs=2).n_datasets
        except alf.errors.PolarsAlfError as error:
            return f"{type(error).__name__}: {error}"
"""

EXECUTORS = "(None, 'processes')"

AROUND = {
    "threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    print(*pool.map(index, [None, "threads", "serial", "processes"]), sep="\\n")
""",
    "asyncio": """
import asyncio
async def main():
    print(*await asyncio.gather(*[asyncio.to_thread(index, how) for how in (None, "processes")]),
          sep="\\n")
    print(index(), index("processes"), sep="\\n")  # within the loop, which waits for it
asyncio.run(main())
""",
    "no guard": f"""
print(*map(index, {EXECUTORS}), sep="\\n")
""",
}
"""Programs without a guard, which are also given to `python -c` and to stdin."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("programs") / "archive", MANY)


def run(program: str, root: Path, tmp_path: Path, how: str = "script") -> list[str]:
    text = WORKING.replace("ROOT", repr(str(root))) + program
    script = tmp_path / "program.py"
    script.write_text(text)
    arguments = {"script": [str(script)], "-c": ["-c", text], "stdin": ["-"]}[how]
    ended = subprocess.run(
        [sys.executable, *arguments],
        input=text if how == "stdin" else "",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    return ended.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["script", "-c", "stdin"])
@pytest.mark.parametrize("name", AROUND)
def test_programs_without_a_guard(root: Path, tmp_path: Path, name: str, how: str) -> None:
    counts = run(AROUND[name], root, tmp_path, how)
    assert len(counts) >= 2
    assert set(counts) == {str(EXPECTED)}


POOL = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    context = multiprocessing.get_context("{start}")
    if {used}:
        index()
    if {is_daemonic}:
        with context.Pool(1) as pool:
            print(*pool.map(index, {executors}), sep="\\n")
    else:
        with ProcessPoolExecutor(1, context) as pool:
            print(*pool.map(index, {executors}), sep="\\n")
"""


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("is_daemonic", [False, True], ids=["ProcessPoolExecutor", "Pool"])
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_pools_of_processes(
    root: Path, tmp_path: Path, start: str, is_daemonic: bool, used: bool
) -> None:
    if start == "fork" and sys.version_info >= (3, 12):
        pytest.skip("Python itself warns of forks beside threads")
    program = POOL.format(start=start, used=used, is_daemonic=is_daemonic, executors=EXECUTORS)
    default, processes = run(program, root, tmp_path)
    if start == "fork" and used:
        assert default.startswith("ForkError: the process ")
        assert processes.startswith("ForkError: the process ")
        return
    assert default == str(EXPECTED)
    if is_daemonic:
        assert processes == (
            "ScanError: no process can be started here: this is a daemonic process, as of "
            "multiprocessing.Pool or Celery; give the executor 'threads' or 'serial'"
        )
    else:
        assert processes == str(EXPECTED)


TASKS = """
from celery import Celery
app = Celery("tasks", broker="filesystem://", backend="file://FOLDER/results")
app.conf.broker_transport_options = {
    name: "FOLDER/" + folder
    for name, folder in [("data_folder_in", "queue"), ("data_folder_out", "queue"),
                         ("control_folder", "control")]
}
app.task(name="index")(index)
"""


@pytest.mark.thorough
def test_a_worker_of_celery(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("celery")
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    tasks = WORKING.replace("ROOT", repr(str(root))) + TASKS.replace("FOLDER", str(tmp_path))
    (tmp_path / "tasks.py").write_text(tasks)
    ask = """
from tasks import app
for executor in (None, "threads", "serial", "processes"):
    print(app.send_task("index", [executor]).get(timeout=60), flush=True)
"""
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork"]
    command += ["--concurrency", "1", "--without-gossip", "--without-mingle", "-l", "error"]
    worker = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        asked = subprocess.run(
            [sys.executable, "-c", ask], cwd=tmp_path, capture_output=True, text=True, timeout=200
        )
    finally:
        worker.terminate()
        worker.wait(30)
    *counts, refusal = asked.stdout.splitlines()
    assert counts == [str(EXPECTED)] * 3, asked
    assert refusal.startswith("ScanError: no process can be started here: this is a daemonic")


@pytest.fixture
def kernel(root: Path, tmp_path: Path) -> Iterator[Any]:
    """Start a kernel of Jupyter, and give its channels."""
    pytest.importorskip("ipykernel")
    client = pytest.importorskip("jupyter_client")
    manager, channels = client.manager.start_new_kernel(cwd=str(tmp_path))
    try:
        execute(channels, WORKING.replace("ROOT", repr(str(root))))
        yield channels
    finally:
        channels.stop_channels()
        manager.shutdown_kernel(now=True)


def execute(channels: Any, code: str) -> tuple[str, str]:
    """Run a cell; return what it printed, and the name of the error that ended it."""
    printed: list[str] = []
    reply = channels.execute_interactive(
        code,
        timeout=90,
        output_hook=lambda message: printed.append(message["content"].get("text", "")),
    )
    return "".join(printed), reply["content"].get("ename", "")


@pytest.mark.thorough
def test_cells_of_a_notebook(kernel: Any) -> None:
    for executor in (None, "threads", "serial", "processes"):
        assert execute(kernel, f"print(index({executor!r}))") == (f"{EXPECTED}\n", "")
    # The loop of the kernel runs meanwhile.
    code = "import asyncio; print(await asyncio.to_thread(index, 'processes'))"
    assert execute(kernel, code) == (f"{EXPECTED}\n", "")


@pytest.mark.thorough
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_an_interrupt_of_a_cell(kernel: Any, executor: str) -> None:
    stop = "import threading, os, signal\nthreading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))"
    code = f"{stop}.start()\nwhile True:\n    index({executor!r})"
    begun = time.monotonic()
    printed, error = execute(kernel, code)
    assert error == "KeyboardInterrupt", printed
    assert time.monotonic() - begun < 30
    # The kernel lives, and the next cell works.
    assert execute(kernel, f"print(index({executor!r}))") == (f"{EXPECTED}\n", "")
