"""Records of the suite: `python benchmarks/report.py RUN` makes RUN's tables and README's again.

RUN is a folder that the suite wrote: suite.json says what ran, where and how, suite.csv has every
single run, and suite.md is made from the two. So is the speed section of the README.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import statistics
import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measure import REPOSITORY, Answer, Run

README = REPOSITORY / "README.md"
BEGIN, END = "<!-- speed: python benchmarks/report.py {run} -->", "<!-- end of speed -->"

README_NAMES = frozenset(
    {
        *("GNU find", "fd, paths without sizes", "scandir-rs", "python-pwalk"),
        *("C walk, 2 processes, with a list", "ONE make_parquet_db", "md5sum", "xxhsum"),
    }
)
"""Contenders in README's table: the best known of each kind, and the fastest walk."""


@dataclass(frozen=True)
class Entrant:
    """A contender as it is recorded; `max_ratio` is the target for our time by its time."""

    name: str
    version: str
    command: str
    max_ratio: float | None = None


@dataclass(frozen=True)
class Race:
    """What is recorded of contenders that ran in turn.

    `ours` names the one that the others are compared with, for which `max_seconds` is a target;
    `expected` is what they must find, as far as they say; `missing` has the cure for each
    contender that is not on the machine.
    """

    name: str
    title: str
    cache: str
    ours: str
    rounds: int
    entrants: list[Entrant]
    missing: dict[str, str]
    expected: Answer
    max_seconds: float | None = None


@dataclass(frozen=True)
class Record:
    """All that the suite knows, but for the runs."""

    command: str
    machine: dict[str, str]
    races: list[Race]


@dataclass(frozen=True)
class Summary:
    """What the runs of one entrant come to; ratios are our seconds by its, round by round."""

    seconds: list[float]
    cpu_seconds: float
    peak_bytes: int
    ratios: list[float]
    answer: Answer
    wrong: Answer

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)


def write_record(folder: Path, record: Record, runs: Sequence[Run]) -> None:
    """Write all files of a record, in the place of those before."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(record), indent=2)
    (folder / "suite.json").write_text(text + "\n", encoding="utf-8")
    with (folder / "suite.csv").open("w", newline="", encoding="utf-8") as file:
        names = [field.name for field in dataclasses.fields(Run)]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for run in runs:
            writer.writerow(asdict(run) | {"answer": json.dumps(run.answer)})
    (folder / "suite.md").write_text(render_record(record, runs), encoding="utf-8")


def read_record(folder: Path) -> tuple[Record, list[Run]]:
    """Read what `write_record` wrote."""
    data: dict[str, Any] = json.loads((folder / "suite.json").read_text(encoding="utf-8"))
    races = [
        Race(**race | {"entrants": [Entrant(**entrant) for entrant in race["entrants"]]})
        for race in data["races"]
    ]
    with (folder / "suite.csv").open(newline="", encoding="utf-8") as file:
        runs = [_parse_run(row) for row in csv.DictReader(file)]
    return Record(data["command"], data["machine"], races), runs


def _parse_run(row: dict[str, str]) -> Run:
    return Run(
        race=row["race"],
        contender=row["contender"],
        round=int(row["round"]),
        position=int(row["position"]),
        seconds=float(row["seconds"]),
        user_seconds=float(row["user_seconds"]),
        system_seconds=float(row["system_seconds"]),
        load=float(row["load"]),
        peak_bytes=int(row["peak_bytes"]) if row["peak_bytes"] else None,
        exit_code=int(row["exit_code"]),
        answer=json.loads(row["answer"]),
    )


def summarize(runs: Iterable[Run], ours: str, expected: Answer | None = None) -> dict[str, Summary]:
    """Return what the runs of one race come to, by contender."""
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.contender, []).append(run)
    our_seconds = {run.round: run.seconds for run in by_name.get(ours, ())}
    summaries = {}
    for name, its_runs in by_name.items():
        timed = [run for run in its_runs if run.round]
        summaries[name] = Summary(
            seconds=[run.seconds for run in timed],
            cpu_seconds=statistics.median(run.user_seconds + run.system_seconds for run in timed),
            peak_bytes=max(run.peak_bytes or 0 for run in its_runs),
            ratios=[our_seconds[run.round] / run.seconds for run in timed],
            answer=its_runs[-1].answer,
            wrong=_find_wrong(its_runs, expected or {}),
        )
    return summaries


def _find_wrong(runs: Iterable[Run], expected: Answer) -> Answer:
    """Return what some run found that is not as expected, and how it ended if not well."""
    wrong: Answer = {}
    for run in runs:
        if run.exit_code:
            wrong["exit code"] = run.exit_code
        wrong |= {what: n for what, n in run.answer.items() if expected.get(what, n) != n}
    return wrong


def find_failures(record: Record, runs: Sequence[Run]) -> list[str]:
    """Return a line for each contender that failed, or found what is not so."""
    return [
        f"{race.name}: {name}: {_show_answer(summary.wrong)}, not {_show_answer(race.expected)}"
        for race in record.races
        for name, summary in _summarize_race(race, runs).items()
        if summary.wrong
    ]


def _summarize_race(race: Race, runs: Iterable[Run]) -> dict[str, Summary]:
    return summarize((run for run in runs if run.race == race.name), race.ours, race.expected)


def render_record(record: Record, runs: Sequence[Run]) -> str:
    """Return all of a record as Markdown."""
    parts = [
        f"`{record.command}`",
        "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in record.machine.items())]),
        "Each command runs as a whole process, in turn with the others; each round begins with "
        "another. The ratio is the time of our index by that of the command, round by round. "
        "What a command found was compared with a count of its own.",
    ]
    for race in record.races:
        parts.append(f"## {race.title}, {race.cache}, rounds: {race.rounds}")
        if race.entrants:
            loads = [run.load for run in runs if run.race == race.name]
            parts.append(f"The load average before each run was {_show_range(loads, 2)}.")
            parts.append(_render_race(race, _summarize_race(race, runs)))
            parts.append(
                "\n".join(
                    f"- {entrant.name}{f' ({entrant.version})' if entrant.version else ''}: "
                    f"`{entrant.command}`"
                    for entrant in race.entrants
                )
            )
        if race.missing:
            lines = [f"- {name}: {cure}" for name, cure in race.missing.items()]
            parts.append("\n".join(["Not run:", "", *lines]))
    return "\n\n".join(parts) + "\n"


def _render_race(race: Race, summaries: dict[str, Summary]) -> str:
    lines = [
        "| command | median (s) | min to max | CPU (s) | index / it | min to max | times as fast "
        "| target | peak memory (MB) | found |",
        "|---|---:|---:|---:|---:|---:|---:|---|---:|---|",
    ]
    for entrant in race.entrants:
        summary = summaries[entrant.name]
        ratio = "| | | "
        if entrant.name != race.ours:
            ratio = (
                f"| {summary.ratio:.3f} | {_show_range(summary.ratios, 3)} "
                f"| {1 / summary.ratio:.2f} "
            )
        peak = f"{summary.peak_bytes / 1e6:,.0f}" if summary.peak_bytes else ""
        wrong = f" **wrong: {_show_answer(summary.wrong)}**" if summary.wrong else ""
        lines.append(
            f"| {entrant.name} | {summary.median:.3f} | {_show_range(summary.seconds, 3)} "
            f"| {summary.cpu_seconds:.2f} {ratio}| {_show_target(race, entrant, summary)} "
            f"| {peak} | {_show_answer(summary.answer)}{wrong} |"
        )
    return "\n".join(lines)


def _show_target(race: Race, entrant: Entrant, summary: Summary) -> str:
    if entrant.name == race.ours:
        target, measured, text = race.max_seconds, summary.median, "at most {} s"
    else:
        target, measured, text = entrant.max_ratio, summary.ratio, "at most {}"
    if target is None:
        return ""
    return f"{text.format(f'{target:.3g}')}: {'met' if measured <= target else 'missed'}"


def _show_range(values: Sequence[float], digits: int) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def _show_answer(answer: Answer) -> str:
    return ", ".join(
        f"{found:,} {what}" if isinstance(found, int) else f"{what} {found}"
        for what, found in answer.items()
    )


def to_markdown(runs: Sequence[Run], ours: str) -> str:
    """Return a table of one race that is not recorded."""
    summaries = summarize(runs, ours)
    entrants = [Entrant(name, "", "") for name in summaries]
    return _render_race(Race("", "", "", ours, 0, entrants, {}, {}), summaries)


def render_speed(
    record: Record, runs: Sequence[Run], run: str, names: Collection[str] = README_NAMES
) -> str:
    """Return the speed section of the README, made from the record in the folder `run`.

    It has a row for each race of each contender whose name is in `names`.
    """
    machine = record.machine
    about = (
        "Medians of the times of whole processes, run in turn on "
        f"{machine['date'].partition(' ')[0]} on a {machine['machine']} machine "
        f"({machine['CPU']}, {machine['memory']}, load average "
        f"{_show_range([each.load for each in runs], 1)}). Walkers list what is there; the index "
        "is complete, from the start of Python to both tables on disk. The record has "
        f"[every run, version and command]({run}/suite.md)."
    )
    lines = [
        BEGIN.format(run=run),
        textwrap.fill(about, 100, break_long_words=False, break_on_hyphens=False),
        "",
        "| archive | command | it takes (s) | index takes (s) | index / it |",
        "|---|---|---:|---:|---:|",
    ]
    for race in record.races:
        summaries = _summarize_race(race, runs)
        for entrant in race.entrants:
            if entrant.name in names:
                summary, our_own = summaries[entrant.name], summaries[race.ours]
                lines.append(
                    f"| {race.title}, {race.cache} | {entrant.name} | {summary.median:.2f} "
                    f"| {our_own.median:.2f} | {summary.ratio:.2f} |"
                )
    return "\n".join([*lines, "", END])


def replace_speed(readme: str, section: str) -> str:
    """Return the text of a README with its speed section replaced by another."""
    before, begin, rest = readme.partition(BEGIN.partition("{")[0])
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README has no {BEGIN!r} with {END!r} after it: put them in")
    return before + section + after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    folder = parser.parse_args().run.resolve()
    record, runs = read_record(folder)
    (folder / "suite.md").write_text(render_record(record, runs), encoding="utf-8")
    section = render_speed(record, runs, folder.relative_to(REPOSITORY).as_posix())
    readme = replace_speed(README.read_text(encoding="utf-8"), section)
    README.write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()
