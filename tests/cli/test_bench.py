"""The command ``bench``, in processes of its own: results, reports, interrupts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slow_storage
import storage
from apart import run_apart
from command_line import MAIN, run
from indexes import read_folder
from trees import TWO_LABS, make_tree

import polars_alf
from polars_alf.bench.results import COMPARISON_FILES, REPORT_FILES

QUICK = ("--files", "80", "--threads", "1", "--duration", "0.02", "--repeats", "1")
PATIENCE = 300


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own, and keep what is learned of mounts in it."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Make an empty folder to measure in."""
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_bench_tells_a_person_and_writes_a_report(target: Path, home: Path) -> None:
    result = run("bench", target, *QUICK, "--name", "my NAS", "--operations", "stat,index")
    assert result.returncode == 0, result.stderr
    for text in (
        "Storage      my NAS",
        "stat\twarm\t",
        "Recommended  index --jobs 1",
        "Because",
        "Note: ",
    ):
        assert text in result.stdout
    assert re.search(r"Index {8}1,000,000,000 files in .+ \(.+ to .+\), warm", result.stdout)
    assert "writing 84 files" in result.stderr
    assert "\x1b" not in result.stderr
    (folder,) = home.glob("polars_alf_bench-my-nas-*")
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("result.json", "measurements.parquet", "latencies.parquet", "rates.parquet"),
        *("report.html", "throughput.png", "latency.png", "predictions.png", "pace.png"),
    }
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG"), path
    assert not list(target.iterdir())
    # What was learned is what the next index takes.
    make_tree(target, TWO_LABS)
    indexed = run("index", target, "--jobs", "auto", "--json")
    assert indexed.returncode == 0
    assert indexed.stderr.startswith("jobs 1, threads 1: found best when measured on ")
    assert json.loads(indexed.stdout)["n_jobs"] == 1


def test_auto_without_a_measurement_is_the_default(archive: Path) -> None:
    result = run("index", archive, "--jobs", "auto", "--quiet")
    assert result.returncode == 0
    assert "has not been measured" in result.stderr
    assert f"polars-alf bench {archive}" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("place", ["archive/report", "archive/.polars_alf", "archive", "made"])
def test_a_report_is_written_over_nothing(archive: Path, tmp_path: Path, place: str) -> None:
    polars_alf.index_archive(archive)
    make_tree(tmp_path, {"made/throughput.png": "mine", "made/comparison.json": "mine"})
    before = read_folder(tmp_path)
    for command in ([archive, *QUICK], ["compare", "a", "b"]):
        ended = run("bench", *command, "--out", tmp_path / place)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert "give another --out" in ended.stderr
    assert read_folder(tmp_path) == before


@pytest.mark.thorough
def test_bench_tells_a_machine_and_results_are_compared(target: Path, home: Path) -> None:
    for name in ("a", "b"):
        options = ("--operations", "stat", "--name", name, "--out", home / name)
        result = run("bench", target, *QUICK, *options, "--json", "--quiet")
        assert (result.returncode, result.stderr) == (0, "")
        assert json.loads(result.stdout) == json.loads((home / name / "result.json").read_text())
    result = run("bench", "compare", "a", "b/result.json", "--out", "both", "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["labels"] == ["a", "b"]
    (row,) = told["ratios"]
    assert told["verdict"][-1] == "All of this with warm caches."
    rates = [
        json.loads((home / name / "result.json").read_text())["figures"][0]["rate"]
        for name in ("a", "b")
    ]
    assert row["ratio"] == pytest.approx(rates[1] / rates[0])
    page = (home / "both/report.html").read_text()
    assert "How many times as fast as a" in page
    written = {path.name for path in Path("both").iterdir()}
    assert {"comparison.json", "comparison.parquet"} < written <= {*COMPARISON_FILES}
    assert {path.name for path in Path("a").iterdir()} <= {*REPORT_FILES}
    result = run("bench", "compare", "a", "b", "--out", "both")
    assert (result.returncode, "--force" in result.stderr) == (1, True)
    assert run("bench", "compare", "a", "b", "--out", "both", "--force").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 2, "Missing argument 'PATH'"),
        (("nowhere",), 1, "does not exist"),
        ((".", "--threads", "1,many"), 2, "numbers of threads"),
        ((".", "--files", "9999999999"), 1, "free"),
        (("compare",), 2, "Missing argument 'A B...'"),
        (("compare", "."), 1, "result.json cannot be read"),
    ],
)
def test_failures_are_one_line_and_a_code(
    home: Path, arguments: tuple[str, ...], code: int, text: str
) -> None:
    result = run("bench", *arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    if code == 1:
        assert result.stderr.splitlines()[-1].startswith("error: ")
    assert not list(home.iterdir())


@pytest.mark.parametrize("arguments", [".", "compare a b"])
def test_a_missing_extra_names_its_cure(home: Path, arguments: str) -> None:
    code = f"import sys; sys.modules['altair'] = None; {MAIN}"
    result = run_apart(code, ["bench", *arguments.split()])
    assert (result.returncode, result.stdout) == (1, "")
    needed = 'error: measuring storage needs altair: pip install "polars-alf[bench]"\n'
    assert result.stderr == needed
    assert not list(home.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
@pytest.mark.parametrize(
    ("stop", "step", "to_all"),
    [
        pytest.param(signal.SIGINT, "writing", False, marks=pytest.mark.thorough),
        (signal.SIGTERM, "2 at once", False),
        pytest.param(signal.SIGINT, "2 at once", True, marks=pytest.mark.thorough),
        pytest.param(
            getattr(signal, "SIGHUP", None), "2 at once", True, marks=pytest.mark.thorough
        ),
    ],
    ids=str,
)
def test_an_interrupt_leaves_nothing(
    target: Path, home: Path, stop: signal.Signals, step: str, to_all: bool
) -> None:
    options = ("--files", "2000", "--threads", "2,4", "--jobs", "2", "--duration", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "polars_alf", "bench", str(target), *options],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    while step not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.5 if step == "writing" else 3)
    assert list(target.iterdir())
    if to_all:  # as a terminal does it
        os.killpg(process.pid, stop)
    else:
        process.send_signal(stop)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted; what was written was removed" in stderr
    assert not list(target.iterdir())
    assert not list(home.iterdir())


@pytest.mark.thorough
def test_known_latency_and_saturation_are_found(target: Path, home: Path) -> None:
    if obstacle := slow_storage.find_obstacle():
        pytest.skip(obstacle)
    library = slow_storage.build_library(home)
    milliseconds, servers = 20, 2
    options = ("--files", "40", "--threads", "1,2,4,8", "--duration", "0.6", "--repeats", "3")
    with slow_storage.serve_at_a_time(servers) as gate:
        slowly = slow_storage.slow_down(library, target, milliseconds, "buffer") | gate
        arguments = (target, *options, "--operations", "stat", "--json")
        # In a new interpreter, which loads the library.
        result = run("bench", *arguments, env=os.environ | {"COLUMNS": "200"} | slowly)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    (one,) = [figure for figure in report["figures"] if figure["concurrency"] == 1]
    assert one["p50_ns"] == pytest.approx(milliseconds * 1e6, rel=0.15)
    assert one["rate"] == pytest.approx(1000 / milliseconds, rel=0.15)
    (law,) = report["models"]
    assert law["is_saturated"]
    assert law["saturation"] == pytest.approx(servers, rel=0.15)
    assert law["best_rate"] == pytest.approx(servers * 1000 / milliseconds, rel=0.15)
    assert law["rate_of_one"] == pytest.approx(1000 / milliseconds, rel=0.15)
    assert not list(target.iterdir())


def scale(folder: Path, factor: float) -> None:
    """Change the rates in the result of a bench, as if other storage had been measured."""
    path = folder / "result.json"
    values = json.loads(path.read_text())
    for figure in values["figures"]:
        for name in ("rate", "least_rate", "most_rate"):
            figure[name] *= factor
    path.write_text(json.dumps(values))


@pytest.mark.slow
def test_slower_storage_fails_an_acceptance_test(target: Path, home: Path) -> None:
    options = ("--operations", "stat,list", "--out", home / "old", "--name", "old", "--quiet")
    assert run("bench", target, *QUICK, *options).returncode == 0
    shutil.copytree(home / "old", home / "same")
    shutil.copytree(home / "old", home / "slow")
    scale(home / "slow", 0.5)
    passed = run("bench", "compare", "old", "same", "--out", "1", "--fail-if", "-20%")
    assert (passed.returncode, passed.stderr) == (0, "")
    assert "Nothing is clearly slower than old (1) by 20% or more." in passed.stdout
    failed = run("bench", "compare", "old", "slow", "--out", "2", "--fail-if", "-20%", "--json")
    assert failed.returncode == 3
    assert failed.stderr.splitlines() == [
        f"slower: old (2) by 50% than old (1): {what}, 1 at once, warm" for what in ("list", "stat")
    ]
    assert [row["what"] for row in json.loads(failed.stdout)["slower"]] == ["list", "stat"]
    assert (home / "2/report.html").exists(), "the report tells why"
    assert run("bench", "compare", "old", "slow", "--out", "3", "--fail-if", "-60%").returncode == 0
    # A single repetition is no proof of so small a difference.
    scale(home / "slow", 1.6)
    assert run("bench", "compare", "old", "slow", "--out", "4", "--fail-if", "-20%").returncode == 0
    for text in ("20%", "-20", "-0%", "-100%", "much"):
        refused = run("bench", "compare", "old", "same", "--fail-if", text)
        assert (refused.returncode, "give one such as -20%" in refused.stderr) == (2, True)


LOOK = """
<script>
  const marks = {};
  for (const figure of document.querySelectorAll("figure")) {
    const boxes = [...figure.querySelectorAll("svg path")].map((p) => p.getBoundingClientRect());
    marks[figure.id] = boxes.filter((box) => box.width > 2 && box.height > 2).length;
  }
  document.title = JSON.stringify({
    marks, loads: performance.getEntriesByType("resource").map((entry) => entry.name),
  });
</script>
"""


@pytest.mark.thorough
def test_the_page_shows_its_charts_in_a_browser_without_network(target: Path, home: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("there is no browser: install chromium")
    options = ("--files", "80", "--threads", "1,2,3,4", "--duration", "0.05", "--repeats", "2")
    result = run("bench", target, *options, "--out", home / "report")
    assert result.returncode == 0, result.stderr
    page = home / "report/report.html"
    text = page.read_text()
    # Names of XML are no addresses; nothing else may look like one.
    assert set(re.findall(r"https?://[^\"'\s<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    policy = '<meta http-equiv="Content-Security-Policy"'
    assert policy in text
    # What looks at the page is a script, which the policy would not let run.
    looked_at = re.sub(rf"{policy}[^>]*>", "", text).replace("</body>", LOOK + "</body>")
    page.write_text(looked_at)
    alone = ["unshare", "--net"] if os.geteuid() == 0 and shutil.which("unshare") else []
    headless = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,4000"]
    headless += [f"--user-data-dir={home}/browser", f"--screenshot={home}/page.png", "--dump-dom"]
    shown = subprocess.run(
        [*alone, *headless, page.as_uri()], capture_output=True, text=True, timeout=PATIENCE
    )
    assert shown.returncode == 0, shown.stderr
    (title,) = re.findall(r"<title>(.*?)</title>", shown.stdout)
    seen = json.loads(title.replace("&quot;", '"'))
    assert seen["loads"] == []
    assert set(seen["marks"]) == {"throughput", "streaming", "latency", "pace", "predictions"}
    # At least a mark for each of the operations of a chart, or for each predicted time.
    least = {"throughput": 9, "streaming": 3, "latency": 8, "pace": 11, "predictions": 6}
    assert all(seen["marks"][name] >= n for name, n in least.items()), seen


@pytest.mark.thorough
def test_bench_on_a_disk_and_in_memory(tmp_path: Path, home: Path) -> None:
    with (
        storage.mount_ext4(tmp_path / "disk", tmp_path / "image") as disk,
        storage.mount_tmpfs(tmp_path / "memory") as memory,
    ):
        for folder in (disk, memory):
            options = ("--threads", "1,2", "--out", home / folder.name)
            result = run("bench", folder, *QUICK, *options)
            assert result.returncode == 0, result.stderr
            assert not list(folder.iterdir())
    result = run("bench", "compare", home / "disk", home / "memory", "--out", home / "both")
    assert result.returncode == 0, result.stderr
    page = (home / "both/report.html").read_text()
    for label in (f"ext4 on {tmp_path}/disk", f"tmpfs on {tmp_path}/memory"):
        assert label in page
