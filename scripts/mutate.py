"""Take protections away, one at a time, and see that tests notice: `python scripts/mutate.py`.

Names of mutations, as arguments, choose some. Each is made in a clone of HEAD, by itself, and its
tests are run there by this Python, which needs what the tests need. They pass without it, and must
not with it. Exits with 1 if some stay green or do not end, or if a mutation does not fit the code
any more. With --check, nothing is run: it says which do not fit, or name a test that is not there.
PYTEST_XDIST_AUTO_NUM_WORKERS tells how many tests to run at a time.
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
PRUNE_GUARD = "tests/prune/test_guard.py"
TRASH = "tests/prune/test_trash.py"
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
CLOUD_BENCH = "tests/cloud/test_bench.py"
BENCH_LEFT = "tests/bench/test_folder.py::test_what_another_run_has_left_is_named_and_is_no_session"
ENCODING = "tests/alf/test_encoding.py"

GUARD = "tests/index/test_guard.py"
MERGED = (
    "tests/index/test_merge.py::test_of_numbers_that_one_takes_for_the_same_the_padded_one_stays"
)
SNAPSHOT = "tests/index/test_snapshot.py"
OUTPUT = "tests/tables/test_output.py"
LOCK = "tests/tables/test_writer_lock.py"
GENERATIONS = "tests/tables/test_generations.py"
HISTORY = "tests/tables/test_history.py"
AHEAD = "tests/walk/test_ahead.py"
KNOWN = "tests/index/test_known_tables.py"
REPEAT = "tests/index/test_repeat.py::test_whatever_changed_has_the_tables_written"
DATABASES = "tests/index/test_databases.py"

MUTATIONS = [
    Mutation(
        "storage that is not mounted empties the tables",
        "polars_alf/index/guard.py",
        "    if not is_refused(removals, max_removed, few=0 if others else FEW):",
        "    if True:",
        (
            f"{GUARD}::test_an_archive_that_is_empty_keeps_its_tables",
            f"{GUARD}::test_storage_is_unmounted_between_runs",
        ),
    ),
    Mutation(
        "a lab may lose all that it has",
        "polars_alf/index/guard.py",
        "    is_lab_lost = any(lab.is_empty or lab.n_datasets > few for lab in labs)",
        "    is_lab_lost = False",
        (f"{GUARD}::test_a_lab_that_is_empty_keeps_its_rows",),
    ),
    Mutation(
        "only what the survey shows is guarded",
        "polars_alf/index/guard.py",
        "    _check(removals, folder, root, issues, options.max_removed)\n    return removals",
        "    return removals",
        (f"{GUARD}::test_datasets_are_compared_by_their_paths",),
    ),
    Mutation(
        "a refusal costs an interrupted run its shards",
        "polars_alf/index/guard.py",
        "    if len(there) < len(old.sessions):",
        "    if False:",
        (f"{GUARD}::test_an_interrupted_run_is_taken_up_after_a_refusal",),
    ),
    Mutation(
        "the run of the next night goes on with one that was refused",
        "polars_alf/index/checkpoint.py",
        "if not (restart or resumed or is_refused):",
        "if not (restart or resumed):",
        (f"{GUARD}::test_a_refused_run_goes_on_with_the_option_only",),
    ),
    Mutation(
        "ids of paths replace UUIDs",
        "polars_alf/index/basis.py",
        "    check_ids(folder, hash_ids=options.hash_ids)\n",
        "",
        (f"{GUARD}::test_ids_of_paths_do_not_replace_uuids",),
    ),
    Mutation(
        "the digest of a footer is not compared",
        "polars_alf/tables/checksums.py",
        "sums[0] != _compute_checksum(_put(footer, position, _BLANK))",
        "False",
        OURS,
    ),
    Mutation(
        "the digests of columns are not compared",
        "polars_alf/tables/checksums.py",
        "if _compute_checksum(_read_part(file, start, size)) != checksum:",
        "if False:",
        OURS,
    ),
    Mutation(
        "Polars reads the tables of other programs",
        "polars_alf/tables/parquet.py",
        "frames = _read_foreign(table, wanted, n_rows)",
        "frames = _read_own(table, table.groups, wanted, n_rows, batch_size, None)",
        FOREIGN,
    ),
    Mutation(
        "only errors of the system become ours",
        "polars_alf/tables/parquet.py",
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
        "polars_alf/index/shard_files.py",
        "        if xxhash.xxh3_64_hexdigest(content) != self._checksums.get(name):",
        "        if False:",
        (f"{TABLES}::test_damage_to_our_state_harms_nobody[0]",),
    ),
    Mutation(
        "a footer may have any size",
        "polars_alf/tables/parquet.py",
        "if size > MOST_FOOTER_BYTES:",
        "if False:",
        BOMBS,
    ),
    Mutation(
        "JSON may have any depth",
        "polars_alf/tables/contract.py",
        "except (ValueError, RecursionError) as error:",
        "except ValueError as error:",
        BOMBS,
    ),
    Mutation(
        "a full path may lead anywhere",
        "polars_alf/query/columns.py",
        "return pl.when(is_safe).then(path)",
        "return pl.when(pl.lit(True)).then(path)",
        (f"{PATHS}::test_a_full_path_lies_in_its_session",),
    ),
    Mutation(
        "verify opens what the tables name",
        "polars_alf/verify/buckets.py",
        "        is_unsafe = rows",
        "        for p in rows['rel_path']:\n"
        "            Path('a/b/c/d/e', p.replace(chr(0), '')).exists()\n"
        "        is_unsafe = rows",
        (f"{PATHS}::test_the_dangerous_commands_are_not_led_out[verify]",),
    ),
    Mutation(
        "prune opens what the tables name",
        "polars_alf/prune/api.py",
        "    walked = replace(options, ",
        "    for p in tables.datasets['rel_path']:\n"
        "        Path(root, 'a/b/c/d/e', p.replace(chr(0), '')).exists()\n"
        "    walked = replace(options, ",
        (f"{PATHS}::test_the_dangerous_commands_are_not_led_out[prune]",),
    ),
    Mutation(
        "prune does not hear the state with frames",
        "polars_alf/prune/api.py",
        "    states = list_states(opened, folder)\n",
        "    states = list_states(opened, folder) if sessions is None else []\n",
        (
            f"{PRUNE_GUARD}::test_what_the_index_skipped_is_kept_whatever_the_frames",
            f"{PRUNE_GUARD}::test_nothing_that_the_last_index_skipped_goes",
            "tests/cache/test_archive.py::test_what_the_index_skipped_stays_whatever_the_tables",
        ),
    ),
    Mutation(
        "prune hears no state above the root",
        "polars_alf/prune/skipped.py",
        "[folder, root.path, *root.path.parents]",
        "[folder, root.path]",
        (f"{PRUNE_GUARD}::test_what_the_index_skipped_is_kept_whatever_the_frames[4]",),
    ),
    Mutation(
        "prune removes what was not mounted at the last index",
        "polars_alf/prune/api.py",
        "    doubts |= dict.fromkeys(find_taken_out(opened, states, paths), _TAKEN_OUT)\n",
        "",
        (f"{PRUNE_GUARD}::test_what_was_not_mounted_at_the_last_index_is_kept",),
    ),
    Mutation(
        "a prune may remove any number",
        "polars_alf/prune/apply.py",
        "    check_plan(plan, path, dict.fromkeys([folder, path]), max_removed)\n",
        "",
        (
            f"{PRUNE_GUARD}::test_half_of_an_archive_does_not_go",
            "tests/cache/test_archive.py::test_too_much_is_refused_unless_dry",
        ),
    ),
    Mutation(
        "a prune may remove a whole lab",
        "polars_alf/prune/guard.py",
        "        labs = _list_lost_labs(datasets)\n",
        "",
        (f"{PRUNE_GUARD}::test_a_lab_does_not_go_with_all_it_has",),
    ),
    Mutation(
        "a prune follows an index that removed much",
        "polars_alf/prune/guard.py",
        "        reasons = [*_describe_index(folders)]\n",
        "",
        (f"{PRUNE_GUARD}::test_nothing_goes_after_an_index_that_removed_much",),
    ),
    Mutation(
        "a trash may be in the archive",
        "polars_alf/prune/trash.py",
        "    if inside and not is_in_state:\n",
        "    if False:\n",
        (f"{TRASH}::test_a_trash_in_the_archive_is_refused_but_in_the_state",),
    ),
    Mutation(
        "a trash may be on another file system",
        "polars_alf/prune/trash.py",
        "        if is_elsewhere:\n",
        "        if False:\n",
        (f"{TRASH}::test_a_trash_elsewhere_is_refused_before_anything_is_moved",),
    ),
    Mutation(
        "a rename to the trash writes over",
        "polars_alf/prune/folders.py",
        "            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)\n",
        "",
        (
            f"{TRASH}::test_without_second_names_files_are_renamed",
            f"{TRASH}::test_nothing_is_written_over[paths]",
        ),
    ),
    Mutation(
        "any file of the trash is brought back",
        "polars_alf/prune/trash.py",
        '            if (mtime_ns, inode) != (record.get("mtime_ns"), record.get("inode")):\n',
        "            if False:\n",
        (f"{TRASH}::test_nothing_is_written_over",),
    ),
    Mutation(
        "a plan may name any path",
        "polars_alf/prune/folders.py",
        'if part in ("", ".", "..") or',
        "if False and",
        ("tests/prune/test_folders.py::test_paths_that_lead_out_are_never_followed",),
    ),
    Mutation(
        "the state has a mode of its own",
        "polars_alf/tables/transaction.py",
        "state.mkdir(exist_ok=True)",
        "state.mkdir(mode=0o700, exist_ok=True)",
        (f"{SHARED}::test_modes_are_those_of_the_umask[23]",),
    ),
    Mutation(
        "temporary names can be guessed",
        "polars_alf/tables/files.py",
        ".{uuid.uuid4().hex}{_UNFINISHED}",
        "{_UNFINISHED}",
        (f"{SHARED}::test_nothing_is_made_at_names_that_others_can_guess",),
    ),
    Mutation(
        "the log of removals may be a link",
        "polars_alf/prune/log.py",
        '    | getattr(os, "O_NOFOLLOW", 0)\n',
        "",
        (f"{SHARED}::test_links_at_names_that_are_known_are_not_followed",),
    ),
    Mutation(
        "the state may be anyone's link",
        "polars_alf/tables/transaction.py",
        "            _check_link(state)\n",
        "",
        (f"{SHARED}::test_a_state_that_another_user_has_linked_is_refused",),
    ),
    Mutation(
        "something is run",
        "polars_alf/query/sql.py",
        "\n    _check_query(query)\n",
        "\n    _check_query(query)\n    __import__('os').system('true')\n",
        (f"{SHARED}::test_nothing_is_run_unpickled_or_fetched",),
    ),
    Mutation(
        "something is unpickled",
        "polars_alf/query/sql.py",
        "\n    _check_query(query)\n",
        "\n    _check_query(query)\n"
        "    __import__('pickle').loads(__import__('pickle').dumps(re.compile('')))\n",
        (f"{SHARED}::test_nothing_is_run_unpickled_or_fetched",),
    ),
    Mutation(
        "queries may read files",
        "polars_alf/query/sql.py",
        "if found := _READS_FILES.search(query):",
        "if found := None:",
        (f"{SHARED}::test_a_query_opens_nothing_but_the_tables",),
    ),
    Mutation(
        "names that are invalid are passed over in silence",
        "polars_alf/walk/lister.py",
        "        if kind == Odd.INVALID_NAME:\n            into.report(",
        "        if kind == Odd.INVALID_NAME:\n            str(",
        (f"{TREES}::test_every_name_in_every_place",),
    ),
    Mutation(
        "names may have control characters of Unicode",
        "polars_alf/native/twin.py",
        r'r"[\x00-\x1f\x7f-\x9f]"',
        r'r"[\x00-\x1f\x7f]"',
        (f"{TREES}::test_every_name_in_every_place",),
    ),
    Mutation(
        "impossible dates are dates",
        "polars_alf/walk/layout.py",
        "            and is_date(parts[-2])\n            and",
        "            and looks_like_date(parts[-2])\n            and",
        (f"{TREES}::test_every_name_in_every_place",),
    ),
    Mutation(
        "FIFOs and devices are files",
        "polars_alf/native/twin.py",
        "            self._report(entry.name, Odd.SPECIAL_FILE)\n            return False\n",
        "            self._add(entry.name, entry.stat())\n            return False\n",
        (f"{TREES}::test_nothing_but_files_is_opened",),
    ),
    Mutation(
        "digests are taken of what is no file",
        "polars_alf/walk/digests.py",
        "if not stat.S_ISREG(os.fstat(descriptor).st_mode):",
        "if False:",
        (f"{TREES}::test_what_took_the_place_of_a_file_is_not_read[fifo]",),
    ),
    Mutation(
        "links may lead in circles",
        "polars_alf/walk/lister.py",
        "        if is_loop:",
        "        if False:",
        (f"{TREES}::test_links_lead_to_nothing_that_is_not_said",),
    ),
    Mutation(
        "folders that cannot be opened are passed over in silence",
        "polars_alf/walk/lister.py",
        "        into.report(directory, kind, message, number)\n",
        "        str(kind)\n",
        (f"{TREES}::test_paths_that_the_system_does_not_take_are_named",),
    ),
    Mutation(
        "files that cannot be examined are passed over in silence",
        "polars_alf/walk/lister.py",
        "            into.report(path, IssueKind.UNREADABLE_FILE, message, number)\n",
        "            str(message)\n",
        (f"{PART}[ahead-stat-ENAMETOOLONG-a/Subjects/S1/2020-01-01/001]",),
    ),
    Mutation(
        "what could not be listed counts as removed",
        "polars_alf/index/changes.py",
        "kinds = [str(kind) for kind in HIDING]",
        "kinds = []",
        (f"{PART}[serial-open-EIO-a/Subjects/S1/2020-01-01/001]",),
    ),
    Mutation(
        "ids are new where the old ones cannot be read",
        "polars_alf/tables/contract.py",
        "    if unread and not found:\n",
        "    if False:\n",
        (f"{STORAGE}::test_ids_are_kept_though_what_names_them_cannot_be_read[EIO-open]",),
    ),
    Mutation(
        "what could not be replaced stays in the state",
        "polars_alf/tables/files.py",
        "            beside.unlink()\n",
        "            pass\n",
        (f"{CALLS}[refresh-fsync-EMFILE-from_then_on]", f"{CALLS}[merge-fsync-ESTALE-once]"),
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
        "polars_alf/tables/journal.py",
        "        write_durably(folder / STATE_DIR / _JOURNAL, json.dumps(asdict(journal)))\n"
        "        recover(folder)\n",
        "        _put_in_place(folder, folder / STATE_DIR / journal.staging, journal, None)\n",
        (f"{STEP}[0-refresh]", f"{STEP}[0-merge]"),
    ),
    Mutation(
        "removals are not announced",
        "polars_alf/prune/apply.py",
        '    log.write({"event": BEFORE, **row, "to": '
        "_name_target(row, trash)} for row in batch)\n",
        "",
        (f"{KILLS}::test_a_prune_is_killed", f"{STEP}[1-prune]"),
    ),
    Mutation(
        "tables are written where they are read",
        "polars_alf/tables/journal.py",
        "                (staging / final.name).replace(final)\n",
        "                final.write_bytes((staging / final.name).read_bytes())\n"
        "                (staging / final.name).unlink()\n",
        (f"{READERS}[bytes-index]",),
    ),
    Mutation(
        "tables may be of two generations",
        "polars_alf/tables/contract.py",
        "    if len(ours) > 1:\n",
        "    if False:\n",
        ("tests/cache/test_files.py::test_tables_of_two_generations",),
    ),
    Mutation(
        "readers do not wait for ONE",
        "polars_alf/tables/consistent_read.py",
        "is_writing = is_written() or fingerprint_each_table(folder) != before\n",
        "is_writing = False\n",
        (f"{TOGETHER}::test_our_loader_waits_for_one",),
    ),
    Mutation(
        "several may write at once",
        "polars_alf/tables/transaction.py",
        "            stack.enter_context(hold_writer_lock(folder, state, patience))\n",
        "",
        (f"{TOGETHER}::test_two_writers_never_write_at_once",),
    ),
    Mutation(
        "files that go meanwhile stop the listing",
        "polars_alf/native/twin.py",
        "except OSError as error:\n                    self._report_error(",
        "except PermissionError as error:\n                    self._report_error(",
        (f"{MOVING}::test_what_stands_still_is_right",),
    ),
    Mutation(
        "what has changed since it was planned is removed",
        "polars_alf/prune/apply.py",
        "        change = _describe_change(row, folder.status(name))\n",
        "        change = None\n",
        ("tests/prune/test_folders.py::test_what_has_changed_is_kept",),
    ),
    Mutation(
        "what cannot be put in place is taken for what is there",
        "polars_alf/tables/journal.py",
        "                (staging / final.name).replace(final)\n",
        "                with contextlib.suppress(FileNotFoundError):\n"
        "                    (staging / final.name).replace(final)\n",
        ("tests/tables/test_transaction.py::test_a_commit_that_fails_halfway_is_finished_later",),
    ),
    Mutation(
        "conflicts stay where their tables do not",
        "polars_alf/tables/journal.py",
        "        _remove_old(folder, journal.removed, kept)\n",
        "",
        ("tests/merge/test_api.py::test_conflicts_go_with_the_tables_that_had_them",),
    ),
    Mutation(
        "a run that cannot be taken up stays",
        "polars_alf/index/checkpoint.py",
        "        shutil.rmtree(path, ignore_errors=True)  # by its new name",
        "        str(path)  # by its new name",
        (
            "tests/index/test_checkpoint.py::test_a_run_that_could_not_be_removed_goes_with_the_next",
        ),
    ),
    Mutation(
        "tables that go while they are opened are not expected",
        "polars_alf/query/scan.py",
        "    if name not in headers:\n",
        "    if False:\n",
        ("tests/merge/test_sources.py::test_a_table_that_goes_meanwhile_is_named",),
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
        "what was listed ahead in part counts as whole",
        "polars_alf/walk/ahead.py",
        "        if within.unexamined:",
        "        if False:",
        (f"{AHEAD}::test_what_there_was_no_room_for_is_listed_by_the_walk[_MOST_EXAMINED]",),
    ),
    Mutation(
        "what there was no time for ahead, in a session that was begun, is left out",
        "polars_alf/walk/intake.py",
        "                left += found.left\n",
        "",
        (f"{AHEAD}::test_a_session_of_which_a_part_was_listed_is_whole[3]",),
    ),
    Mutation(
        "what threads listed alone tells of the many that there are by now",
        "polars_alf/walk/concurrency.py",
        "if not self._is_fixed and n_threads in (None, self.size):",
        "if not self._is_fixed:",
        ("tests/walk/test_concurrency.py::test_visits_share_one_number_evenly[1]",),
    ),
    Mutation(
        "what was listed ahead seems to be listed when the walk begins",
        "polars_alf/walk/walker.py",
        "self.begun_ns = min(self.begun_ns, ahead.begun_ns)",
        "pass",
        (f"{AHEAD}::test_what_was_listed_ahead_is_as_old_as_its_listing",),
    ),
    Mutation(
        "what was listed ahead is listed again",
        "polars_alf/walk/walker.py",
        "            wanted = self._take_ahead(wanted)\n",
        "            pass\n",
        (f"{AHEAD}::test_what_is_listed_ahead_is_not_listed_again",),
    ),
    Mutation(
        "names may steer a terminal",
        "polars_alf/cli/output.py",
        "visible(text) if stream.isatty() else text",
        "text",
        (
            "tests/cli/test_output.py::test_names_do_not_steer_a_terminal",
            "tests/cli/test_output.py::test_errors_do_not_steer_a_terminal",
        ),
    ),
    Mutation(
        "names are spelt out for machines, too",
        "polars_alf/cli/output.py",
        "visible(text) if stream.isatty() else text",
        "visible(text)",
        ("tests/cli/test_output.py::test_names_do_not_steer_a_terminal",),
    ),
    Mutation(
        "a bench leaves what it wrote",
        "polars_alf/bench/folder.py",
        "            _remove(folder, plan, n_threads, warn)\n",
        "            pass\n",
        (f"{STORAGE}::test_bench_on_a_full_disk[4]",),
    ),
    Mutation(
        "what cannot be removed fills",
        "polars_alf/bench/folder.py",
        "        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):\n            raise\n",
        "",
        (f"{STORAGE}::test_what_bench_cannot_remove_is_named",),
    ),
    Mutation(
        "reports are written through links",
        "polars_alf/bench/results.py",
        "with replace_file(path) as file:",
        'with path.open("wb") as file:',
        ("tests/bench/test_results.py::test_a_report_is_written_through_no_link",),
    ),
    Mutation(
        "what a bench has left is taken for an archive",
        "polars_alf/walk/lister.py",
        " and not BENCH_FOLDER.fullmatch(name)",
        "",
        (BENCH_LEFT,),
    ),
    Mutation(
        "a bench deletes what others put beside its objects",
        "polars_alf/bench/objects.py",
        " if plan.has_file(key[n_before:])",
        "",
        (f"{CLOUD_BENCH}::test_only_what_was_written_is_deleted",),
    ),
    Mutation(
        "a bench leaves what it put into a bucket",
        "polars_alf/bench/objects.py",
        "                    run._remove(plan, warn)\n",
        "                    pass\n",
        (f"{CLOUD_BENCH}::test_other_bytes_than_were_put_are_found",),
    ),
    Mutation(
        "a bench writes to a bucket unasked",
        "polars_alf/bench/places.py",
        "    return find_kind(path) is Bucket\n",
        "    return False\n",
        (f"{CLOUD_BENCH}::test_a_bucket_is_only_read_unless_asked_otherwise",),
    ),
    Mutation(
        "what a bench has left is not named",
        "polars_alf/bench/api.py",
        "    for folder in place.find_others():\n",
        "    for folder in []:\n",
        (BENCH_LEFT,),
    ),
    Mutation(
        "calls take the encoding of names from the locale",
        "polars_alf/alf/root.py",
        "    check_encoding()\n",
        "",
        (f"{ENCODING}::test_calls_in_a_process_that_decodes_otherwise_are_refused[ascii]",),
    ),
    Mutation(
        "commands take the encoding of names from the locale",
        "polars_alf/__main__.py",
        "    restart_in_utf8()\n",
        "",
        (f"{ENCODING}::test_commands_see_the_names_that_are_there[ascii]",),
    ),
    Mutation(
        "arguments of a restart are those that Python has decoded",
        "polars_alf/alf/encoding.py",
        'Path("/proc/self/cmdline")',
        'Path("/nowhere")',
        (f"{ENCODING}::test_a_restart_keeps_the_process_and_its_arguments[euc_jp]",),
    ),
    Mutation(
        "what came from stdin is restarted",
        "polars_alf/alf/encoding.py",
        'if sys.argv[0] in ("", "-"):',
        "if False:",
        (f"{ENCODING}::test_what_cannot_be_restarted_is_refused",),
    ),
    Mutation(
        "worker processes take the encoding of names from the locale",
        "polars_alf/parallel/executors.py",
        ' | {"PYTHONUTF8": "1"}',
        "",
        (f"{ENCODING}::test_workers_decode_names_as_their_caller_does",),
    ),
    Mutation(
        "folders with issues are taken as they were",
        "polars_alf/index/shard.py",
        'if listings["mtime_ns"].has_nulls():',
        "if False:",
        ("tests/index/test_changed.py::test_folders_with_issues_are_listed_each_time",),
    ),
    Mutation(
        "a quick index takes a shard in which something changed as it was",
        "polars_alf/index/shard.py",
        "if not self.is_checked:",
        "if False:",
        ("tests/index/test_quick.py::test_quick_lists_what_changed[False]",),
    ),
    Mutation(
        "new folders of a shard that is as it was are not listed",
        "polars_alf/walk/intake.py",
        "return [(path, session) for path, session in wanted if path not in there]",
        "return []",
        ("tests/index/test_quick.py::test_quick_lists_a_new_date_alone",),
    ),
    Mutation(
        "a cluster's scheduler gets each task by itself",
        "polars_alf/parallel/cluster_tasks.py",
        "len(self._waiting) < self._n_at_once",
        "False",
        ("tests/parallel/test_cluster.py::test_the_scheduler_keeps_no_note_of_each_task",),
    ),
    Mutation(
        "workers of a cluster take the encoding of names from the locale",
        "polars_alf/parallel/cluster_tasks.py",
        "if not decodes_utf8():",
        "if False:",
        ("tests/parallel/test_cluster.py::test_a_worker_that_decodes_names_otherwise_is_told_of",),
    ),
    Mutation(
        "a writer that was replaced commits",
        "polars_alf/tables/journal.py",
        "    check_writer_lock(folder)\n",
        "",
        (f"{LOCK}::test_a_restore_that_was_taken_for_dead_commits_nothing",),
    ),
    Mutation(
        "a writer of another machine shows no sign of life",
        "polars_alf/tables/writer_lock.py",
        "                _touch(self.path)\n",
        "                pass\n",
        (f"{LOCK}::test_a_writer_of_another_machine_is_named",),
    ),
    Mutation(
        "unbuffered streams are buffered",
        "polars_alf/cli/streams.py",
        "_Unbuffered if is_unbuffered else io.BufferedWriter",
        "io.BufferedWriter",
        ("tests/cli/test_streams.py::test_a_line_of_progress_reaches_a_pipe_as_it_is_written",),
    ),
    Mutation(
        "JSON has escapes of Python",
        "polars_alf/cli/streams.py",
        "errors=ESCAPE",
        'errors="backslashreplace"',
        ("tests/cli/test_app.py::test_json_is_json_on_a_terminal_that_lacks_names",),
    ),
    Mutation(
        "codes of all shards are those of the first",
        "polars_alf/index/coded_paths.py",
        "            starts.append(len(codes))\n",
        "            starts.append(0)\n",
        ("tests/index/test_coded_paths.py::test_shards_share_texts",),
    ),
    Mutation(
        "codes of texts that are not in use stay",
        "polars_alf/arrow.py",
        "    places = is_used.cum_sum().cast(pl.Int32) - 1\n",
        "    places = is_used.cum_sum().cast(pl.Int32)\n",
        ("tests/test_arrow.py::test_codes_stay_codes_of_what_is_used",),
    ),
    Mutation(
        "sessions of a collection count once a part",
        "polars_alf/query/groups.py",
        'some.select("key", name).unique()',
        'some.select("key", name)',
        ("tests/query/test_groups.py::test_sums_of_parts_are_those_of_all",),
    ),
    Mutation(
        "sessions that ONE cannot tell apart are not dropped",
        "polars_alf/index/merge.py",
        '    doubles = order.filter(pl.col("key_hash").is_duplicated())\n',
        '    doubles = order.filter(pl.struct("high", "low").is_duplicated())\n',
        (f"{MERGED}[spellings0-True]",),
    ),
    Mutation(
        "of 001 and 1 the one without zeros stays",
        "polars_alf/tables/rows.py",
        '        -session.str.extract(r"([^/]*)$").str.len_chars().cast(pl.Int64),\n',
        '        session.str.extract(r"([^/]*)$").str.len_chars(),\n',
        (f"{MERGED}[spellings0-True]",),
    ),
    Mutation(
        "a rename to a number that is taken is advised",
        "polars_alf/index/merge.py",
        "    return frame.filter(~is_renaming).to_arrow().cast(ISSUES)\n",
        "    return issues\n",
        (f"{MERGED}[spellings0-True]",),
    ),
    Mutation(
        "equal inodes of another device keep digests",
        "polars_alf/index/changes.py",
        "    has_moved = ~is_same | (pl.lit(not (same_device or ignore_inode)))\n",
        "    has_moved = ~is_same\n",
        (f"{SNAPSHOT}::test_other_inodes_or_another_device_are_told_and_can_be_ignored",),
    ),
    Mutation(
        "digests of files just written are relied on",
        "polars_alf/index/changes.py",
        '    is_proven = is_alike & ~has_moved & ~pl.col("is_young")\n',
        "    is_proven = is_alike & ~has_moved\n",
        (f"{SNAPSHOT}::test_a_file_of_this_moment_is_digested_again",),
    ),
    Mutation(
        "answers are written into archives",
        "polars_alf/tables/output.py",
        "        if place.is_relative_to(archive):\n",
        "        if False:\n",
        (f"{OUTPUT}::test_tables_and_archives_stay_as_they_are_even_by_force",),
    ),
    Mutation(
        "answers replace files unasked",
        "polars_alf/tables/output.py",
        "    if not force:\n",
        "    if False:\n",
        (f"{OUTPUT}::test_other_files_are_replaced_by_force_alone",),
    ),
    Mutation(
        "what people wrote is not read from the tables that are there",
        "polars_alf/index/earlier.py",
        "    own = folder if there and not options.reset else None\n",
        "    own = None\n",
        (f"{KNOWN}::test_columns_of_every_type_are_kept",),
    ),
    Mutation(
        "columns keep their names while rows are joined",
        "polars_alf/tables/foreign.py",
        '_MARK = "+"',
        '_MARK = ""',
        (f"{KNOWN}::test_columns_of_every_type_are_kept",),
    ),
    Mutation(
        "rows of known tables are not read before the walk",
        "polars_alf/index/known_tables.py",
        "            _check_rows(tables)\n",
        "",
        (f"{KNOWN}::test_damage_is_replaced_with_a_warning",),
    ),
    Mutation(
        "a wrong value costs all that was written",
        "polars_alf/index/earlier.py",
        "        if isinstance(error.__cause__, pl.exceptions.InvalidOperationError):\n",
        "        if False:\n",
        (f"{KNOWN}::test_a_wrong_value_does_not_cost_the_others",),
    ),
    Mutation(
        "what is left of a call above the dates is a session",
        "polars_alf/walk/walker.py",
        "stack += [(directory, taken[origin][1]) for",
        'stack += [(directory, taken[origin][1] or "") for',
        ("tests/walk/test_prefetch.py::test_listings_that_are_cut_short_lose_nothing",),
    ),
    Mutation(
        "a wait for a processor is taken for one for the storage",
        "polars_alf/native/effort.py",
        "            off -= _take_delay()\n",
        "            _take_delay()\n",
        ("tests/native/test_effort.py::test_waiting_for_a_processor_is_not_being_blocked",),
    ),
    Mutation(
        "threads that others keep from their work become more",
        "polars_alf/walk/concurrency.py",
        "            return _NEITHER * most, rate\n",
        "            return busy, rate\n",
        (
            "tests/walk/test_concurrency.py::"
            "test_threads_that_others_keep_from_their_work_stay_as_many",
        ),
    ),
    Mutation(
        "a session is lost with the directory that hangs",
        "polars_alf/walk/prefetch.py",
        "                if not directory.is_alone:\n",
        "                if False:\n",
        ("tests/walk/test_prefetch.py::test_what_hangs_is_an_issue_and_the_rest_is_there",),
    ),
    Mutation(
        "what lies below folders that a pattern takes back is excluded",
        "polars_alf/walk/exclusion.py",
        "        if regex == _ANY_FOLDER:\n",
        "        if False:\n",
        (
            "tests/walk/test_options.py"
            "::test_patterns_of_folders_take_back_what_those_of_names_exclude",
        ),
    ),
    Mutation(
        "sessions of a database that are not on this disk go",
        "polars_alf/index/known_rows.py",
        "        if len(missing):\n",
        "        if False:\n",
        (f"{DATABASES}::test_rows_that_are_not_on_this_disk_stay",),
    ),
    Mutation(
        "datasets of a database that are not on this disk go",
        "polars_alf/index/known_datasets.py",
        '        if known["keeps_missing"].any():\n',
        "        if False:\n",
        (f"{DATABASES}::test_rows_that_are_not_on_this_disk_stay",),
    ),
    Mutation(
        "an index forgets the database that its tables come from",
        "polars_alf/index/write.py",
        "[str(root), *known.databases] if known else",
        "[str(root)] if known else",
        (f"{DATABASES}::test_rows_that_are_not_on_this_disk_stay",),
    ),
    Mutation(
        "rows of a database share an id that stands for several",
        "polars_alf/index/known_datasets.py",
        'id=pl.when("is_usable").then("known").otherwise("own"))',
        'id=pl.col("known"))',
        (f"{DATABASES}::test_ids_that_cannot_be_used",),
    ),
    Mutation(
        "verify misses the sessions of a database that are elsewhere",
        "polars_alf/verify/tables.py",
        "    if any(header.databases for header in headers.values()):\n",
        "    if False:\n",
        (f"{DATABASES}::test_verify_and_prune_know_such_rows",),
    ),
    Mutation(
        "a merge loses what only a duplicate says",
        "polars_alf/merge/duplicates.py",
        '            pl.coalesce(_says(column), f"{column}_taken", column).alias(column)\n',
        "            pl.col(column)\n",
        ("tests/merge/test_foreign.py::test_what_the_kept_row_lacks_is_taken_along",),
    ),
    Mutation(
        "merged tables have nulls where ONE cannot read them",
        "polars_alf/tables/foreign.py",
        "column if value is None else column.fill_null(pl.lit(value))",
        "column",
        ("tests/tables/test_foreign.py::test_columns_that_one_reads_have_no_nulls",),
    ),
    Mutation(
        "a damaged table stays where nothing has changed in the archive",
        "polars_alf/index/repeat.py",
        "        or find_damage(folder)\n",
        "",
        ("tests/index/test_quick.py::test_a_damaged_table_is_replaced",),
    ),
    Mutation(
        "tables stay where only folders without datasets changed",
        "polars_alf/index/write.py",
        "            and basis.snapshot.has_shards(self.run.shards)\n",
        "",
        (f"{REPEAT}[a new folder in a session]",),
    ),
    Mutation(
        "tables stay where what the last index found is lost",
        "polars_alf/index/write.py",
        "            and has_issues(folder, issues)\n",
        "",
        (f"{REPEAT}[no issues]",),
    ),
    Mutation(
        "tables stay where the namespace of their ids is nowhere else",
        "polars_alf/index/repeat.py",
        "        or not _has_namespace(folder, basis.namespace)\n",
        "",
        (f"{REPEAT}[no namespace]",),
    ),
    Mutation(
        "a damaged table that nobody wrote in is replaced without a word",
        "polars_alf/index/known_tables.py",
        "        raise damage[0]\n",
        "        pass\n",
        (f"{KNOWN}::test_damage_to_what_nobody_wrote_in_is_cured_with_a_warning",),
    ),
    Mutation(
        "a table that is put back damaged is not told of",
        "polars_alf/tables/undo.py",
        "        warn_caller(str(damage), TableWarning)\n",
        "        pass\n",
        ("tests/tables/test_generations.py::test_a_table_that_is_put_back_damaged_is_told_of",),
    ),
    Mutation(
        "ids of one session that begin alike are in any order",
        "polars_alf/tables/rows.py",
        "    if has_ties or ",
        "    if ",
        ("tests/tables/test_rows.py::test_ids_sort_by_all_their_bits_within_their_session",),
    ),
]
"""Add to it: what a suite is there for should be in here."""


def main(names: list[str]) -> int:
    if names in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if names == ["--check"]:
        unfit = find_unfit()
        print("\n".join(unfit) or f"{len(MUTATIONS)} mutations fit")
        return bool(unfit)
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


def find_unfit() -> list[str]:
    """Return a line for each mutation that does not fit the code, and each test that is missing."""
    lines = []
    for mutation in MUTATIONS:
        try:
            mutate(REPOSITORY, mutation)
        except (OSError, SyntaxError, ValueError) as error:
            lines.append(f"{mutation.name}: {error}")
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    tests = sorted({test for mutation in MUTATIONS for test in mutation.tests})
    found = subprocess.run([*command, *tests], cwd=REPOSITORY, capture_output=True, text=True)
    missing = [line for line in found.stderr.splitlines() if line.startswith("ERROR: ")]
    if found.returncode and not missing:
        raise SystemExit(f"pytest could not run: {found.stdout}{found.stderr}")
    return lines + missing


def mutate(folder: Path, mutation: Mutation) -> str:
    """Return the text of a file with a mutation; raise ValueError where it does not fit."""
    path = folder / mutation.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(mutation.old) != 1:
        n_times = whole.count(mutation.old)
        raise ValueError(f"{mutation.file} has {mutation.old!r} {n_times} times, not once")
    mutated = whole.replace(mutation.old, mutation.new)
    compile(mutated, path, "exec")  # what is no Python fails any test
    return mutated


def judge(clone: Path, mutation: Mutation) -> Outcome:
    """Return what tests say of it; ``stale`` if it does not fit."""
    path = clone / mutation.file
    try:
        mutated = mutate(clone, mutation)
    except (OSError, ValueError):
        return Outcome("stale")
    whole = path.read_text(encoding="utf-8")
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
    environment["POLARS_ALF_NATIVE"] = "0"  # the extension is of the sources without mutations
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
