"""Tables that a commit replaced: kept whole, without a copy and without a gap, and put back."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from amount import count_examples
from cut_commits import STAGES, kill_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from indexes import read_tables
from table_frames import make_datasets, make_sessions, write_tables
from trees import SESSION, check_state, list_state, make_tree

from polars_alf import index_archive, merge_tables, read_history, restore_tables, scan_changes
from polars_alf.errors import CommitError, OptionError, TableNotFoundError, TableWarning
from polars_alf.index.report import read_run
from polars_alf.tables import files, journal, transaction
from polars_alf.tables.keep import KEEP

NEW = {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION}

Content = dict[str, bytes]


def read_pair(folder: Path) -> Content:
    """Return the bytes of the tables of a folder by their names."""
    return {path.name: path.read_bytes() for path in folder.glob("*.pqt")}


def list_kept(folder: Path) -> list[Path]:
    """Return the folders of the generations that are kept."""
    return sorted((folder / files.STATE_DIR).glob("generation-*"))


@pytest.fixture(params=["links", "no links"])
def linking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system has hard links."""
    if request.param == "no links":
        monkeypatch.setattr(os, "link", refuse)
    return bool(request.param == "links")


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def test_what_an_index_replaces_is_kept_whole(tables: Path, linking: bool) -> None:
    before, run = read_pair(tables), read_run(tables)
    inodes = {path.name: path.stat().st_ino for path in tables.glob("*.pqt")}
    make_tree(tables, NEW)
    index_archive(tables)
    (kept,) = list_kept(tables)
    assert read_pair(kept) == before
    assert {path.name: path.stat().st_ino for path in kept.glob("*.pqt")} == inodes, "no copy"
    assert run
    assert kept.name == f"generation-{run['generation']}"
    assert {"issues.arrow", "report.json", *before} <= {path.name for path in kept.iterdir()}
    assert not set(inodes.values()) & {path.stat().st_ino for path in tables.glob("*.pqt")}
    check_state(tables)


def test_restore_twice_changes_nothing(tables: Path, linking: bool) -> None:
    first, first_state = read_pair(tables), read_state(tables)
    make_tree(tables, NEW)
    index_archive(tables)
    second, second_state = read_pair(tables), read_state(tables)
    restored = restore_tables(tables)
    assert (restored.n_sessions, restored.n_datasets) == (4, 12)
    assert read_pair(tables) == first
    assert read_state(tables) == first_state
    assert restore_tables(tables).generation == restored.replaced
    assert read_pair(tables) == second
    assert read_state(tables) == second_state
    check_state(tables)


def read_state(folder: Path) -> dict[str, bytes]:
    """Return all of the state that tells of the current generation."""
    state = folder / files.STATE_DIR
    return {
        path.relative_to(state).as_posix(): path.read_bytes()
        for path in state.rglob("*")
        if path.is_file()
        and path.name != "history.jsonl"
        and not path.name.startswith("lock-")
        and not path.relative_to(state).parts[0].startswith("generation-")
    }


def test_a_table_that_is_put_back_damaged_is_told_of(tables: Path) -> None:
    content = (tables / "datasets.pqt").read_bytes()
    index_archive(tables, restart=True)
    (kept,) = list_kept(tables)
    (kept / "datasets.pqt").write_bytes(content[:4] + bytes(64) + content[68:])
    with pytest.warns(TableWarning, match=r"datasets\.pqt is damaged: .*index the archive again"):
        restore_tables(tables)
    with pytest.warns(TableWarning, match="it will be replaced"):
        index_archive(tables)
    assert (tables / "datasets.pqt").stat().st_size == len(content)


def test_an_index_after_a_restore_is_right(archive: Path, out_dir: Path) -> None:
    changed = archive / "cortexlab/Subjects/KS001/2020-01-01/001/alf/spikes.times.npy"
    for path in archive.rglob("*"):
        os.utime(path, (1, 1))
    index_archive(archive, out_dir, hash_files=True)
    first = read_tables(out_dir)[1]
    changed.write_bytes(b"second")
    os.utime(changed, (2, 2))
    make_tree(archive, NEW)
    index_archive(archive, out_dir, hash_files=True)
    second = read_tables(out_dir)[1]
    restore_tables(out_dir)
    assert read_tables(out_dir)[1].equals(first)
    report = index_archive(archive, out_dir, hash_files=True)
    assert report.changes == {
        "added": 3, "changed": 1, "removed": 0, "unreadable": 0, "unchanged": 11,
    }  # fmt: skip
    assert read_tables(out_dir)[1].equals(second), "the same ids and digests"
    restore_tables(out_dir)
    quick = index_archive(archive, out_dir, quick=True, hash_files=True)
    assert quick.changes == report.changes
    assert read_tables(out_dir)[1].equals(second)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0, 1, 2, 3])
def test_so_many_generations_are_kept(tables: Path, keep: int) -> None:
    contents = [read_pair(tables)]
    for _ in range(3):
        index_archive(tables, keep_generations=keep, restart=True)
        contents.append(read_pair(tables))
    kept = [read_pair(path) for path in list_kept(tables)]
    expected = contents[-1 - keep : -1]
    assert len(kept) == keep
    assert all(pair in kept for pair in expected), "those replaced last"
    for pair in reversed(expected[-1:]):
        restore_tables(tables)
        assert read_pair(tables) == pair
    if keep:
        index_archive(tables, keep_generations=0)
    assert list_kept(tables) == []
    with pytest.raises(TableNotFoundError, match="keep_generations"):
        restore_tables(tables)


def test_any_generation_can_be_put_back(tables: Path) -> None:
    first = read_pair(tables)
    name = str(read_history(tables)["generation"][0])
    for _ in range(2):
        index_archive(tables, keep_generations=3, restart=True)
    restore_tables(tables, name)
    assert read_pair(tables) == first
    assert len(list_kept(tables)) == 2, "the one that was there is kept in turn"
    with pytest.raises(OptionError, match="those kept are"):
        restore_tables(tables, name)


@pytest.mark.slow
def test_hashing_anew_leaves_the_way_back_before_a_change(tables: Path) -> None:
    before = read_pair(tables)
    make_tree(tables, {"cortexlab/Subjects/KS001/2020-01-01/001/alf/new.times.npy": 7})
    assert index_archive(tables).changes["added"] == 1
    changed = str(read_history(tables)["generation"][-1])
    index_archive(tables, hash_files=True)
    assert scan_changes(tables).collect().is_empty()
    assert scan_changes(tables, changed[:8]).collect()["change"].to_list() == ["added"]
    for _ in range(2):
        index_archive(tables)
        contents = [read_pair(path) for path in list_kept(tables)]
        assert len(contents) == 2, "the one replaced, and the last with other files"
        assert before in contents
    make_tree(tables, {"cortexlab/Subjects/KS001/2020-01-01/001/alf/newer.times.npy": 7})
    index_archive(tables)
    assert before not in [read_pair(path) for path in list_kept(tables)]
    assert len(list_kept(tables)) == 1
    with pytest.raises(OptionError, match="those kept are"):
        scan_changes(tables, "x")


@pytest.mark.parametrize("keep", [-1, True, 1.5, "1"])
def test_a_number_of_generations_is_checked(tables: Path, keep: object) -> None:
    before = read_pair(tables)
    for run in (index_archive, lambda *given, **more: merge_tables([given[0]], given[0], **more)):
        with pytest.raises(OptionError, match="keep_generations"):
            run(tables, keep_generations=keep)
    assert read_pair(tables) == before


# Whoever wrote them


def write_foreign(folder: Path) -> None:
    sessions, datasets = make_sessions([("e", "KS")]), make_datasets([("e", "d", "a.b.npy", 1)])
    sessions.write_parquet(folder / "sessions.pqt")
    datasets.with_columns(default_revision=True).write_parquet(folder / "datasets.pqt")


def damage_both(folder: Path) -> None:
    for path in folder.glob("*.pqt"):
        path.write_bytes(path.read_bytes()[:100])


WRITERS: dict[str, Callable[[Path], None]] = {
    "a database": write_foreign,
    "one table of a database": lambda f: (write_foreign(f), (f / "sessions.pqt").unlink())[0],
    "nobody: damage": damage_both,
    "nobody: one table is damaged": lambda f: (f / "datasets.pqt").write_bytes(b"junk") and None,
    "nobody: one table is gone": lambda f: (f / "sessions.pqt").unlink(),
    "nobody: one table is empty": lambda f: (f / "sessions.pqt").write_bytes(b"") and None,
}


@pytest.mark.slow
@pytest.mark.parametrize("is_indexed", [True, False])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tables_are_kept_whoever_wrote_them(
    archive: Path, out_dir: Path, linking: bool, writer: str, is_indexed: bool
) -> None:
    if is_indexed:
        index_archive(archive, out_dir)
    elif "damage" in writer or "nobody" in writer:
        write_foreign(out_dir)
    WRITERS[writer](out_dir)
    written = read_pair(out_dir)
    index_archive(archive, out_dir, max_removed=1.0)
    (kept,) = list_kept(out_dir)
    assert read_pair(kept) == written
    ours = read_pair(out_dir)
    restore_tables(out_dir)
    assert read_pair(out_dir) == written
    statuses = read_history(out_dir).select("run", "status").rows()
    assert statuses[-1] == ("restore", "current")
    restore_tables(out_dir)
    assert read_pair(out_dir) == ours
    index_archive(archive, out_dir, max_removed=1.0)
    assert read_tables(out_dir)[1].height == 12


def test_tables_that_one_saved_are_kept(archive: Path) -> None:
    one_api = pytest.importorskip("one.api")
    index_archive(archive)
    one = one_api.One(cache_dir=archive, mode="local")
    one._cache["sessions"]["projects"] = "people wrote this"
    one.save_cache(save_dir=archive, clobber=True)
    written = read_pair(archive)
    index_archive(archive)
    restore_tables(archive)
    assert read_pair(archive) == written
    assert pl.read_parquet(archive / "sessions.pqt")["projects"].unique().item()


def test_issues_of_other_tables_do_not_stay(archive: Path, out_dir: Path) -> None:
    make_tree(archive, {"cortexlab/Subjects/KS001/2021-13-45/001": SESSION})
    write_foreign(out_dir)
    with pytest.warns(UserWarning, match="another program"):
        index_archive(archive, out_dir, max_removed=1.0)
    assert files.issues_path(out_dir).exists()
    restore_tables(out_dir)
    state = {name.partition("-")[0] for name in list_state(out_dir)}
    assert state == {"generation", "history.jsonl", "lock", "namespace"}
    restore_tables(out_dir)
    assert len(files.scan_issues(out_dir).collect()) > 0


def test_a_merge_into_one_of_its_folders_is_undone(archive: Path, tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder, lab in ((first, "cortexlab"), (second, "wittenlab")):
        folder.mkdir()
        index_archive(archive / lab, folder)
    written, state = read_pair(first), read_state(first)
    with pytest.warns(UserWarning, match="namespaces"):
        merge_tables([first, second], first)
    merged, merged_state = read_pair(first), read_state(first)
    assert restore_tables(first).n_datasets == pl.read_parquet(first / "datasets.pqt").height
    assert (read_pair(first), read_state(first)) == (written, state)
    assert read_run(first), "the report is of these tables"
    assert index_archive(archive / "cortexlab", first).changes == {
        "added": 0, "changed": 0, "removed": 0, "unreadable": 0, "unchanged": 9,
    }  # fmt: skip
    restore_tables(first)
    with pytest.warns(UserWarning, match="namespaces"):
        merge_tables([first, second], first)
    merged, merged_state = read_pair(first), read_state(first)
    restore_tables(first)
    restore_tables(first)
    assert (read_pair(first), read_state(first)) == (merged, merged_state)


def test_tables_that_were_removed_come_back(tables: Path) -> None:
    first = read_pair(tables)
    index_archive(tables, restart=True)
    for path in tables.glob("*.pqt"):
        path.unlink()
    restored = restore_tables(tables)
    assert restored.replaced is None
    assert read_pair(tables) == first
    assert list_kept(tables) == []


def test_a_first_index_keeps_nothing(archive: Path) -> None:
    index_archive(archive)
    assert list_kept(archive) == []
    (archive / "sessions.pqt").unlink()
    (archive / "datasets.pqt").unlink()
    index_archive(archive)
    assert list_kept(archive) == []


def test_one_reads_no_table_of_an_earlier_generation(tables: Path) -> None:
    cache = pytest.importorskip("one.alf.cache")
    make_tree(tables, NEW)
    index_archive(tables)
    loaded = cache.load_tables(tables)
    assert {*loaded} == {"sessions", "datasets", "_meta"}
    assert len(loaded["sessions"]) == 5


# Without a gap


@pytest.mark.parametrize("act", [index_archive, restore_tables])
def test_no_table_is_missing_at_any_moment(
    tables: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], object]
) -> None:
    make_tree(tables, NEW)
    index_archive(tables)
    wholes = [{name: pair[name] for name in pair} for pair in map(read_pair, [tables])]
    wholes += map(read_pair, list_kept(tables))
    n_looks = 0

    def look() -> None:
        nonlocal n_looks
        now = read_pair(tables)
        n_looks += 1
        assert now.keys() == {"sessions.pqt", "datasets.pqt"}, "neither is missing"
        if act is restore_tables:
            # What both are made of is there, under some name, at every moment.
            found = [now, *map(read_pair, list_kept(tables))]
            for whole in wholes:
                assert all(any(p.get(n) == whole[n] for p in found) for n in whole)

    for owner, name in ((Path, "replace"), (Path, "rename"), (Path, "unlink"), (os, "link")):
        monkeypatch.setattr(owner, name, watching(getattr(owner, name), look))
    make_tree(tables, {"cortexlab/Subjects/KS004/2020-01-01/001": SESSION})
    act(tables)
    assert n_looks > 8


def watching(function: Callable[..., object], look: Callable[[], None]) -> Callable[..., object]:
    def call(*arguments: object, **keywords: object) -> object:
        look()
        result = function(*arguments, **keywords)
        look()
        return result

    return call


# Cut off


class Killed(BaseException):
    """The end of a process between two of its calls."""


def run_until(tables: Path, act: Callable[[Path], object], n_calls: int) -> bool:
    """Run something whose process ends before its n-th call that changes names."""
    calls = 0

    def counting(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **keywords: object) -> object:
            nonlocal calls
            calls += 1
            if calls > n_calls:
                raise Killed
            return function(*arguments, **keywords)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, names in (
            (Path, ("replace", "rename", "unlink", "mkdir")),
            (os, ("link", "fsync")),
            (shutil, ("rmtree",)),
        ):
            for name in names:
                patch.setattr(owner, name, counting(getattr(owner, name)))
        try:
            act(tables)
        except Killed:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("by", ["reader", "run", "restore"])
def test_a_restore_that_is_cut_off_is_finished(
    archive: Path, tmp_path: Path, linking: bool, by: str
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    index_archive(archive, whole)
    first = read_pair(whole)
    make_tree(archive, NEW)
    index_archive(archive, whole)
    second = read_pair(whole)
    seen = set()
    for n_calls in range(100):
        folder = tmp_path / f"cut{n_calls}"
        shutil.copytree(whole, folder, copy_function=shutil.copy2)
        is_cut = run_until(folder, restore_tables, n_calls)
        if by == "restore" and journal.is_under_way(folder):
            restored = restore_tables(folder)
            assert (restored.n_datasets, read_pair(folder)) == (12, first), "not back again"
        elif by == "reader":
            transaction.wait_for_commit(folder)
        else:
            with transaction.locked_state(folder):
                pass
        assert not journal.is_under_way(folder)
        now = read_pair(folder)
        assert now in (first, second)
        (kept,) = list_kept(folder)
        assert read_pair(kept) == (second if now == first else first), "the other one is whole"
        seen.add(now == first)
        runs = read_history(folder)["run"].to_list()
        assert runs == ["index", "index", *["restore"] * (now == first)], "once, and if it was"
        restore_tables(folder)
        assert read_pair(folder) == (second if now == first else first)
        shutil.rmtree(folder)
        if not is_cut:
            break
    assert seen == {True, False}
    assert n_calls > 15


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_commit_that_is_cut_off_keeps_what_it_replaces(
    tmp_path: Path, linking: bool, keep: int
) -> None:
    frames = [
        (make_sessions([("e", f"S{n}")]), make_datasets([("e", "d", f"a{n}.b.npy", n)]))
        for n in range(4)
    ]
    sources = [write_tables(tmp_path / f"source{n}", pair) for n, pair in enumerate(frames)]
    whole = tmp_path / "whole"
    whole.mkdir()
    contents = []
    for source in sources[:3]:
        merge(source, whole, keep)
        contents.append(read_pair(whole))
    for n_calls in range(100):
        folder = tmp_path / f"cut{n_calls}"
        shutil.copytree(whole, folder, copy_function=shutil.copy2)
        is_cut = run_until(folder, lambda path: merge(sources[3], path, keep), n_calls)
        with transaction.locked_state(folder):
            transaction.discard_runs(folder)
        now = read_pair(folder)
        is_old = now == contents[-1]
        expected = contents[-1 - keep : -1] if is_old else contents[-keep:] if keep else []
        kept = [read_pair(path) for path in list_kept(folder)]
        assert len(kept) == len(expected)
        assert all(pair in kept for pair in expected)
        assert len(read_history(folder)) == (3 if is_old else 4)
        shutil.rmtree(folder)
        if not is_cut:
            break
    assert not is_old
    assert n_calls > 15


def merge(source: Path, folder: Path, keep: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        merge_tables([source], folder, keep_generations=keep)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_an_index_that_is_killed_keeps_what_it_replaces(tables: Path, stage: str) -> None:
    before = read_pair(tables)
    make_tree(tables, NEW)
    kill_at(stage, tables)
    transaction.wait_for_commit(tables)
    if stage == "before_journal":
        assert list_kept(tables) == []
        assert read_pair(tables) == before
    else:
        restore_tables(tables)
        assert read_pair(tables) == before


def test_a_table_that_cannot_be_replaced_is_neither_kept_nor_lost(
    tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_pair(tables)
    make_tree(tables, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        patch.setattr(journal, "write_durably", lambda path, text: path.write_text(text))
        patch.setattr(transaction, "write_durably", lambda path, text: path.write_text(text))
        with pytest.raises(CommitError, match="run again"):
            index_archive(tables, executor="serial")
    assert read_pair(tables) == before
    transaction.wait_for_commit(tables)
    assert pl.read_parquet(tables / "datasets.pqt").height == 15
    restore_tables(tables)
    assert read_pair(tables) == before


@pytest.mark.parametrize(
    "values", [{"kept": "../x"}, {"dropped": [".."]}, {"kept": 1}, {"records": [1]}, {"dropped": 3}]
)
def test_a_journal_that_names_other_folders_is_refused(tables: Path, values: object) -> None:
    steps = {"staging": f"run-{'0' * 32}", "files": [], "folders": {}, "removed": []}
    assert isinstance(values, dict)
    (tables / files.STATE_DIR / "commit.json").write_text(json.dumps(steps | values))
    with pytest.raises(CommitError, match=r"commit\.json"):
        restore_tables(tables)


def test_a_journal_of_an_earlier_version_is_finished(tables: Path) -> None:
    staging = tables / files.STATE_DIR / f"run-{'0' * 32}"
    staging.mkdir()
    shutil.copy(tables / "sessions.pqt", staging)
    (staging / "datasets.pqt").write_bytes(b"new")
    steps = {"staging": staging.name, "files": [], "folders": {}, "removed": ["conflicts.arrow"]}
    (tables / files.STATE_DIR / "commit.json").write_text(json.dumps(steps))
    transaction.wait_for_commit(tables)
    assert (tables / "datasets.pqt").read_bytes() == b"new"
    assert not staging.exists()


# Any order of runs


ACTIONS = ("index", "merge", "restore", "one writes", "damage", "remove one")


@pytest.mark.slow
@settings(
    max_examples=count_examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.booleans()), max_size=7))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nothing_that_is_replaced_is_lost(tmp_path: Path, actions: list[tuple[str, bool]]) -> None:
    base = Path(str(tmp_path / os.urandom(8).hex()))
    folder = make_tree(base / "archive", {"lab/Subjects/S/2020-01-01/001": SESSION})
    other = write_tables(base / "other", (make_sessions([("e", "O")]), make_datasets([])))
    replaced_last = None
    for number, (action, is_linking) in enumerate(actions):
        before = read_pair(folder)
        with pytest.MonkeyPatch.context() as patch:
            if not is_linking:
                patch.setattr(os, "link", refuse)
            if action == "index":
                index_archive(folder, restart=is_linking)
            elif action == "merge":
                merge_tables([other], folder)
            elif action == "restore" and list_kept(folder):
                wanted = [replaced_last] if replaced_last else [*map(read_pair, list_kept(folder))]
                restore_tables(folder)
                assert read_pair(folder) in wanted
                replaced_last = before  # nothing, if there were no tables
            elif action == "one writes":
                write_foreign(folder)
            elif action == "damage" and before:
                (folder / sorted(before)[number % len(before)]).write_bytes(b"damage %d" % number)
            elif action == "remove one" and before:
                (folder / sorted(before)[0]).unlink()
        if action in {"index", "merge"} and before and read_pair(folder) != before:
            assert before in map(read_pair, list_kept(folder))
            replaced_last = before
        if action == "restore" and before and list_kept(folder):
            assert before in map(read_pair, list_kept(folder))
        # The last that had other files is kept, too.
        assert len(list_kept(folder)) <= KEEP + 1
        if read_pair(folder):
            assert "current" in read_history(folder)["status"].to_list()
