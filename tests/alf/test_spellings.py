"""Old spellings of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import polars_alf


def test_old_spellings_go_on_working_with_a_note(archive: Path, out_dir: Path) -> None:
    old: Any = {"out_dir": out_dir, "n_jobs": 1}
    with pytest.warns(DeprecationWarning, match="is spelt") as notes:
        report = polars_alf.index_archive(archive, **old)
    assert sorted(str(note.message) for note in notes) == [
        "n_jobs of index_archive is spelt jobs now",
        "out_dir of index_archive is spelt out now",
    ]
    assert {note.filename for note in notes} == {__file__}
    assert (report.sessions_path.parent, report.n_jobs) == (out_dir, 1)


def test_both_spellings_at_once_are_refused(archive: Path) -> None:
    old: Any = {"n_jobs": 1}
    with pytest.raises(TypeError, match="both 'jobs' and 'n_jobs', its old name"):
        polars_alf.index_archive(archive, jobs=1, **old)
