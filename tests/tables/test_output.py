"""Files that commands write for people: over no table, archive or other file."""

from __future__ import annotations

from pathlib import Path

import pytest

from polars_alf import errors, index_archive
from polars_alf.tables.files import STATE_DIR
from polars_alf.tables.output import check_output

SESSION = "cortexlab/Subjects/KS001/2020-01-01/001"


@pytest.fixture
def tables(archive: Path, out_dir: Path) -> Path:
    index_archive(archive, out_dir)
    return out_dir


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tables/sessions.pqt", "beside tables"),
        ("tables/answer.PQT", "beside tables"),
        (f"tables/{STATE_DIR}/report.json", "state of tables"),
        (f"tables/{STATE_DIR}/new/answer.csv", "state of tables"),
        ("archive/answer.csv", "in the archive"),
        (f"archive/{SESSION}/alf/spikes.times.npy", "in the archive"),
        (f"tables/../archive/{SESSION}/new.csv", "in the archive"),
        ("link/answer.csv", "in the archive"),
        ("tables", "no file"),
    ],
)
def test_tables_and_archives_stay_as_they_are_even_by_force(
    archive: Path, tables: Path, tmp_path: Path, name: str, message: str, force: bool
) -> None:
    (tmp_path / "link").symlink_to(archive)
    with pytest.raises(errors.OverwriteError, match=message) as raised:
        check_output(tmp_path / name, [tables], force=force)
    assert "give another --out" in str(raised.value)


def test_an_archive_is_known_by_the_tables_in_it(archive: Path, tmp_path: Path) -> None:
    index_archive(archive)
    for name in ("answer.csv", f"{SESSION}/alf/answer.csv"):
        with pytest.raises(errors.OverwriteError, match="in the archive"):
            check_output(archive / name)
    moved = archive.rename(tmp_path / "moved")
    for name in ("answer.csv", f"{SESSION}/alf/answer.csv"):
        with pytest.raises(errors.OverwriteError, match="in the archive"):
            check_output(moved / name, force=True)


def test_other_files_are_replaced_by_force_alone(tables: Path, tmp_path: Path) -> None:
    for folder in (tables, tmp_path):
        answer = folder / "answer.csv"
        check_output(answer, [tables])
        answer.write_text("1")
        with pytest.raises(errors.OverwriteError, match="add --force"):
            check_output(answer, [tables])
        check_output(answer, [tables], force=True)


def test_a_link_that_leads_nowhere_is_there_too(tmp_path: Path) -> None:
    (tmp_path / "answer.csv").symlink_to("nowhere")
    with pytest.raises(errors.OverwriteError, match="there already"):
        check_output(tmp_path / "answer.csv")


def test_what_is_no_file_is_never_replaced() -> None:
    with pytest.raises(errors.OverwriteError, match="no file"):
        check_output(Path("/dev/null"), force=True)
