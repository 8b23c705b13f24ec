"""Results in a line, and in a notebook: short, however much they hold."""

from __future__ import annotations

import pydoc
import re
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage import measure_quickly
from trees import SESSION, make_tree

import polars_alf
from polars_alf.display import Shown, describe_size


class Texts(HTMLParser):
    """The texts in a piece of HTML, whose tags all end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.depth = 0
        self.feed(text)
        self.close()
        assert self.depth == 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def list_results(archive: Path) -> list[object]:
    """Return a result of each kind about an archive."""
    part, pairs = (make_tree(archive.parent / name, {}) for name in ("part", "pairs"))
    make_tree(archive, {"cortexlab/Subjects/KS001/2021-13-45/001": SESSION})
    reports = [polars_alf.index_archive(archive, restart=restart) for restart in (False, True)]
    return [
        *reports,
        polars_alf.summarize_tables(archive),
        polars_alf.compare_tables(archive, archive),
        polars_alf.verify_archive(archive),
        polars_alf.merge_tables([archive]),
        polars_alf.restore_tables(archive),
        polars_alf.check_archive(archive),
        polars_alf.write_insertions(archive),
        polars_alf.subset_tables(archive, part, where="true"),
        polars_alf.publish_tables(part),
        polars_alf.verify_manifest(part / "manifest.json"),
        polars_alf.split_tables(archive, by="subject", out=pairs),
    ]


def test_whatever_a_function_returns_is_shown_in_a_line() -> None:
    functions = [getattr(polars_alf, name) for name in polars_alf.__all__ if name.islower()]
    returned = {str(getattr(f, "__annotations__", {}).get("return")) for f in functions}
    classes = {name: getattr(polars_alf, name) for name in returned & {*polars_alf.__all__}}
    assert len(classes) >= 14
    pages = {"ArchivePage"}  # which Jupyter shows whole
    assert [name for name in classes if not issubclass(classes[name], Shown)] == [*pages]


@pytest.mark.slow
def test_results_are_a_line_and_a_table(archive: Path) -> None:
    for result in list_results(archive):
        line = repr(result)
        assert line.startswith(f"<{type(result).__name__}: ")
        assert "\n" not in line
        assert len(line) < 300 + len(str(archive))
        texts = Texts(result._repr_html_()).texts  # type: ignore[attr-defined]
        assert texts[0] == type(result).__name__
        assert all(text in line for text in texts)


@pytest.mark.slow
def test_the_line_of_an_index_says_what_it_found(archive: Path) -> None:
    first, *_ = list_results(archive)
    shown = re.sub(r"time [\d.]+ s", "time T", repr(first))
    assert shown == (
        "<IndexReport: sessions 4, datasets 12, size 244 bytes, issues 3 outside_session and 1 "
        f"invalid_date, changes first index, time T, tables {archive}>"
    )


def test_the_line_of_a_measurement_has_what_is_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    report = measure_quickly(tmp_path, operations=["index"], name="nas")
    assert repr(report).startswith("<StorageReport: storage nas, folder ")
    assert "best jobs 1, threads 1" in repr(report)


@given(name=st.text(min_size=1), value=st.text())
def test_names_cannot_become_markup(name: str, value: str) -> None:
    class Result(Shown):
        def _list_figures(self) -> dict[str, object]:
            return {name: f"<b>{value}"}

    text = Result()._repr_html_()
    assert "<b>" not in text
    assert text.count("<") == 12


@given(st.integers(0, 2**70))
def test_sizes_have_few_digits(n_bytes: int) -> None:
    number, unit = describe_size(n_bytes).split()
    assert (unit == "byte") == (n_bytes == 1)
    units = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
    factor = 1000.0 ** units.index("bytes" if unit == "byte" else unit)
    assert float(number.replace(",", "")) * factor == pytest.approx(n_bytes, abs=0.06 * factor)


@pytest.mark.slow
def test_errors_are_there_without_an_import() -> None:
    code = (
        "import polars_alf\n"
        "try: polars_alf.scan_sessions('nowhere')\n"
        "except polars_alf.errors.ArchiveNotFoundError: print(polars_alf.schema.TABLES.keys())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "dict_keys(['sessions', 'datasets'])\n", result.stderr
    assert {"errors", "schema", "report"} <= set(dir(polars_alf))


def test_help_gives_an_overview() -> None:
    text = pydoc.plain(pydoc.render_doc(polars_alf))
    overview = text.partition("PACKAGE CONTENTS")[0]
    functions = [name for name in polars_alf.__all__ if name.islower() and name[0] != "_"]
    for name in functions:
        assert f"`{name}`" in overview, f"the overview lacks {name}"


@pytest.mark.slow
def test_issues_and_changes_of_a_folder(archive: Path) -> None:
    list_results(archive)
    kinds = polars_alf.scan_issues(str(archive)).group_by("kind").len().sort("kind").collect()
    assert kinds.rows() == [("invalid_date", 1), ("outside_session", 3)]
    (archive / "wittenlab/Subjects/KS001/2020-01-01/001/alf/spikes.times.npy").unlink()
    polars_alf.index_archive(archive)
    changes = polars_alf.scan_changes(archive).select("change", pl.col("previous_size")).collect()
    assert changes.rows() == [("removed", 20)]


def test_functions_go_into_a_pipe(archive: Path) -> None:
    polars_alf.index_archive(archive)
    sessions = polars_alf.scan_sessions(archive)
    piped = (
        polars_alf.scan_datasets(archive)
        .pipe(polars_alf.join_sessions, sessions)
        .pipe(polars_alf.with_alf_parts)
        .filter(pl.col("object") == "spikes")
    )
    assert set(piped.collect()["subject"]) == {"KS001", "KS002"}


@pytest.mark.slow
def test_warnings_name_the_line_of_who_calls(tmp_path: Path) -> None:
    tables, part, merged = (make_tree(tmp_path / name, {}) for name in ("tables", "part", "merged"))
    archive = make_tree(tmp_path / "archive", {"S/2020-01-01/001": SESSION})
    listed = tmp_path / "changed"
    listed.write_text(f"{archive}/S\n")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        polars_alf.index_archive(tmp_path / "part", tables)
        (tables / "sessions.pqt").unlink()
        polars_alf.index_archive(archive, tables, changed_from=listed, jobs=1)
        polars_alf.subset_tables(tables, part, where="false")
        (merged / "datasets.pqt").write_bytes(b"no table")
        polars_alf.merge_tables([tables], merged)
        make_tree(archive, {"S/2020-01-01/1": {"alf/more.times.npy": 1}})
        polars_alf.index_archive(archive, tables)
        polars_alf.plan_removals(archive, tables)
    assert {note.filename for note in notes} == {__file__}
    assert len({note.lineno for note in notes}) >= 5
