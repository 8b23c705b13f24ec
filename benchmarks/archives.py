"""What the suite runs on: archives of scripts/make_archive.py, data to read, what is in both."""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import xxhash
from measure import REPOSITORY, Answer

sys.path.insert(0, str(REPOSITORY / "scripts"))

from make_archive import OTHER_FILES, iterate_datasets

NOT_ALF = re.compile(
    "|".join([*(re.escape(Path(path).name) for path in OTHER_FILES), r"spike_sorting_\d+\.log"])
)
READ_BYTES = 1 << 20
RANDOM_BYTES = 1 << 26
FILES_PER_SESSION = 40


def prepare_archive(root: Path, *, subjects: int, sessions: int, files: int) -> None:
    """Make an archive unless there is one already."""
    if root.exists():
        return
    script = REPOSITORY / "scripts" / "make_archive.py"
    command = [sys.executable, script, root, "--subjects", subjects, "--sessions", sessions]
    print(f"making {subjects * sessions * files:,} files", file=sys.stderr)
    subprocess.run(
        [*map(str, command), "--files", str(files)], check=True, stdout=subprocess.DEVNULL
    )


def prepare_data(root: Path, *, n_bytes: int, largest: int, seed: int = 0) -> None:
    """Make an archive of datasets that are full of bytes, unless there is one already.

    Parameters
    ----------
    root
        The archive's folder.
    n_bytes
        Sum of the files' sizes.
    largest
        Size of the largest file in bytes; sizes are spread evenly in their logarithm from that to
        a 500th of it.
    seed
        Another seed gives other sizes and bytes.
    """
    if root.exists():
        return
    print(f"making {n_bytes / 1e6:,.0f} MB of data", file=sys.stderr)
    rng = random.Random(seed)
    source = memoryview(rng.randbytes(min(RANDOM_BYTES, 2 * largest)))
    left, number = n_bytes, 0
    while left > 0:
        session = root / "cortexlab" / "Subjects" / f"KS{number:03}" / "2024-05-06" / "001"
        names = iterate_datasets("2024-05-06")
        for name, _ in zip(names, range(FILES_PER_SESSION), strict=False):
            size = min(left, int(largest * 500 ** -rng.random()))
            start = rng.randrange(len(source) - size)
            path = session / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source[start : start + size])
            left -= size
            if not left:
                break
        number += 1


def count_archive(root: Path) -> Answer:
    """Return what a complete list of an archive comes to.

    Entries are files and folders below the root. Datasets are the files of make_archive that are
    ALF, told by names that it says are not.
    """
    files = n_bytes = entries = entry_bytes = datasets = dataset_bytes = 0
    for _, folders, names, descriptor in os.fwalk(root):
        entries += len(folders) + len(names)
        entry_bytes += sum(os.stat(name, dir_fd=descriptor).st_size for name in folders)
        for name in names:
            size = os.lstat(name, dir_fd=descriptor).st_size
            files += 1
            n_bytes += size
            if not NOT_ALF.fullmatch(name):
                datasets += 1
                dataset_bytes += size
    return {
        "files": files,
        "bytes": n_bytes,
        "entries": entries,
        "bytes with folders": n_bytes + entry_bytes,
        "datasets": datasets,
        "bytes of datasets": dataset_bytes,
    }


def digest_data(root: Path) -> Answer:
    """Return how many files there are, and what all their digests come to."""
    md5s, xxh3s = [], []
    for path in root.rglob("*"):
        if path.is_file():
            md5, xxh3 = hashlib.md5(usedforsecurity=False), xxhash.xxh3_128()
            with path.open("rb") as file:
                while block := file.read(READ_BYTES):
                    md5.update(block)
                    xxh3.update(block)
            md5s.append(md5.hexdigest())
            xxh3s.append(xxh3.hexdigest())
    return {"files": len(md5s), "MD5": combine_digests(md5s), "xxh3_128": combine_digests(xxh3s)}


def combine_digests(digests: list[str]) -> str:
    """Return one short text for many digests, whatever their order."""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()[:12]
