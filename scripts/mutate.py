"""Take protections away, one at a time, and see that tests notice: `python scripts/mutate.py`.

Names of mutations, as arguments, choose some. Each is made in a clone of HEAD, by itself, and its
tests are run there by this Python, which needs what the tests need. They pass without it, and must
not with it. Exits with 1 if some stay green, or if a mutation does not fit the code any more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SECONDS = 900


@dataclass(frozen=True)
class Mutation:
    """A protection that is taken away.

    Parameters
    ----------
    name
        What is missing then.
    file
        Where it is.
    old, new
        Text that is there once, and what takes its place.
    tests
        What should fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


TABLES = "tests/hostile/test_tables.py"
OURS = (f"{TABLES}::test_damage_to_our_tables_is_told[0]",)
FOREIGN = (f"{TABLES}::test_damage_to_tables_of_other_programs_harms_nobody[0]",)
BOMBS = (f"{TABLES}::test_bombs_in_metadata_do_not_go_off",)
TREES = "tests/hostile/test_trees.py"
PATHS = "tests/hostile/test_paths_out.py"
SHARED = "tests/hostile/test_shared_machine.py"

MUTATIONS = [
    Mutation(
        "the digest of a footer is not compared",
        "polars_alf/seals.py",
        "digests[0] != _digest(_put(footer, position, _BLANK))",
        "False",
        OURS,
    ),
    Mutation(
        "the digests of columns are not compared",
        "polars_alf/seals.py",
        "if _digest(_read_part(file, start, size)) != digest:",
        "if False:",
        OURS,
    ),
    Mutation(
        "Polars reads the tables of other programs",
        "polars_alf/tablefiles.py",
        "frames = _read_foreign(table, wanted, n_rows)",
        "frames = _read_sealed(table, table.groups, wanted, n_rows, batch_size, None)",
        FOREIGN,
    ),
    Mutation(
        "only errors of the system become ours",
        "polars_alf/tablefiles.py",
        "    except _ANY_ERROR as error:",
        "    except OSError as error:",
        FOREIGN,
    ),
    Mutation(
        "what pandas makes of metadata is trusted",
        "polars_alf/cache/loading.py",
        "    except Exception as error:",
        "    except ValueError as error:",
        FOREIGN,
    ),
    Mutation(
        "what a snapshot has is trusted",
        "polars_alf/snapshots.py",
        "    if not spool.is_whole(path):",
        "    if False:",
        (f"{TABLES}::test_damage_to_our_state_harms_nobody[0]",),
    ),
    Mutation(
        "a footer may have any size",
        "polars_alf/tablefiles.py",
        "if size > MOST_FOOTER_BYTES:",
        "if False:",
        BOMBS,
    ),
    Mutation(
        "JSON may have any depth",
        "polars_alf/store.py",
        "except (ValueError, RecursionError) as error:",
        "except ValueError as error:",
        BOMBS,
    ),
    Mutation(
        "a full path may lead anywhere",
        "polars_alf/parts.py",
        "return pl.when(is_safe).then(path)",
        "return pl.when(pl.lit(True)).then(path)",
        (f"{PATHS}::test_a_full_path_lies_in_its_session",),
    ),
    Mutation(
        "verify opens what the tables name",
        "polars_alf/verifying/flow.py",
        "    is_unsafe = datasets",
        "    for p in datasets['rel_path']:\n"
        "        Path(root, 'a/b/c/d/e', p.replace(chr(0), '')).exists()\n"
        "    is_unsafe = datasets",
        (f"{PATHS}::test_the_dangerous_commands_are_not_led_out[verify]",),
    ),
    Mutation(
        "prune opens what the tables name",
        "polars_alf/pruning/planning.py",
        "    options = Options(ignored=",
        "    for p in tables.datasets['rel_path']:\n"
        "        Path(root, 'a/b/c/d/e', p.replace(chr(0), '')).exists()\n"
        "    options = Options(ignored=",
        (f"{PATHS}::test_the_dangerous_commands_are_not_led_out[prune]",),
    ),
    Mutation(
        "a plan may name any path",
        "polars_alf/pruning/folders.py",
        'if part in ("", ".", "..") or',
        "if False and",
        ("tests/test_pruning.py::test_paths_that_lead_out_are_never_followed",),
    ),
    Mutation(
        "the state has a mode of its own",
        "polars_alf/commits.py",
        "state.mkdir(exist_ok=True)",
        "state.mkdir(mode=0o700, exist_ok=True)",
        (f"{SHARED}::test_modes_are_those_of_the_umask[23]",),
    ),
    Mutation(
        "temporary names can be guessed",
        "polars_alf/commits.py",
        '.{uuid.uuid4().hex}.tmp")\n    with beside.open("x"',
        '.tmp")\n    with beside.open("w"',
        (f"{SHARED}::test_nothing_is_made_at_names_that_others_can_guess",),
    ),
    Mutation(
        "the log of removals may be a link",
        "polars_alf/pruning/applying.py",
        '    | getattr(os, "O_NOFOLLOW", 0)\n',
        "",
        (f"{SHARED}::test_links_at_names_that_are_known_are_not_followed",),
    ),
    Mutation(
        "the state may be anyone's link",
        "polars_alf/commits.py",
        "        _check_link(state)\n",
        "",
        (f"{SHARED}::test_a_state_that_another_user_has_linked_is_refused",),
    ),
    Mutation(
        "something is run",
        "polars_alf/querying.py",
        "    _check_query(query)\n",
        "    _check_query(query)\n    __import__('os').system('true')\n",
        (f"{SHARED}::test_nothing_is_run_unpickled_or_fetched",),
    ),
    Mutation(
        "something is unpickled",
        "polars_alf/querying.py",
        "    _check_query(query)\n",
        "    _check_query(query)\n"
        "    __import__('pickle').loads(__import__('pickle').dumps(re.compile('')))\n",
        (f"{SHARED}::test_nothing_is_run_unpickled_or_fetched",),
    ),
    Mutation(
        "queries may read files",
        "polars_alf/querying.py",
        "found = _READS_FILES.search(query)",
        "found = None",
        (f"{SHARED}::test_a_query_opens_nothing_but_the_tables",),
    ),
    Mutation(
        "names that are invalid are passed over in silence",
        "polars_alf/sources/listing.py",
        "        if verdict == _INVALID:\n            into.report(",
        "        if verdict == _INVALID:\n            str(",
        (f"{TREES}::test_every_name_in_every_place",),
    ),
    Mutation(
        "names may have control characters of Unicode",
        "polars_alf/paths.py",
        r'r"[\x00-\x1f\x7f-\x9f]"',
        r'r"[\x00-\x1f\x7f]"',
        (f"{TREES}::test_every_name_in_every_place",),
    ),
    Mutation(
        "impossible dates are dates",
        "polars_alf/sources/posix.py",
        "            and spec.is_date(parts[-2])\n            and",
        "            and spec.looks_like_date(parts[-2])\n            and",
        (f"{TREES}::test_every_name_in_every_place",),
    ),
    Mutation(
        "FIFOs and devices are files",
        "polars_alf/sources/listing.py",
        "elif not stat.S_ISREG((status := entry.stat()).st_mode):",
        "elif not (status := entry.stat()):",
        (f"{TREES}::test_nothing_but_files_is_opened",),
    ),
    Mutation(
        "digests are taken of what is no file",
        "polars_alf/digests.py",
        "if not stat.S_ISREG(os.fstat(descriptor).st_mode):",
        "if False:",
        (f"{TREES}::test_what_took_the_place_of_a_file_is_not_read[fifo]",),
    ),
    Mutation(
        "links may lead in circles",
        "polars_alf/sources/listing.py",
        "if any(target.samefile(self._prefix + other) for other in above):",
        "if False:",
        (f"{TREES}::test_links_lead_to_nothing_that_is_not_said",),
    ),
    Mutation(
        "folders that cannot be opened are passed over in silence",
        "polars_alf/sources/listing.py",
        '        into.report(directory, kind, f"listing stopped: {error.strerror}", error.errno)\n',
        "        str(kind)\n",
        (f"{TREES}::test_paths_that_the_system_does_not_take_are_named",),
    ),
]
"""Add to it: what a suite is there for should be in here."""


def main(names: list[str]) -> int:
    if names in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    chosen = [mutation for mutation in MUTATIONS if not names or mutation.name in names]
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
        if not passes(clone, {test for mutation in chosen for test in mutation.tests}):
            print("tests fail before anything is mutated", file=sys.stderr)
            return 1
        n_green = 0
        for mutation in chosen:
            outcome = judge(clone, mutation)
            n_green += outcome != "red"
            print(f"{outcome:8} {mutation.name}", flush=True)
    print(f"{len(chosen) - n_green} of {len(chosen)} mutations were noticed")
    return 1 if n_green or not chosen else 0


def judge(clone: Path, mutation: Mutation) -> str:
    """Return ``red`` where tests notice it, ``green`` where not, ``stale`` if it does not fit."""
    path = clone / mutation.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(mutation.old) != 1:
        return "stale"
    path.write_text(whole.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return "green" if passes(clone, mutation.tests) else "red"
    finally:
        path.write_text(whole, encoding="utf-8")


def passes(clone: Path, tests: Iterable[str]) -> bool:
    """Tell whether tests pass; those that never end do not."""
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses", "auto"]
    environment = {**os.environ, "PYTHONPATH": str(clone), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ended = subprocess.run(
            [*command, *sorted(tests)],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False
    if ended.returncode and " failed" not in ended.stdout:
        raise SystemExit(f"pytest could not run: {ended.stdout}{ended.stderr}")
    return ended.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
