"""What each command prints, as recorded in ``snapshots``: on terminals and in a pipe.

``pytest tests/cli/test_snapshots.py --update-snapshots`` records it anew; look at the difference.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from apart import run_apart
from command_line import list_commands, run, show_on_terminal
from rich.cells import cell_len
from trees import SESSION, make_tree

import polars_alf
from polars_alf.errors import NoSessionsWarning

WIDTHS = (60, 80, 200)

SNAPSHOTS = Path(__file__).parent / "snapshots"

PLACE = "/data/site-north-lab"
"""What snapshots have in the place of the folder that the archives of a test lie in."""

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

COMMANDS = {
    "index": ["index", "archive", "--out", "indexed"],
    "index-nothing": ["index", "empty", "--out", "empty"],
    "verify": ["verify", "archive", "--tables-dir", "tables"],
    "verify-nothing": ["verify", "lab", "--digest"],
    "prune": ["prune", "archive", "--tables-dir", "tables"],
    "prune-nothing": ["prune", "lab"],
    "check": ["check", "archive"],
    "check-nothing": ["check", "lab"],
    "issues": ["issues", "tables"],
    "issues-nothing": ["issues", "lab"],
    "changes": ["changes", "tables"],
    "changes-nothing": ["changes", "lab"],
    "merge": ["merge", "tables", "others", "--out", "joined"],
    "conflicts": ["conflicts", "merged"],
    "split": ["split", "tables", "--out", "split"],
    "conflicts-nothing": ["conflicts", "alike"],
    "insertions": ["insertions", "apart"],
    "diff": ["diff", "tables", "others"],
    "diff-nothing": ["diff", "tables", "tables"],
    "diff-of-other-ids": ["diff", "tables", "apart"],
    "info": ["info", "tables", "--top", "3"],
    "sql": [
        "sql",
        "tables",
        'SELECT rel_path, file_size, "exists" FROM datasets ORDER BY 2 DESC, 1',
    ],
    "sql-years": [
        *("sql", "tables"),
        "SELECT EXTRACT(year FROM date) AS y, count(*) AS n FROM sessions GROUP BY y ORDER BY y",
    ],
    "sql-all-columns": ["sql", "tables", "SELECT * FROM sessions ORDER BY date", "--limit", "2"],
    "sql-describe": ["sql", "tables", "DESCRIBE datasets"],
    "sql-nothing": ["sql", "tables", "SELECT id FROM sessions WHERE lab = 'none'"],
    "subset": ["subset", "tables", "--out", "part", "--where", "number = 1"],
    "publish": ["publish", "undone"],
    "history": ["history", "tables"],
    "growth": ["history", "tables", "--by", "lab"],
    "growth-of-one": ["history", "apart", "--by", "subject"],
    "restore": ["restore", "undone"],
    "report": ["report", "tables", "--out", "page.html", "--force"],
}
"""Commands by the name of their snapshots; a name that ends with nothing finds nothing."""

ARCHIVE = {
    "cortexlab/Subjects/KS001": {
        "2019-05-06/001": {"alf": {"spikes.times.npy": 2_000_000, "spikes.clusters.npy": 1}},
        "2020-01-01/001": {
            **SESSION,
            "raw_ephys_data/probe00": {"_spikeglx_ephysData_g0_t0.imec0.ap.cbin": 123_456_789},
        },
        "2020-01-01/002": {"alf/probe00": {"spikes.times.npy": 44, "spike.amps.npy": 44}},
        "2021-13-45/001": {"alf": {"spikes.times.npy": 20}},
    },
    "wittenlab/Subjects/マウス": {"2020-02-29/001": {"alf": {"wheel.position.npy": 20_000}}},
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Make a folder of archives and tables whose path is as long as `PLACE`."""
    if sys.platform == "win32":
        pytest.skip("no pseudo-terminals there")
    prefix = "alf-" + "n" * (len(PLACE) - len("/tmp/alf-12345678"))
    with tempfile.TemporaryDirectory(prefix=prefix, dir="/tmp") as name:
        assert len(name) == len(PLACE)
        folder = Path(name)
        _fill(folder)
        yield folder


def _fill(place: Path) -> None:
    for name in ("empty", "tables", "others", "apart", "merged", "alike", "joined", "undone"):
        (place / name).mkdir()
    for name in ("indexed", "part", "split"):
        (place / name).mkdir()
    archive = make_tree(place / "archive", ARCHIVE)
    lab = make_tree(place / "lab", {"KS001/2020-01-01/001": {"alf": {"spikes.times.npy": 20}}})
    session = archive / "cortexlab/Subjects/KS001/2020-01-01/001"
    for folder, namespace in (("tables", "site"), ("apart", "other"), ("others", "site")):
        if folder == "others":
            (session / "alf/spikes.times.npy").write_bytes(bytes(1_500))
        polars_alf.index_archive(archive, place / folder, namespace=namespace, exclude=["*.log"])
    for _ in range(2):
        polars_alf.index_archive(lab, hash_files=True, namespace="site")
    polars_alf.merge_tables([place / "tables"], place / "merged")
    polars_alf.merge_tables([place / "tables", place / "others"], place / "merged")
    polars_alf.merge_tables([place / "tables"], place / "alike")
    make_tree(session, {"alf": {"new.times.npy": 7}})
    (session / "alf/spikes.times.npy").unlink()
    polars_alf.index_archive(archive, place / "tables", namespace="site", exclude=["*.log"])
    make_tree(session, {"alf": {"spikes.times.npy": 20, "newer.times.npy": 7}})
    (archive / "wittenlab/Subjects/マウス/2020-02-29/001/alf/wheel.position.npy").write_bytes(b"")
    # Once before, as each of these runs four times, and is to find the same each time.
    polars_alf.index_archive(archive, place / "indexed", namespace="site")
    with pytest.warns(NoSessionsWarning):
        polars_alf.index_archive(place / "empty")
    polars_alf.merge_tables([place / "tables", place / "others"], place / "joined")
    polars_alf.subset_tables(place / "tables", place / "part", where="number = 1")
    polars_alf.write_insertions(place / "apart")
    for _ in range(2):
        polars_alf.merge_tables([place / "tables"], place / "undone")


def hide(text: str, place: Path) -> str:
    """Replace what differs from run to run by something as wide."""
    text = text.replace("\r\n", "\n").replace(str(place), PLACE)

    def zeros(match: re.Match[str]) -> str:
        return re.sub(r"[0-9a-f]", "0", match[0])

    for pattern in (
        *(UUID, r"\b[0-9a-f]{32}\b", r"\b[0-9a-f]{64}\b"),
        r"(?m)(?:^|(?<=  ))[0-9a-f]{10}(?=  |\n)",
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?",
    ):
        text = re.sub(pattern, zeros, text)
    text = re.sub(r"\d+\.\d\d s \([\d,]+ files/s", "0.00 s (0 files/s", text)
    text = re.sub(r"\b\d+\.\d\d s\b", "0.00 s", text)
    text = re.sub(r"(?m)^Size( +)\d+\.\d [kM]B$", r"Size\g<1>0.0 kB", text)
    # Seconds at the end of a run's line, and at the beginning of a shard's.
    text = re.sub(r"(?m)^(\S+[ T]\S+\s.*[ \t])\d+\.\d+$", r"\g<1>0.00", text)
    text = re.sub(r"(?m)^( *)\d\.\d+(?=\s+\d+\s+\S+/)", r"\g<1>0.00", text)
    return re.sub(r"polars-alf \d\S* \(\w+ core\)", "polars-alf 0.0.0 (native core)", text)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_output_is_as_recorded(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, check_snapshot: Callable[..., None]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("TZ", "UTC")
    arguments = COMMANDS[name]
    parts = [f"$ polars-alf {' '.join(arguments)}"]
    for width in WIDTHS:
        code, shown = show_on_terminal(*arguments, columns=width)
        parts.append(f"===== terminal of {width} columns, exit code {code}\n{hide(shown, place)}")
    piped = run(*arguments, "--progress", "none") if name in _LONG else run(*arguments)
    parts.append(f"===== pipe, exit code {piped.returncode}\n{hide(piped.stdout, place)}")
    parts.append(f"===== stderr beside the pipe\n{hide(piped.stderr, place)}")
    check_snapshot(SNAPSHOTS / f"{name}.txt", "\n".join(parts))


def test_a_measurement_is_printed_as_recorded(check_snapshot: Callable[..., None]) -> None:
    """The figures are those of a recorded result, as others come out differently each time."""
    result = Path(__file__).parent.parent / "bench" / "result-format-1.json"
    parts = []
    for width in (*WIDTHS, None):
        if width is None:
            place, shown = "pipe", run_apart(_PRINT, [str(result)]).stdout
        else:
            place = f"terminal of {width} columns"
            shown = show_on_terminal(str(result), columns=width, code=_PRINT)[1]
        parts.append(f"===== {place}\n" + shown.replace("\r\n", "\n"))
    check_snapshot(SNAPSHOTS / "bench.txt", "\n".join(parts))


_PRINT = """
import pathlib, sys
from polars_alf.bench.results import read_report
from polars_alf.cli.bench import print_report
print_report(read_report(sys.argv[1]), pathlib.Path("nas/report.html"))
sys.stdout.flush()
"""

_LONG = {"index", "index-nothing", "verify", "verify-nothing", "prune", "prune-nothing"} | {
    *("check", "check-nothing", "merge", "diff", "diff-nothing", "diff-of-other-ids", "info"),
    *("report", "growth", "growth-of-one"),
}


def test_every_command_has_a_snapshot_and_no_other_is_left() -> None:
    elsewhere = {"bench run", "bench compare", "completion", "manual"}
    assert {arguments[0] for arguments in COMMANDS.values()} | elsewhere == set(
        dict(list_commands())
    )
    assert {path.stem for path in SNAPSHOTS.iterdir()} == {*COMMANDS, "bench"}


@pytest.mark.parametrize("path", sorted(SNAPSHOTS.glob("*.txt")), ids=lambda path: path.stem)
def test_tables_fit_the_terminal(path: Path) -> None:
    """A line is wider than its terminal only where it is a path, to be copied."""
    for width in WIDTHS:
        part = path.read_text(encoding="utf-8").partition(f"===== terminal of {width} ")[2]
        wide = [line for line in part.partition("=====")[0].splitlines() if cell_len(line) > width]
        assert all(re.search(r"/\S*$|^  sha256:\w+$", line) for line in wide), wide
