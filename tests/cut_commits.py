"""Commits that are cut off."""

from __future__ import annotations

from pathlib import Path

from apart import run_apart

STAGES = [
    "before_journal",
    "after_journal",
    "after_sessions",
    "after_datasets",
    "after_insertions",
    "before_unlink",
]


def kill_at(stage: str, archive: Path) -> None:
    """Run an index that ends without a word at a stage of its commit."""
    insertions = stage == "after_insertions"
    code = f"""
import os, sys
from pathlib import Path
from polars_alf import index_archive
from polars_alf.tables import journal
stage = {stage!r}
end = lambda: os._exit(9)
replace, unlink, write = Path.replace, Path.unlink, journal.write_durably
def on_replace(self, target):
    result = replace(self, target)
    if stage == "after_" + self.stem and "run-" in str(self): end()
    return result
def on_unlink(self, *args, **kwargs):
    if stage == "before_unlink" and self.name == "commit.json": end()
    return unlink(self, *args, **kwargs)
def on_write(path, text):
    if stage == "before_journal" and path.name == "commit.json": end()
    write(path, text)
    if stage == "after_journal" and path.name == "commit.json": end()
Path.replace, Path.unlink, journal.write_durably = on_replace, on_unlink, on_write
index_archive({str(archive)!r}, executor="serial", insertions={insertions}, restart=True)
"""
    result = run_apart(code)
    assert result.returncode == 9, result.stderr
