"""Peers of `polars-alf index`, as far as they are on this machine, and how to count what they find.

Each function returns a contender, or what is missing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from archives import combine_digests
from machine import find_version
from measure import REPOSITORY, Answer, Contender, make_environment

LIST_FORMAT = r"%s\t%P\n"

SCANDIR_RS = (
    "import sys; from scandir_rs import ReturnType, Scandir; "
    "scan = Scandir(sys.argv[1], return_type=ReturnType.Base); entries, errors = scan.collect(); "
    "print(len(entries), scan.statistics.files, scan.statistics.size)"
)
PWALK = (
    "import sys; from pwalk import report; report(sys.argv[1], output='list.csv', compress='none')"
)
ONE = (
    "import sys; from one.alf.cache import make_parquet_db as make; make(sys.argv[1], sys.argv[2])"
)


@dataclass(frozen=True)
class Missing:
    """A contender that cannot run here, and what to do about it."""

    name: str
    cure: str


Found = Contender | Missing

INDEX = (sys.executable, "-m", "polars_alf", "index")


def index(root: Path, *options: str, digests: str = "") -> Contender:
    """Return our own index, as a shell starts it; `digests` is the column that options add."""
    command = [*INDEX, str(root), "--out", ".", *options, "--json", "--quiet"]
    return Contender(" ".join(["polars-alf index", *options]), command, _tally_index(digests))


def read_index_help() -> str:
    """Return what our index says of its options."""
    return subprocess.run(
        [*INDEX, "--help"], env=make_environment(), capture_output=True, text=True, check=True
    ).stdout


def find(root: Path) -> Found:
    """Return GNU find; that of other systems cannot print sizes."""
    return _find_like("GNU find", "find", root, "apt install findutils", "GNU findutils")


def bfs(root: Path) -> Found:
    """Return bfs, a find that walks breadth first."""
    return _find_like("bfs", "bfs", root, "apt install bfs", "bfs")


def fd(root: Path) -> Found:
    """Return fd, which prints paths only: for sizes it starts ls."""
    name = "fd, paths without sizes"
    # Debian has another fd.
    program = next(filter(shutil.which, ("fdfind", "fd")), None)
    if not program:
        return Missing(name, "apt install fd-find")
    command = [program, "--unrestricted", "--type", "f", ".", str(root)]

    def tally(folder: Path) -> Answer:
        return {"files": sum(1 for _ in (folder / "stdout").open("rb"))}

    return Contender(name, command, tally, _first_line([program, "--version"]))


def scandir_rs(root: Path) -> Found:
    """Return scandir-rs, with sizes and times as objects in memory."""

    def tally(folder: Path) -> Answer:
        entries, files, n_bytes = map(int, (folder / "stdout").read_text().split())
        return {"entries": entries, "files": files, "bytes with folders": n_bytes}

    return _python("scandir-rs", "scandir-rs", [SCANDIR_RS, str(root)], tally)


def pwalk(root: Path) -> Found:
    """Return python-pwalk's report, not compressed."""

    def tally(folder: Path) -> Answer:
        columns = ["st_size", "pw_fcount"]
        # Names are written as the bytes that they are.
        rows = pl.scan_csv(folder / "list.csv", encoding="utf8-lossy").select(columns)
        files = rows.filter(pl.col("pw_fcount") == -1).select(pl.len(), pl.sum("st_size"))
        return dict(zip(("files", "bytes"), files.collect().row(0), strict=True))

    return _python("python-pwalk", "pwalk", [PWALK, str(root)], tally)


def walk(root: Path, build_folder: Path, *, listed: bool) -> Found:
    """Return the bare walk of walk.c in two processes, with lists of what it finds or without."""
    name = f"C walk, 2 processes, {'with a list' if listed else 'sums only'}"
    compiler = shutil.which("cc")
    if not compiler:
        return Missing(name, "install a C compiler, such as gcc, as cc")
    program = build_folder / "walk"
    if not program.exists():
        source = REPOSITORY / "benchmarks" / "walk.c"
        subprocess.run([compiler, "-O2", "-o", program, source], check=True)

    def tally(folder: Path) -> Answer:
        files, folders, n_bytes = map(int, (folder / "stdout").read_text().split())
        # It counts the root as a folder.
        answer: Answer = {"files": files, "bytes": n_bytes, "entries": files + folders - 1}
        if listed:
            lines = [line for path in folder.glob("list.*") for line in path.open("rb")]
            answer |= {"files": len(lines), "bytes": sum(_size(line) for line in lines)}
        return answer

    command = [str(program), str(root), "2", *(["list"] if listed else [])]
    return Contender(name, command, tally, _first_line([compiler, "--version"]))


def one(root: Path) -> Found:
    """Return ONE's own index."""
    return _python("ONE make_parquet_db", "ONE-api", [ONE, str(root), "."], _tally_datasets)


def python(name: str, code: str) -> Contender:
    """Return a Python that runs a line of code."""
    return Contender(name, [sys.executable, "-c", code], version=sys.version.split()[0])


def md5sum(root: Path) -> Found:
    """Return one md5sum of all files."""
    return _sum_files("md5sum", "MD5", ["md5sum"], root, "apt install coreutils")


def xxhsum(root: Path) -> Found:
    """Return one xxhsum of all files."""
    return _sum_files("xxhsum", "xxh3_128", ["xxhsum", "-H2"], root, "apt install xxhash")


def read(root: Path, processes: int) -> Contender:
    """Return the bare reading of all files."""
    name = f"cat, {processes} process{'es' if processes > 1 else ''}"
    pipe = f'find "$1" -type f -print0 | xargs -0 -n 8 -P {processes} cat > /dev/null'
    return Contender(
        name, ["sh", "-c", pipe, "sh", str(root)], version=_first_line(["cat", "--version"])
    )


def _find_like(name: str, program: str, root: Path, cure: str, known_by: str) -> Found:
    version = _first_line([program, "--version"]) if shutil.which(program) else ""
    if known_by not in version:
        return Missing(name, cure)

    def tally(folder: Path) -> Answer:
        entries = n_bytes = 0
        for line in (folder / "stdout").open("rb"):
            # The root is an entry without a path.
            if not line.endswith(b"\t\n"):
                entries += 1
                n_bytes += _size(line)
        return {"entries": entries, "bytes with folders": n_bytes}

    return Contender(name, [program, str(root), "-printf", LIST_FORMAT], tally, version)


def _python(
    name: str, package: str, arguments: Sequence[str], tally: Callable[[Path], Answer]
) -> Found:
    version = find_version(package)
    if not version:
        return Missing(name, f"pip install {package}")
    return Contender(name, [sys.executable, "-c", *arguments], tally, version)


def _sum_files(name: str, digest: str, command: Sequence[str], root: Path, cure: str) -> Found:
    if not shutil.which(command[0]):
        return Missing(name, cure)
    pipe = f'find "$1" -type f -print0 | xargs -0 {" ".join(command)}'

    def tally(folder: Path) -> Answer:
        lines = (folder / "stdout").read_text().splitlines()
        return {"files": len(lines), digest: combine_digests([line.split()[0] for line in lines])}

    version = _first_line([command[0], "--version"])
    return Contender(name, ["sh", "-c", pipe, "sh", str(root)], tally, version)


def _tally_index(column: str) -> Callable[[Path], Answer]:
    def tally(folder: Path) -> Answer:
        report = json.loads((folder / "stdout").read_text())
        answer = _tally_datasets(folder)
        answer["files"] = int(answer["datasets"]) + report["n_other_files"]
        if column:
            digests = pl.read_parquet(folder / "datasets.pqt", columns=[column])[column]
            name = "MD5" if column == "hash" else column
            answer[name] = combine_digests(digests.to_list())
        return answer

    return tally


def _tally_datasets(folder: Path) -> Answer:
    sizes = pl.scan_parquet(folder / "datasets.pqt").select(pl.len(), pl.sum("file_size"))
    return dict(zip(("datasets", "bytes of datasets"), sizes.collect().row(0), strict=True))


def _size(line: bytes) -> int:
    return int(line.partition(b"\t")[0])


def _first_line(command: Sequence[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    return next(iter((result.stdout or result.stderr).splitlines()), "")
