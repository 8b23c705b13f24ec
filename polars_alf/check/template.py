"""Templates: the datasets that a lab expects in every session."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl

from polars_alf.alf.arguments import check_session_path
from polars_alf.check.findings import CheckKind, make_findings
from polars_alf.check.parts import sum_counts
from polars_alf.errors import NamedFileNotFoundError, OptionError

_REVISION = r"#[^/#]+#/"

# A probe has a folder of its own, and each session has another number of them.
_PROBE = r"(^|/)(probe)[0-9]+[a-z]?(/|$)"


@dataclass(frozen=True, slots=True)
class Template:
    """The datasets that every session should have.

    Parameters
    ----------
    patterns
        Paths in a session, without the folders of revisions: ``alf/_ibl_trials.table.pqt``. ``*``
        stands for any text in one folder's or file's name, ``?`` for one character. The folder
        ``alf/probe*`` means each that a session has, and one at least.

    Raises
    ------
    OptionError
        There is no pattern, or one is no path in a session.
    """

    patterns: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.patterns:
            raise OptionError("the template has no datasets; give one at least")
        for pattern in self.patterns:
            check_session_path(pattern, "the template", "alf/spikes.times.npy")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file with a pattern in each line; empty lines and those with ``#`` are none."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise NamedFileNotFoundError(
                f"there is no template {path}; make one from complete sessions"
            ) from error
        except OSError as error:
            raise OptionError(
                f"the template {path} cannot be read: {error.strerror}; give a file of text"
            ) from error
        except UnicodeDecodeError as error:
            raise OptionError(
                f"the template {path} is no text in UTF-8; give a file of text"
            ) from error
        lines = (line.strip() for line in text.splitlines())
        return cls(tuple(dict.fromkeys(line for line in lines if line and line[0] != "#")))

    @classmethod
    def of_sessions(cls, files: pl.DataFrame, eids: Iterable[str], share: float = 1.0) -> Self:
        """Make a template of what complete sessions have.

        Parameters
        ----------
        files
            ``eid`` and ``rel_path`` of datasets.
        eids
            Sessions that are complete.
        share
            Share of them that must have a dataset, from 0 (excluded) to 1. Numbers of probes do
            not count: ``alf/probe00`` and ``alf/probe01`` are both ``alf/probe*``.

        Raises
        ------
        OptionError
            There are no such sessions, they have nothing in common, or the share is none.
        """
        return cls.of_parts([files], eids, share)

    @classmethod
    def of_parts(
        cls, parts: Iterable[pl.DataFrame], eids: Iterable[str], share: float = 1.0
    ) -> Self:
        """Make a template as `of_sessions` does; each part has all files of some sessions."""
        if not 0 < share <= 1:
            raise OptionError(f"a share of {share} is none; give more than 0, and 1 at most")
        complete = pl.Series(eids, dtype=pl.String).unique()
        n_sessions = 0

        def count_paths() -> Iterator[pl.DataFrame]:
            nonlocal n_sessions
            for files in parts:
                some = files.filter(pl.col("eid").is_in(complete.implode()))
                n_sessions += some["eid"].n_unique()
                yield _count_paths(some)

        counts = sum_counts(count_paths(), "path", "n")
        if not n_sessions:
            raise OptionError(
                "no session that has datasets is called complete; give others, of which one has"
            )
        counts = counts.filter(pl.col("n") >= share * n_sessions)
        if counts.is_empty():
            raise OptionError(
                "the sessions that are called complete have no dataset in common; choose others, "
                "or a smaller share"
            )
        return cls(tuple(counts["path"].sort()))

    def to_text(self) -> str:
        """Return the template as `read` reads it."""
        return "".join(f"{pattern}\n" for pattern in self.patterns)


def find_missing(sessions: pl.DataFrame, files: pl.DataFrame, template: Template) -> pl.DataFrame:
    """Find what sessions (``eid``, ``session``) lack of a template."""
    folder, name = _split(pl.col("rel_path"))
    there = files.select("eid", folder=folder, name=name).unique()
    # Patterns are matched with names and folders that differ, of which there are few.
    names, folders = there["name"].unique(), there["folder"].unique()
    matches = [
        (pattern, _match(folders, pattern.rpartition("/")[0]), _match(names, Path(pattern).name))
        for pattern in template.patterns
    ]
    in_folders = _explode("folder", [(pattern, found) for pattern, found, _ in matches])
    in_names = _explode("name", [(pattern, found) for pattern, _, found in matches])
    present = there.join(in_names, on="name").join(in_folders, on=["folder", "pattern"]).unique()
    wanted = (
        sessions.select("eid", "session")
        .join(pl.DataFrame({"pattern": template.patterns}), how="cross")
        .join(
            there.select("eid", "folder").unique().join(in_folders, on="folder"),
            on=["eid", "pattern"],
            how="left",
        )
    )
    missing = wanted.join(
        present.select("eid", "pattern", "folder").unique(),
        on=["eid", "pattern", "folder"],
        how="anti",
        nulls_equal=True,
    )
    expected = pl.concat_str(
        pl.coalesce("folder", pl.col("pattern").str.extract(r"^(.*)/[^/]*$")),
        pl.col("pattern").str.extract(r"([^/]*)$"),
        separator="/",
        ignore_nulls=True,
    ).str.strip_prefix("/")
    return make_findings(
        CheckKind.MISSING_DATASET,
        missing.select("eid", "session", rel_path=expected, message=pl.lit("the template has it")),
    )


def _count_paths(files: pl.DataFrame) -> pl.DataFrame:
    """Return ``path``, with any probe, and ``n``, the number of sessions that have it."""
    folder, name = _split(pl.col("rel_path"))
    return (
        files.select("eid", folder=folder, name=name)
        .with_columns(pl.col("folder").str.replace_all(_PROBE, "$1$2*$3"))
        .with_columns(path=pl.concat_str("folder", "name", separator="/").str.strip_prefix("/"))
        .group_by("path")
        .agg(n=pl.col("eid").n_unique())
    )


def _split(rel_path: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return the folder, without that of a revision, and the name."""
    plain = rel_path.str.replace_all(_REVISION, "")
    return plain.str.extract(r"^(.*)/[^/]*$").fill_null(""), plain.str.extract(r"([^/]*)$")


def _match(texts: pl.Series, pattern: str) -> pl.Series:
    parts = {"*": "[^/]*", "?": "[^/]"}
    source = "".join(parts.get(piece, re.escape(piece)) for piece in re.split(r"([*?])", pattern))
    return texts.filter(texts.str.contains(f"^(?:{source})$"))


def _explode(column: str, found: Iterable[tuple[str, pl.Series]]) -> pl.DataFrame:
    empty = pl.DataFrame(schema={column: pl.String, "pattern": pl.String})
    frames = [
        pl.DataFrame({column: values}).with_columns(pattern=pl.lit(pattern))
        for pattern, values in found
    ]
    return pl.concat([empty, *frames])
