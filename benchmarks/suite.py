"""Compare the index with its peers: `python benchmarks/suite.py --out`.

Peers are other walkers, ONE itself, and programs that read or sum the same bytes; those that are
not on the machine are named with how to install them. A table goes to stdout; with --out all runs
are recorded in benchmarks/runs as well. Exit code: 1 if one failed, or found what is not so.

The archive is the reference one of scripts/make_archive.py, 720,000 files, made for the occasion
or kept where --archive says. Cold runs empty the caches of the whole machine, and need root.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from pathlib import Path

from machine import name_host, record_machine
from measure import REPOSITORY, Run, run_in_turn
from races import LARGE, RACES, TRIAL, Setting
from report import Record, find_failures, render_record, write_record


def main() -> int:
    options = parse_options()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        scratch = Path(temporary).resolve()
        setting = Setting(
            archive_path=(options.archive or scratch / "archive").resolve(),
            data_path=(options.data or scratch / "data").resolve(),
            scratch=scratch,
            sizes=TRIAL if options.small else LARGE,
        )
        folders = {"archive": setting.archive_path.parent, "output": scratch}
        record = Record(show_options(options), record_machine(folders), races=[])
        for name in options.races:
            plan = RACES[name](setting)
            rounds = choose_rounds(options, name)
            race = plan.describe(name, rounds, setting, targets=not options.small)
            if plan.contenders:
                folder = scratch / "run"
                runs += run_in_turn(
                    plan.contenders, rounds, folder, race=name, prepare=plan.prepare
                )
            record.races.append(race)
            # After each race, as the next may be cut off.
            if options.out:
                write_record(options.out, record, runs)
    print(render_record(record, runs))
    failures = find_failures(record, runs)
    for failure in failures:
        print(f"wrong: {failure}", file=sys.stderr)
    return 1 if failures else 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--archive", type=Path, help="an archive of make_archive without odd cases; made if absent"
    )
    parser.add_argument("--data", type=Path, help="an archive to read; made if absent")
    parser.add_argument("--folder", type=Path, help="for all that is temporary, output included")
    parser.add_argument("--small", action="store_true", help="a trial in seconds, without targets")
    parser.add_argument("--races", nargs="+", choices=RACES, default=list(RACES))
    parser.add_argument("--rounds", type=int, default=7, help="of each race (default %(default)s)")
    parser.add_argument("--one-rounds", type=int, default=3, help="with ONE (default %(default)s)")
    parser.add_argument("--cold-rounds", type=int, default=3, help="cold (default %(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        nargs="?",
        const=REPOSITORY / "benchmarks" / "runs" / f"{datetime.date.today()}-{name_host()}",
        help="folder for the record; that of the day and the machine if none is given",
    )
    options = parser.parse_args()
    if min(options.rounds, options.one_rounds, options.cold_rounds) < 1:
        parser.error("give at least one round; --races leaves races out")
    return options


def choose_rounds(options: argparse.Namespace, race: str) -> int:
    """Return how often to run a race: those with slow peers have rounds of their own."""
    if race == "one":
        return int(options.one_rounds)
    return int(options.cold_rounds if race.startswith("cold") else options.rounds)


def show_options(options: argparse.Namespace) -> str:
    """Return the command to record: what matters of it, and no path of this machine."""
    words = ["python benchmarks/suite.py"]
    if options.small:
        words.append("--small")
    if options.races != list(RACES):
        words += ["--races", *options.races]
    words += [f"--rounds {options.rounds}", f"--one-rounds {options.one_rounds}"]
    return " ".join([*words, f"--cold-rounds {options.cold_rounds}"])


if __name__ == "__main__":
    sys.exit(main())
