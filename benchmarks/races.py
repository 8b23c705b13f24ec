"""The races of the suite: who runs against whom, on what, and what each must find."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import peers
from archives import count_archive, digest_data, prepare_archive, prepare_data
from measure import Answer, Contender, make_environment
from peers import Found, Missing
from report import Entrant, Race

DROP_CACHES = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True)
class Sizes:
    """How large the archives are."""

    archive: Mapping[str, int]
    small: Mapping[str, int]
    data: Mapping[str, int]


LARGE = Sizes(
    archive={"subjects": 100, "sessions": 100, "files": 72},
    small={"subjects": 2, "sessions": 20, "files": 50},
    data={"n_bytes": 3 * 2**30, "largest": 50_000_000},
)
TRIAL = Sizes(
    archive={"subjects": 5, "sessions": 2, "files": 72},
    small={"subjects": 2, "sessions": 2, "files": 25},
    data={"n_bytes": 4_000_000, "largest": 500_000},
)


@dataclass(frozen=True)
class Setting:
    """Where races are run; archives and data are made when they are first asked for."""

    archive_path: Path
    data_path: Path
    scratch: Path
    sizes: Sizes

    @cached_property
    def archive(self) -> Path:
        """The archive of most races."""
        prepare_archive(self.archive_path, **self.sizes.archive)
        return self.archive_path

    @cached_property
    def small(self) -> Path:
        """An archive that takes no longer than starting a program."""
        path = self.scratch / "small"
        prepare_archive(path, **self.sizes.small)
        return path

    @cached_property
    def data(self) -> Path:
        """An archive whose files are full of bytes."""
        prepare_data(self.data_path, **self.sizes.data)
        return self.data_path

    @cached_property
    def archive_count(self) -> Answer:
        """What is in the archive."""
        return count_archive(self.archive)

    @cached_property
    def data_count(self) -> Answer:
        """What is in the data."""
        return count_archive(self.data) | digest_data(self.data)

    @property
    def places(self) -> dict[str, str]:
        """What to write for paths of this machine."""
        return {
            str(self.archive_path): "ARCHIVE",
            str(self.data_path): "DATA",
            str(self.scratch / "small"): "SMALL",
            str(self.scratch / "walk"): "walk",
            sys.executable: "python",
        }


@dataclass(frozen=True)
class Plan:
    """A race to run.

    `others` are compared with `ours`; `max_ratios` are the targets for our time by theirs, and
    `max_seconds` is one for ours. `prepare` is called before each run.
    """

    title: str
    ours: Found
    others: Sequence[Found]
    expected: Answer
    cache: str = "warm"
    prepare: Callable[[Contender], None] | None = None
    max_ratios: Mapping[str, float] = field(default_factory=dict)
    max_seconds: float | None = None

    @property
    def contenders(self) -> list[Contender]:
        """Those that are on the machine, ours first; none where there is nothing of ours."""
        if isinstance(self.ours, Missing):
            return []
        return [self.ours, *(other for other in self.others if isinstance(other, Contender))]

    def describe(self, name: str, rounds: int, setting: Setting, *, targets: bool) -> Race:
        """Return what to record of it."""
        found = (self.ours, *self.others)
        return Race(
            name=name,
            title=self.title,
            cache=self.cache,
            ours=self.ours.name,
            rounds=rounds,
            entrants=[
                Entrant(
                    contender.name,
                    contender.version,
                    show_command(contender.command, setting.places),
                    self.max_ratios.get(contender.name) if targets else None,
                )
                for contender in self.contenders
            ],
            missing={other.name: other.cure for other in found if isinstance(other, Missing)},
            expected=self.expected,
            max_seconds=self.max_seconds if targets else None,
        )


def plan_list(setting: Setting) -> Plan:
    """Plan the index of an archive against lists of what is in it."""
    root = setting.archive
    return Plan(
        _name_files(setting.archive_count),
        peers.index(root),
        [
            peers.find(root),
            peers.bfs(root),
            peers.fd(root),
            peers.scandir_rs(root),
            peers.pwalk(root),
            peers.walk(root, setting.scratch, listed=True),
            peers.walk(root, setting.scratch, listed=False),
        ],
        setting.archive_count,
        max_ratios={"GNU find": 0.75, "python-pwalk": 0.85, "scandir-rs": 0.6},
    )


def plan_one(setting: Setting) -> Plan:
    """Plan the index of an archive against ONE's own."""
    root = setting.archive
    return Plan(
        _name_files(setting.archive_count),
        peers.index(root),
        [peers.one(root)],
        setting.archive_count,
        max_ratios={"ONE make_parquet_db": 1 / 50},
    )


def plan_start(setting: Setting) -> Plan:
    """Plan the index of a small archive against the bare start of Python with what it needs."""
    count = count_archive(setting.small)
    others = [
        peers.python("Python, nothing done", "pass"),
        peers.python("Python, Polars and pyarrow imported", "import polars, pyarrow"),
    ]
    return Plan(_name_files(count), peers.index(setting.small), others, count, max_seconds=0.5)


def plan_cold(setting: Setting) -> Plan:
    """Plan the index of an archive against lists of it, with nothing in memory."""
    return _plan_cold(setting, "cold", lambda _: None)


def plan_cold_archive(setting: Setting) -> Plan:
    """Plan the same with programs in memory, but not the archive."""
    small = {
        found.name: found.command
        for found in _choose_cold(setting, setting.small)
        if isinstance(found, Contender)
    }

    def warm(contender: Contender) -> None:
        folder = setting.scratch / "warm"
        folder.mkdir()
        subprocess.run(
            small[contender.name],
            cwd=folder,
            env=make_environment(),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        shutil.rmtree(folder)

    return _plan_cold(setting, "cold, programs warm", warm)


def _plan_cold(setting: Setting, cache: str, warm: Callable[[Contender], None]) -> Plan:
    def prepare(contender: Contender) -> None:
        os.sync()
        DROP_CACHES.write_text("3")
        warm(contender)

    ours, *others = _choose_cold(setting, setting.archive)
    if not os.access(DROP_CACHES, os.W_OK):
        ours = Missing(ours.name, f"run as root on Linux, to write to {DROP_CACHES}")
    return Plan(
        _name_files(setting.archive_count),
        ours,
        others,
        setting.archive_count,
        cache,
        prepare,
        max_ratios={"GNU find": 0.5},
    )


def _choose_cold(setting: Setting, root: Path) -> list[Found]:
    walk = peers.walk(root, setting.scratch, listed=False)
    return [peers.index(root), peers.find(root), walk]


def plan_md5(setting: Setting) -> Plan:
    """Plan the index with MD5s of all datasets against one program that sums them."""
    return Plan(
        f"MD5 of {_name_data(setting.data_count)}",
        peers.index(setting.data, "--hash-files", digests="hash"),
        [peers.md5sum(setting.data)],
        setting.data_count,
        max_ratios={"md5sum": 1 / 5},
    )


def plan_xxh3(setting: Setting) -> Plan:
    """Plan the index with xxh3 digests of all datasets against the bare reading of them."""
    root = setting.data
    ours: Found = peers.index(root, "--digest", "xxh3_128", digests="xxh3_128")
    if "--digest" not in peers.read_index_help():
        ours = Missing(ours.name, "not an option of this version")
    others = [peers.xxhsum(root), peers.read(root, 1), peers.read(root, 2)]
    title = f"xxh3_128 of {_name_data(setting.data_count)}"
    return Plan(title, ours, others, setting.data_count)


RACES: dict[str, Callable[[Setting], Plan]] = {
    "list": plan_list,
    "one": plan_one,
    "start": plan_start,
    "cold": plan_cold,
    "cold-archive": plan_cold_archive,
    "md5": plan_md5,
    "xxh3": plan_xxh3,
}


def show_command(command: Sequence[str], places: Mapping[str, str]) -> str:
    """Return a command to be read, with other words for some paths."""
    return " ".join(places.get(word, f"'{word}'" if " " in word else word) for word in command)


def _name_files(count: Answer) -> str:
    return f"{count['files']:,} files"


def _name_data(count: Answer) -> str:
    return f"{int(count['bytes']) / 1e6:,.0f} MB in {count['files']:,} files"
