"""Make an ALF archive of any size, for tests, demonstrations and benchmarks.

    python scripts/make_archive.py ROOT --subjects 10 --sessions 10 --files 72

Needs nothing but Python 3.11. The same arguments make the same tree, in any number of processes.
Sizes are made up unless `--content small` is given: `polars-alf check` calls some `misfit_size`.
A JSON summary goes to stdout. The reference archive of the benchmarks is the one that no option
makes: 5 labs, 100 subjects, 100 sessions each, 72 files each.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import functools
import itertools
import json
import multiprocessing
import os
import random
import stat
import struct
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

Content = Literal["none", "small"]

# Each lab names its subjects in its own way, so that names are also unique in a flat archive.
LABS = {
    "cortexlab": "KS{:03}",
    "angelakilab": "NYU-{:02}",
    "wittenlab": "ibl_witten_{:02}",
    "mainenlab": "ZFM-{:05}",
    "churchlandlab": "CSHL{:03}",
    "hoferlab": "SWC_{:03}",
    "danlab": "DY_{:03}",
    "zadorlab": "CSH_ZAD_{:03}",
    "steinmetzlab": "NR_{:04}",
    "mrsicflogellab": "MFD_{:02}",
}
REVISIONS = ("2023-04-20", "2024-02-15", "2024-05-06")

# Objects of one folder hold either columns that ONE's load_object can join, or raw files.
SESSION_DATASETS = {
    "alf": """
        _ibl_trials.intervals.npy _ibl_trials.intervals_bpod.npy _ibl_trials.choice.npy
        _ibl_trials.contrastLeft.npy _ibl_trials.contrastRight.npy _ibl_trials.feedbackType.npy
        _ibl_trials.feedback_times.npy _ibl_trials.goCue_times.npy _ibl_trials.stimOn_times.npy
        _ibl_trials.rewardVolume.npy _ibl_wheel.position.npy _ibl_wheel.timestamps.npy
        _ibl_wheelMoves.intervals.npy _ibl_wheelMoves.peakAmplitude.npy
        _ibl_leftCamera.times.npy leftCamera.ROIMotionEnergy.npy licks.times_ephysClock.npy
        _ibl_leftPose.features.pqt _ibl_passivePeriods.intervalsTable.csv
        probes.description.json""",
    "alf/#{revision}#": "_ibl_trials.goCue_times.npy _ibl_wheelMoves.intervals.npy",
    "raw_behavior_data": """
        _iblrig_taskSettings.raw.json _iblrig_taskData.raw.jsonable
        _iblrig_encoderPositions.raw.ssv _iblrig_encoderEvents.raw.ssv
        _iblrig_ambientSensorData.raw.jsonable _iblrig_micData.raw.flac""",
    "raw_video_data": """
        _iblrig_leftCamera.raw.mp4 _iblrig_rightCamera.raw.mp4 _iblrig_bodyCamera.raw.mp4
        _iblrig_leftCamera.frameData.bin""",
    "raw_ephys_data": """
        _spikeglx_sync.times.npy _spikeglx_sync.polarities.npy _spikeglx_sync.channels.npy
        _spikeglx_ephysData_g0_t0.nidq.cbin _spikeglx_ephysData_g0_t0.nidq.ch
        _spikeglx_ephysData_g0_t0.nidq.wiring.json""",
}
PROBE_DATASETS = {
    "alf/probe{probe:02}": """
        electrodeSites.localCoordinates.npy electrodeSites.mlapdv.npy""",
    "alf/probe{probe:02}/pykilosort": """
        spikes.times.npy spikes.amps.npy spikes.clusters.npy spikes.depths.npy
        spikes.templates.npy clusters.channels.npy clusters.depths.npy clusters.metrics.csv
        clusters.labels.tsv templates.waveforms.npy templates.waveformsChannels.npy
        channels.localCoordinates.npy channels.rawInd.npy _kilosort_whitening.matrix.npy
        _phy_spikes_subset.waveforms.npy _phy_spikes_subset.channels.npy""",
    "alf/probe{probe:02}/pykilosort/#{revision}#": "spikes.clusters.npy clusters.labels.tsv",
    "raw_ephys_data/probe{probe:02}": """
        _spikeglx_ephysData_g0_t0.imec{probe}.ap.cbin _spikeglx_ephysData_g0_t0.imec{probe}.ap.ch
        _spikeglx_ephysData_g0_t0.imec{probe}.ap.meta _spikeglx_ephysData_g0_t0.imec{probe}.lf.cbin
        _spikeglx_ephysData_g0_t0.imec{probe}.lf.ch _spikeglx_ephysData_g0_t0.imec{probe}.sync.npy
        _iblqc_ephysTimeRms.rms_ap.g0_t0.imec{probe}.ap.npy
        _iblqc_ephysTimeRms.rms_lf.g0_t0.imec{probe}.lf.npy
        _iblqc_ephysSpectralDensity.power_lf.npy _iblqc_ephysSpectralDensity.freqs_lf.npy""",
}
# None has two dots: ONE 3.6 takes every such name for a dataset, and cannot load the tables it then
# makes. An archive without odd cases must be one that ONE can index, to compare with.
OTHER_FILES = ("notes.txt", "alf/spike_sorting.log", ".DS_Store", "raw_video_data/Thumbs.db")
FILES_PER_OTHER_FILE = 18

MEDIAN_BYTES = {"cbin": 2_000_000_000, "mp4": 400_000_000, "flac": 50_000_000, "bin": 3_000_000}
MEDIAN_BYTES_ELSE = 60_000

SEPARATORS = {".csv": ",", ".tsv": "\t", ".ssv": " "}
CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
# Processes cost more than they save below this many files.
FILES_WORTH_PROCESSES = 20_000


class OddCase(NamedTuple):
    """Something met in the wild; `target` is where a link leads, relative to its own folder."""

    kind: str
    path: str
    type: Literal["file", "folder", "link", "fifo", "socket"] = "file"
    target: str = ""


ODD_SUBJECTS = "oddlab/Subjects/"
_ODD = ODD_SUBJECTS + "odd"
_SESSION = f"{_ODD}/2021-03-01/001"

# Lone surrogates stand for bytes that are not UTF-8, as in os.fsdecode.
ODD_CASES = (
    OddCase("plain", f"{_SESSION}/alf/spikes.times.npy"),
    OddCase("number 001 beside 1 and 01", f"{_ODD}/2021-03-02/001/alf/spikes.times.npy"),
    OddCase("number 01", f"{_ODD}/2021-03-02/01/alf/spikes.times.npy"),
    OddCase("number 1", f"{_ODD}/2021-03-02/1/alf/spikes.times.npy"),
    OddCase("number of four digits", f"{_ODD}/2021-03-02/0001/alf/spikes.times.npy"),
    OddCase("number with a suffix", f"{_ODD}/2021-03-02/001_copy/alf/spikes.times.npy"),
    OddCase("date with a suffix", f"{_ODD}/2021-03-02_copy/001/alf/spikes.times.npy"),
    OddCase("date 2021-13-45", f"{_ODD}/2021-13-45/001/alf/spikes.times.npy"),
    OddCase("date 2021-02-30", f"{_ODD}/2021-02-30/001/alf/spikes.times.npy"),
    OddCase("session that is a file", f"{_ODD}/2021-03-03/001"),
    OddCase("empty session", f"{_ODD}/2021-03-04/001", "folder"),
    OddCase("session copied inside another", f"{_SESSION}/odd/2021-03-01/001/alf/spikes.amps.npy"),
    OddCase("dataset above the sessions", f"{_ODD}/spikes.times.npy"),
    OddCase("dataset in the session folder", f"{_SESSION}/spikes.times.npy"),
    OddCase("hidden collection", f"{_SESSION}/.cache/spikes.times.npy"),
    OddCase("hidden subject", f"{ODD_SUBJECTS}.trash/2021-03-01/001/alf/spikes.times.npy"),
    OddCase("subject with a space", f"{ODD_SUBJECTS}odd mouse/2021-03-01/001/alf/spikes.times.npy"),
    OddCase("lab with a hyphen", "my-lab/Subjects/odd/2021-03-01/001/alf/spikes.times.npy"),
    OddCase("lab that ends alike", "not-my-lab/Subjects/odd/2021-03-01/001/alf/spikes.times.npy"),
    OddCase("unicode object", f"{_SESSION}/alf/größen.times.npy"),
    OddCase("unicode attribute", f"{_SESSION}/alf/spikes.größe.npy"),
    OddCase("unicode, decomposed", f"{_SESSION}/alf/cafe\u0301.times.npy"),
    OddCase("unicode collection", f"{_SESSION}/записи/spikes.times.npy"),
    OddCase("unicode subject", f"{ODD_SUBJECTS}マウス/2021-03-01/001/alf/spikes.times.npy"),
    OddCase(
        "uuid in the name",
        f"{_SESSION}/alf/spikes.times.2622b17c-9408-4910-99cb-abf16d9225b9.npy",
    ),
    OddCase("namespace of an attribute", f"{_SESSION}/alf/channels._phy_ids.csv"),
    OddCase("names that differ in case", f"{_SESSION}/alf/Spikes.Times.npy"),
    OddCase("longest name", f"{_SESSION}/alf/spikes.{'t' * 244}.npy"),
    OddCase("macOS dropping", f"{_SESSION}/alf/._spikes.times.npy"),
    OddCase("NFS dropping", f"{_SESSION}/alf/.nfs0001.a.b"),
    OddCase("backup of an editor", f"{_SESSION}/raw_behavior_data/_iblrig_codeFiles.raw.zip~"),
    OddCase("browser copy", f"{_SESSION}/alf/spikes.times (1).npy"),
    OddCase("newline inside the name", f"{_SESSION}/alf/spikes.ti\nmes.npy"),
    OddCase("newline after the name", f"{_SESSION}/alf/spikes.times.npy\n"),
    OddCase("folder with a dataset's name", f"{_SESSION}/alf/clusters.amps.npy", "folder"),
    OddCase("collection with a space", f"{_SESSION}/my coll/spikes.times.npy"),
    OddCase("collection with a #", f"{_SESSION}/alf#2/spikes.times.npy"),
    OddCase("collection with a +", f"{_SESSION}/alf+lfp/spikes.times.npy"),
    OddCase("collection with a (", f"{_SESSION}/alf (1)/spikes.times.npy"),
    OddCase("collection below a revision", f"{_SESSION}/#2024-05-06#/alf/spikes.times.npy"),
    OddCase("link to a file", f"{_SESSION}/alf/spikes.depths.npy", "link", "spikes.times.npy"),
    OddCase("broken link", f"{_SESSION}/alf/spikes.amps.npy", "link", "absent.npy"),
    OddCase("link to a session", f"{_ODD}/2021-03-05/001", "link", "../2021-03-01/001"),
    OddCase("link to a collection", f"{_SESSION}/linked", "link", "alf"),
    OddCase("link to a folder above", f"{_SESSION}/alf/loop", "link", "../.."),
    OddCase("link to itself", f"{_SESSION}/alf/loops.times.npy", "link", "loops.times.npy"),
    OddCase("FIFO", f"{_SESSION}/alf/pipes.times.npy", "fifo"),
    OddCase("socket", f"{_SESSION}/alf/sockets.times.npy", "socket"),
    OddCase("dataset that is not UTF-8", f"{_SESSION}/alf/sp\udcffkes.times.npy"),
    OddCase("collection that is not UTF-8", f"{_SESSION}/alf_\udcff/spikes.times.npy"),
    OddCase(
        "subject that is not UTF-8",
        f"{ODD_SUBJECTS}odd_\udce9/2021-03-01/001/alf/spikes.times.npy",
    ),
)


@dataclasses.dataclass(frozen=True)
class ArchiveSummary:
    """What an archive holds, the odd cases not counted; `other_files` are those that are not ALF.

    `bytes` is the sum of the files' sizes, of which sparse files occupy nothing.
    """

    root: str
    sessions: int
    files: int
    datasets: int
    other_files: int
    bytes: int
    seconds: float
    odd: list[OddCase]

    def to_json(self) -> str:
        """Return the summary as JSON text; its paths survive `json.loads`, UTF-8 or not."""
        odd = [case._asdict() for case in self.odd]
        return json.dumps(dataclasses.asdict(self) | {"odd": odd}, indent=2)


class FilePlan(NamedTuple):
    """One file of every session: `column` names the object that it shares its rows with."""

    path: str
    column: str
    median_bytes: int


class SessionPlan(NamedTuple):
    """What is below a session: folders, parents first, and files."""

    folders: list[str]
    files: list[FilePlan]


def make_archive(
    root: str | os.PathLike[str],
    *,
    labs: int = 5,
    subjects: int = 100,
    sessions: int = 100,
    files: int = 72,
    seed: int = 0,
    content: Content = "none",
    odd: bool = False,
    jobs: int | None = None,
    flat: bool = False,
) -> ArchiveSummary:
    """Make an archive in `root`, which must be absent or empty.

    Parameters
    ----------
    root : path
        The archive's folder.
    labs, subjects, sessions, files : int
        Labs; subjects over all labs; sessions of each subject; files of each session.
    seed : int
        Another seed gives other dates, sizes and values.
    content : {'none', 'small'}
        With 'none', files are sparse, from nothing to gigabytes. With 'small', each has a few
        bytes of its own: real .npy, .csv, .tsv, .ssv, .json and .jsonable, with as many rows as
        the other files of its object.
    odd : bool
        Also make `ODD_CASES`, as far as the platform can, in labs of their own.
    jobs : int, optional
        Processes; by default one for each core, or one alone where the archive is small.
    flat : bool
        Put subjects in the root, without lab/Subjects above them.

    Raises
    ------
    FileExistsError
        `root` is not empty.
    """
    start = time.perf_counter()
    if min(labs, subjects, sessions, files) < 0 or (subjects and not labs):
        raise ValueError(
            f"labs={labs}, subjects={subjects}, sessions={sessions}, files={files}: "
            "give counts of at least 0, and at least one lab for subjects to be in"
        )
    folder = Path(root)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: give a folder that is empty or absent")

    subject_folders = [str(folder / name) for name in plan_subjects(labs, subjects, flat)]
    make = functools.partial(
        make_subject, sessions=sessions, files=files, seed=seed, content=content
    )
    total = subjects * sessions * files
    if jobs is None:
        jobs = os.cpu_count() or 1 if total >= FILES_WORTH_PROCESSES else 1
    # Windows waits for no more than 61 processes.
    jobs = min(jobs, subjects, 61)
    if jobs > 1:
        # A fork of a process with threads, such as one that uses Polars, can hang.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, spawn) as pool:
            sizes = list(pool.map(make, range(subjects), subject_folders))
    else:
        sizes = list(map(make, range(subjects), subject_folders))

    other_files = total // files * count_other_files(files) if total else 0
    return ArchiveSummary(
        root=str(folder),
        sessions=subjects * sessions,
        files=total,
        datasets=total - other_files,
        other_files=other_files,
        bytes=sum(sizes),
        odd=make_odd_cases(folder, flat) if odd else [],
        seconds=round(time.perf_counter() - start, 3),
    )


def plan_subjects(labs: int, subjects: int, flat: bool) -> Iterator[str]:
    """Yield the subjects' folders, the labs in turn."""
    known = list(LABS.items())
    for subject in range(subjects):
        number, which = divmod(subject, labs)
        lab, pattern = (
            known[which] if which < len(known) else (f"lab{which:02}", f"L{which:02}_{{:03}}")
        )
        name = pattern.format(number + 1)
        yield name if flat else f"{lab}/Subjects/{name}"


def plan_sessions(rng: random.Random, sessions: int) -> Iterator[str]:
    """Yield `date/number` in order, over a thousand days or so however many there are."""
    day = datetime.date(2019, 1, 7) + datetime.timedelta(days=rng.randrange(365))
    number = 1
    chance_of_another = max(0.1, 1 - 500 / max(1, sessions))
    for _ in range(sessions):
        yield f"{day}/{number:03}"
        if number < 999 and rng.random() < chance_of_another:
            number += 1
        else:
            day += datetime.timedelta(days=rng.choice((1, 1, 1, 1, 3)))
            number = 1


def count_other_files(files: int) -> int:
    """Return how many of a session's files are not ALF."""
    return files // FILES_PER_OTHER_FILE


@functools.cache
def plan_session(files: int, revision: str) -> SessionPlan:
    """Return what a session of so many files holds; a large one has many probes."""
    others = count_other_files(files)
    paths = [
        *itertools.islice(iterate_datasets(revision), files - others),
        *itertools.islice(iterate_other_files(), others),
    ]
    parents = {parent for path in paths for parent in PurePosixPath(path).parents}
    return SessionPlan(
        folders=sorted(map(str, parents - {PurePosixPath()})),
        files=[plan_file(path) for path in paths],
    )


def plan_file(path: str) -> FilePlan:
    """Return a file's plan; revisions and namespaces of an object share its rows."""
    folder, _, name = path.rpartition("/")
    return FilePlan(
        path,
        column=f"{folder.partition('#')[0].rstrip('/')}/{name.split('.')[0].rpartition('_')[2]}",
        median_bytes=MEDIAN_BYTES.get(name.rpartition(".")[2], MEDIAN_BYTES_ELSE),
    )


def iterate_datasets(revision: str) -> Iterator[str]:
    """Yield datasets' paths without end, one of each folder in turn: the first few vary most."""
    trees = itertools.chain([SESSION_DATASETS | PROBE_DATASETS], itertools.repeat(PROBE_DATASETS))
    for probe, tree in enumerate(trees):
        folders = [[f"{folder}/{name}" for name in names.split()] for folder, names in tree.items()]
        for turn in itertools.zip_longest(*folders):
            yield from (path.format(revision=revision, probe=probe) for path in turn if path)


def iterate_other_files() -> Iterator[str]:
    """Yield paths that are not ALF, without end."""
    yield from OTHER_FILES
    yield from (f"alf/spike_sorting_{number}.log" for number in itertools.count(1))


def make_subject(
    index: int, folder: str, *, sessions: int, files: int, seed: int, content: Content
) -> int:
    """Make one subject and return the sum of its files' sizes."""
    rng = random.Random(f"{seed}/{index}")
    size = 0
    os.makedirs(folder)
    for session in plan_sessions(rng, sessions):
        os.makedirs(f"{folder}/{session}")
        plan = plan_session(files, rng.choice(REVISIONS))
        make = make_sparse_session if content == "none" else make_small_session
        size += make(f"{folder}/{session}", plan, rng)
    return size


def make_sparse_session(session: str, plan: SessionPlan, rng: random.Random) -> int:
    size = 0
    for folder in plan.folders:
        os.mkdir(f"{session}/{folder}")
    for path, _, median_bytes in plan.files:
        file_size = int(median_bytes * 2 ** rng.uniform(-4, 4)) if rng.random() < 0.99 else 0
        if os.name == "nt":
            # Windows would set the space aside.
            file_size %= 4096
        descriptor = os.open(f"{session}/{path}", CREATE, 0o666)
        os.ftruncate(descriptor, file_size)
        os.close(descriptor)
        size += file_size
    return size


def make_small_session(session: str, plan: SessionPlan, rng: random.Random) -> int:
    size = 0
    rows: dict[str, int] = {}
    for folder in plan.folders:
        os.mkdir(f"{session}/{folder}")
    for path, column, _ in plan.files:
        content = make_content(path, rows.setdefault(column, rng.randint(3, 12)), rng)
        write_file(f"{session}/{path}", content)
        size += len(content)
    return size


def make_content(path: str, rows: int, rng: random.Random) -> bytes:
    """Return a file's content: rising times or the like, in the format of its extension."""
    name = PurePosixPath(path)
    columns = 2 if ".intervals" in name.name else 1
    values = sorted(round(rng.uniform(0, 3600), 4) for _ in range(rows * columns))
    if name.suffix == ".npy":
        return make_npy(values, (rows, columns) if columns > 1 else (rows,))
    if separator := SEPARATORS.get(name.suffix):
        lines = [f"{row}{separator}{value}\n" for row, value in enumerate(values[:rows])]
        return "".join([f"row{separator}value\n", *lines]).encode()
    if name.suffix == ".json":
        return json.dumps({"rows": rows, "values": values}).encode()
    if name.suffix == ".jsonable":
        return "".join(json.dumps({"value": value}) + "\n" for value in values).encode()
    return rng.randbytes(24)


def make_npy(values: list[float], shape: tuple[int, ...]) -> bytes:
    """Return an array of doubles in version 1.0 of NumPy's format."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    # The data begin at a multiple of 64 bytes, after ten of magic and length and a newline.
    header += " " * (-(len(header) + 11) % 64) + "\n"
    magic = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
    return magic + header.encode() + struct.pack(f"<{len(values)}d", *values)


def write_file(path: str, content: bytes) -> None:
    descriptor = os.open(path, CREATE, 0o666)
    os.write(descriptor, content)
    os.close(descriptor)


def make_odd_cases(root: Path, flat: bool) -> list[OddCase]:
    """Make what this platform can of `ODD_CASES`; return those made, say on stderr which not."""
    made = []
    for case in ODD_CASES:
        if flat:
            case = case._replace(path=case.path.removeprefix(ODD_SUBJECTS))
        try:
            make_odd_case(root, case)
        except (OSError, AttributeError) as error:
            print(f"not possible here: {case.kind} ({error})", file=sys.stderr)
        else:
            made.append(case)
    return made


def make_odd_case(root: Path, case: OddCase) -> None:
    path = f"{root}/{case.path}"
    parent = os.path.dirname(path)
    os.makedirs(parent, exist_ok=True)
    match case.type:
        case "folder":
            os.mkdir(path)
        case "link":
            is_directory = os.path.isdir(f"{parent}/{case.target}")
            os.symlink(case.target, path, target_is_directory=is_directory)
        case "fifo":
            os.mkfifo(path)
        case "socket":
            # A path to bind to may have no more than a hundred bytes or so.
            os.mknod(path, stat.S_IFSOCK | 0o666)
        case "file":
            write_file(path, make_content(path, 5, random.Random(case.kind)))


def parse_count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: give a count of at least 0")
    return number


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", metavar="ROOT", help="the archive's folder: empty or absent")
    parser.add_argument("--labs", type=parse_count, default=5, help="labs (default %(default)s)")
    parser.add_argument(
        "--subjects", type=parse_count, default=100, help="over all labs (default %(default)s)"
    )
    parser.add_argument(
        "--sessions", type=parse_count, default=100, help="of each subject (default %(default)s)"
    )
    parser.add_argument(
        "--files", type=parse_count, default=72, help="of each session (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="for other dates, sizes and values")
    parser.add_argument(
        "--content",
        choices=("none", "small"),
        default="none",
        help="sparse files of realistic sizes, or a few real bytes in each (default %(default)s)",
    )
    parser.add_argument("--odd", action="store_true", help="also the oddities of real archives")
    parser.add_argument("--jobs", type=parse_count, help="processes (default: one for each core)")
    parser.add_argument("--flat", action="store_true", help="no lab/Subjects above the subjects")
    options = vars(parser.parse_args(argv))
    try:
        summary = make_archive(options.pop("root"), **options)
    except (FileExistsError, NotADirectoryError, ValueError) as error:
        parser.error(str(error))
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}; give a folder that can be written"
        print(f"{parser.prog}: error: {reason}", file=sys.stderr)
        return 1
    print(summary.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
