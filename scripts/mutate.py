"""Take protections away, one at a time, and see that tests notice: `python scripts/mutate.py`.

Names of mutations, as arguments, choose some. Each is made in a clone of HEAD, by itself, and its
tests are run there by this Python, which needs what the tests need. They pass without it, and must
not with it. Exits with 1 if some stay green or do not end, or if a mutation does not fit the code
any more. PYTEST_XDIST_AUTO_NUM_WORKERS tells how many tests to run at a time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
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


@dataclass(frozen=True)
class Outcome:
    """What tests say: ``red``, ``green``, ``stale`` or ``endless``, and the first that failed."""

    outcome: str
    failed: str = ""

    def __str__(self) -> str:
        return f"{self.outcome} {self.failed}".rstrip()


TABLES = "tests/hostile/test_tables.py"
OURS = (f"{TABLES}::test_damage_to_our_tables_is_told[0]",)
FOREIGN = (f"{TABLES}::test_damage_to_tables_of_other_programs_harms_nobody[0]",)
BOMBS = (f"{TABLES}::test_bombs_in_metadata_do_not_go_off",)
TREES = "tests/hostile/test_trees.py"
PATHS = "tests/hostile/test_paths_out.py"
SHARED = "tests/hostile/test_shared_machine.py"

CALLS = "tests/faults/test_calls.py::test_a_call_fails"
STORAGE = "tests/faults/test_storage.py"
PART = f"{STORAGE}::test_a_part_of_the_archive_fails"
KILLS = "tests/faults/test_kills.py"
STEP = f"{KILLS}::test_a_run_is_killed_at_a_step"
TOGETHER = "tests/faults/test_together.py"
READERS = f"{TOGETHER}::test_readers_see_one_generation_and_whole_files"
MOVING = "tests/faults/test_moving.py"
GENERATIONS = "tests/tables/test_generations.py"
HISTORY = "tests/tables/test_history.py"
BENCH_LEFT = "tests/test_benching.py::test_what_another_run_has_left_is_named_and_is_no_session"

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
        "polars_alf/cache/files.py",
        "    except Exception as error:",
        "    except ValueError as error:",
        ("tests/cache/test_files.py::test_metadata_of_pandas_that_makes_no_sense",),
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
        ".{uuid.uuid4().hex}{_BESIDE}",
        "{_BESIDE}",
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
    Mutation(
        "files that cannot be examined are passed over in silence",
        "polars_alf/sources/listing.py",
        "        into.report(path, IssueKind.UNREADABLE_FILE, message, error.errno)\n",
        "        str(message)\n",
        (f"{PART}[ahead-stat-ENAMETOOLONG-a/Subjects/S1/2020-01-01/001]",),
    ),
    Mutation(
        "what could not be listed counts as removed",
        "polars_alf/snapshots.py",
        "kinds = [str(kind) for kind in HIDING]",
        "kinds = []",
        (f"{PART}[serial-open-EIO-a/Subjects/S1/2020-01-01/001]",),
    ),
    Mutation(
        "ids are new where the old ones cannot be read",
        "polars_alf/store.py",
        "    if unread and not found:\n",
        "    if False:\n",
        (f"{STORAGE}::test_ids_are_kept_though_what_names_them_cannot_be_read[EIO-open]",),
    ),
    Mutation(
        "what could not be replaced stays in the state",
        "polars_alf/commits.py",
        "            beside.unlink()\n",
        "            pass\n",
        (f"{CALLS}[refresh-fsync-EMFILE-from_then_on]", f"{CALLS}[merge-fsync-ELOOP-once]"),
    ),
    Mutation(
        "merges leave what merges that were killed have left",
        "polars_alf/merge/api.py",
        "        discard_runs(folder)\n",
        "",
        (f"{STEP}[1-merge]", f"{STEP}[2-merge]"),
    ),
    Mutation(
        "tables are put in place without a journal",
        "polars_alf/commits.py",
        "            _write_durably(self._state / _JOURNAL, json.dumps(journal))\n"
        "            recover(self.folder)\n",
        "            _put_in_place(self.folder, self.path)\n",
        (f"{STEP}[0-refresh]", f"{STEP}[0-merge]"),
    ),
    Mutation(
        "removals are not announced",
        "polars_alf/pruning/applying.py",
        '    log.write({"event": _ANNOUNCEMENT, **row} for row in batch)\n',
        "",
        (f"{KILLS}::test_a_prune_is_killed", f"{STEP}[1-prune]"),
    ),
    Mutation(
        "tables are written where they are read",
        "polars_alf/commits.py",
        "                (staging / final.name).replace(final)\n",
        "                final.write_bytes((staging / final.name).read_bytes())\n"
        "                (staging / final.name).unlink()\n",
        (f"{READERS}[bytes-index]",),
    ),
    Mutation(
        "tables may be of two generations",
        "polars_alf/store.py",
        "    if len(ours) > 1:\n",
        "    if False:\n",
        ("tests/cache/test_files.py::test_tables_of_two_generations",),
    ),
    Mutation(
        "readers do not wait for ONE",
        "polars_alf/settling.py",
        "            is_writing = one_lock.is_one_writing(folder) or _look_at(folder) != before\n",
        "            is_writing = False\n",
        (f"{TOGETHER}::test_our_loader_waits_for_one",),
    ),
    Mutation(
        "several may write at once",
        "polars_alf/commits.py",
        "        lock.acquire(blocking=False)\n",
        "",
        (f"{TOGETHER}::test_two_writers_never_write_at_once",),
    ),
    Mutation(
        "files that go meanwhile stop the listing",
        "polars_alf/sources/listing.py",
        "            except OSError as error:\n                _report_entry(",
        "            except PermissionError as error:\n                _report_entry(",
        (f"{MOVING}::test_what_stands_still_is_right",),
    ),
    Mutation(
        "what has changed since it was planned is removed",
        "polars_alf/pruning/applying.py",
        "        change = describe_change(row, folder.status(name))\n",
        "        change = None\n",
        ("tests/test_pruning.py::test_what_has_changed_is_kept",),
    ),
    Mutation(
        "what cannot be put in place is taken for what is there",
        "polars_alf/commits.py",
        "                (staging / final.name).replace(final)\n",
        "                with contextlib.suppress(FileNotFoundError):\n"
        "                    (staging / final.name).replace(final)\n",
        ("tests/test_store.py::test_a_commit_that_fails_halfway_is_finished_later",),
    ),
    Mutation(
        "conflicts stay where their tables do not",
        "polars_alf/commits.py",
        "        if not has_conflicts:\n",
        "        if False:\n",
        ("tests/merge/test_api.py::test_conflicts_go_with_the_tables_that_had_them",),
    ),
    Mutation(
        "a run that cannot be taken up stays",
        "polars_alf/runs.py",
        "        shutil.rmtree(path, ignore_errors=True)  # by its new name",
        "        str(path)  # by its new name",
        ("tests/test_resuming.py::test_a_run_that_could_not_be_removed_goes_with_the_next",),
    ),
    Mutation(
        "tables that go while they are opened are not expected",
        "polars_alf/reading.py",
        "    if name not in headers:\n",
        "    if False:\n",
        ("tests/merge/test_api.py::test_a_table_that_goes_meanwhile_is_named",),
    ),
    Mutation(
        "tables that are replaced are not kept",
        "polars_alf/tables/transaction.py",
        "        kept, records = keep_current(self.folder) if keep else (None, [])\n",
        "        kept, records = None, list[Record]()\n",
        (f"{GENERATIONS}::test_what_an_index_replaces_is_kept_whole",),
    ),
    Mutation(
        "tables are moved away before new ones are there",
        "polars_alf/tables/generations.py",
        "                _link(file, copy)\n        elif",
        "                pass\n        elif",
        (f"{GENERATIONS}::test_no_table_is_missing_at_any_moment",),
    ),
    Mutation(
        "without hard links nothing is kept",
        "polars_alf/tables/journal.py",
        "                if kept:\n                    move_away(final, kept)\n",
        "",
        (f"{GENERATIONS}::test_what_an_index_replaces_is_kept_whole",),
    ),
    Mutation(
        "a new table is taken for the one that it replaced",
        "polars_alf/tables/journal.py",
        "[*sorted(waiting), *sorted(unchanged)], waiting)",
        "[*_FINALS, *sorted(unchanged)], finals)",
        (f"{GENERATIONS}::test_a_restore_that_is_cut_off_is_finished",),
    ),
    Mutation(
        "a restore that is cut off leaves half of a generation",
        "polars_alf/tables/journal.py",
        "    if journal.restored:\n",
        "    if False:\n",
        (f"{GENERATIONS}::test_a_restore_that_is_cut_off_is_finished",),
    ),
    Mutation(
        "a restore that is repeated undoes the one that was cut off",
        "polars_alf/tables/undo.py",
        "        if cut_off and cut_off.restored and generation",
        "        if False and generation",
        (f"{GENERATIONS}::test_a_restore_that_is_cut_off_is_finished",),
    ),
    Mutation(
        "the snapshot of other tables stays after a restore",
        "polars_alf/tables/undo.py",
        "        removed=tuple(sorted(removed | others)),\n",
        "        removed=tuple(sorted(removed)),\n",
        (f"{GENERATIONS}::test_restore_twice_changes_nothing",),
    ),
    Mutation(
        "issues of other tables stay after a restore",
        "polars_alf/tables/undo.py",
        "    removed = {*list_tables(folder), *(STATE_FILES & there)} - names\n",
        "    removed = {*list_tables(folder)} - names\n",
        (f"{GENERATIONS}::test_issues_of_other_tables_do_not_stay",),
    ),
    Mutation(
        "a run that is finished by others is logged twice",
        "polars_alf/tables/history.py",
        '                    found.setdefault(record["id"], record)\n',
        "                    found[uuid.uuid4().hex] = record\n",
        (f"{HISTORY}::test_a_line_is_written_once",),
    ),
    Mutation(
        "names may steer a terminal",
        "polars_alf/rendering.py",
        "visible(text) if stream.isatty() else text",
        "text",
        (
            "tests/test_cli.py::test_names_do_not_steer_a_terminal",
            "tests/test_cli.py::test_errors_do_not_steer_a_terminal",
        ),
    ),
    Mutation(
        "names are spelt out for machines, too",
        "polars_alf/rendering.py",
        "visible(text) if stream.isatty() else text",
        "visible(text)",
        ("tests/test_cli.py::test_names_do_not_steer_a_terminal",),
    ),
    Mutation(
        "a bench leaves what it wrote",
        "polars_alf/benching/folder.py",
        "            _remove(folder, plan, n_threads, warn)\n",
        "            pass\n",
        (f"{STORAGE}::test_bench_on_a_full_disk[4]",),
    ),
    Mutation(
        "what cannot be removed fills",
        "polars_alf/benching/folder.py",
        "        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):\n            raise\n",
        "",
        (f"{STORAGE}::test_what_bench_cannot_remove_is_named",),
    ),
    Mutation(
        "reports are written through links",
        "polars_alf/benching/results.py",
        '.{uuid.uuid4().hex}.tmp")\n    try:\n        with beside.open("xb")',
        '.tmp")\n    try:\n        with beside.open("wb")',
        ("tests/test_benching.py::test_a_report_is_written_through_no_link",),
    ),
    Mutation(
        "what a bench has left is taken for an archive",
        "polars_alf/sources/listing.py",
        "if session is None and BENCH_FOLDER.fullmatch(name):",
        "if False:",
        (BENCH_LEFT,),
    ),
    Mutation(
        "what a bench has left is not named",
        "polars_alf/benching/flow.py",
        "    for folder in find_others(root):\n",
        "    for folder in []:\n",
        (BENCH_LEFT,),
    ),
]
"""Add to it: what a suite is there for should be in here."""


def main(names: list[str]) -> int:
    if names in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    chosen = [mutation for mutation in MUTATIONS if not names or mutation.name in names]
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
        whole = run_tests(clone, {test for mutation in chosen for test in mutation.tests})
        if whole.outcome != "green":
            print(f"before anything is mutated, tests are {whole}", file=sys.stderr)
            return 1
        for mutation in chosen:
            started = time.monotonic()
            outcomes.append(judge(clone, mutation))
            seconds = time.monotonic() - started
            print(f"{seconds:4.0f} s  {mutation.name}: {outcomes[-1]}", flush=True)
    n_red = sum(found.outcome == "red" for found in outcomes)
    print(f"{n_red} of {len(chosen)} mutations were noticed")
    return 0 if chosen and n_red == len(chosen) else 1


def judge(clone: Path, mutation: Mutation) -> Outcome:
    """Return what tests say of it; ``stale`` if it does not fit."""
    path = clone / mutation.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(mutation.old) != 1:
        return Outcome("stale")
    mutated = whole.replace(mutation.old, mutation.new)
    compile(mutated, path, "exec")  # what is no Python fails any test
    path.write_text(mutated, encoding="utf-8")
    try:
        # One that fails is enough.
        return run_tests(clone, mutation.tests, "--exitfirst", seconds=SECONDS)
    finally:
        path.write_text(whole, encoding="utf-8")


def run_tests(
    clone: Path, tests: Iterable[str], *options: str, seconds: float | None = None
) -> Outcome:
    """Run tests; they are ``endless`` after some seconds, which tells nothing of what they saw."""
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses", "auto", *options]
    environment = {**os.environ, "PYTHONPATH": str(clone), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [*command, *sorted(tests)],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            said, _ = running.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            return Outcome("endless")
    failed = [line for line in said.splitlines() if line.startswith("FAILED ")]
    if running.returncode and not failed:
        raise SystemExit(f"pytest could not run: {said}")
    return Outcome("red", failed[0]) if failed else Outcome("green")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
