"""Change an archive until a file tells to stop: ``mover.py ARCHIVE STOP SEED``.

What is called ``still`` is left alone, and so are the folders above it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
from pathlib import Path

NAMES = [f"moving{n}.times.npy" for n in range(6)]


def main(archive: str, stop: str, seed: str) -> None:
    chance = random.Random(seed)
    root = Path(archive)
    subjects = root / "lab/Subjects"
    n_moves = 0
    while not Path(stop).exists():
        n_moves += 1
        with contextlib.suppress(OSError):  # another mover was faster
            move(chance, subjects)
    print(json.dumps({"n_moves": n_moves}))


def move(chance: random.Random, subjects: Path) -> None:
    subject = subjects / f"S{chance.randrange(3)}"
    session = subject / f"2020-01-0{chance.randint(1, 3)}/001"
    folder = session / chance.choice(["alf", "alf/probe00", "raw"])
    file = folder / chance.choice(NAMES)
    passing = subjects / f"P{chance.randrange(4)}"
    match chance.randrange(12):
        case 0 | 1 | 2:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x" * chance.randrange(100))
        case 3:
            with file.open("ab") as content:
                content.write(b"more")
        case 4:
            file.unlink()
        case 5:
            file.rename(folder / chance.choice(NAMES))
        case 6:
            file.rename(session / chance.choice(NAMES))
        case 7:
            made = passing / f"2021-01-0{chance.randint(1, 3)}/00{chance.randint(1, 3)}/alf"
            made.mkdir(parents=True, exist_ok=True)
            (made / chance.choice(NAMES)).touch()
        case 8:
            passing.rename(subjects / f"P{chance.randrange(4)}")
        case 9:
            shutil.rmtree(passing)
        case 10:
            os.symlink(file, session / chance.choice(NAMES))
        case 11:
            # A folder, and then a file, of the same name.
            odd = session / "odd.times.npy"
            if odd.is_dir():
                odd.rmdir()
                odd.touch()
            else:
                odd.unlink(missing_ok=True)
                odd.mkdir()


if __name__ == "__main__":
    main(*sys.argv[1:])
