"""A page about archives, from their tables to its text."""

from __future__ import annotations

import base64
import hashlib
import html
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from polars_alf._version import __version__
from polars_alf.errors import MissingExtraError, OutputError
from polars_alf.query.scan import find_folders
from polars_alf.tables.files import replace_file

_NEEDED = ("altair", "vl_convert", "jinja2")

_FRAME_HEIGHT = 700


@dataclass(frozen=True, slots=True, repr=False)
class ArchivePage:
    """A page about archives: one file of HTML, which needs no network.

    Parameters
    ----------
    labels
        Name of each archive on the page.
    folders
        Folder of the tables of each.
    html
        The page.
    """

    labels: tuple[str, ...]
    folders: tuple[Path, ...]
    html: str

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, whole or not at all, in the place of what is there.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        file = Path(path)
        try:
            with replace_file(file) as stream:
                stream.write(self.html.encode())
        except OSError as error:
            raise OutputError(
                error.errno, f"{file} cannot be written: {error.strerror}; give another place"
            ) from error
        return file

    def __repr__(self) -> str:
        return f"<ArchivePage of {', '.join(self.labels)}: {len(self.html):,} characters>"

    def _repr_html_(self) -> str:
        # A frame, as the styles of the page are not for the notebook around it.
        page = html.escape(self.html)
        return (
            f'<iframe srcdoc="{page}" sandbox="allow-scripts" title="{html.escape(repr(self))}" '
            f'style="width:100%;height:{_FRAME_HEIGHT}px;border:0"></iframe>'
        )


def report(
    *tables: str | os.PathLike[str],
    progress: Callable[[int, int, str], None] | None = None,
) -> ArchivePage:
    """Make a page about one archive, or about several side by side.

    It shows totals and growth, sessions by month and lab, recordings by subject and their gaps,
    datasets and bytes by lab, subject, collection, extension and year, sizes, QC, duplicates,
    issues with what helps, the last changes, and how long the index took. The tables are read
    several times, in memory that does not grow with the datasets.

    Parameters
    ----------
    tables
        Folders of tables, or patterns of them, as for `scan_sessions`; each is an archive.
    progress
        Called with the number of steps done, the number of all, and the next step in words.

    Returns
    -------
    ArchivePage
        The page, which a notebook shows, and `ArchivePage.write` puts into a file.

    Raises
    ------
    MissingExtraError
        A package of the extra ``report`` is not installed.
    OptionError, ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `scan_sessions`.
    """
    for name in _NEEDED:
        if find_spec(name) is None:
            raise MissingExtraError(
                f'a report needs {name}: pip install "polars-alf[report]"', name=name
            )
    from polars_alf.page.charts import find_extent
    from polars_alf.page.figures import read_figures
    from polars_alf.page.sections import label_folders, list_sections, list_totals

    show = progress or (lambda *_: None)
    folders = find_folders(tables)
    labels = label_folders(folders)
    n_steps = 2 * len(folders)
    archives = []
    for n, (folder, label) in enumerate(zip(folders, labels, strict=True)):
        show(n, n_steps, f"reading the tables in {folder}")
        archives.append(read_figures(folder, label))
    extent = find_extent(archives)
    parts = []
    for n, figures in enumerate(archives, start=len(folders)):
        show(n, n_steps, f"drawing {figures.label}")
        parts.append(list_sections(figures, extent))
    page = _render(
        labels=labels,
        folders=[str(folder) for folder in folders],
        totals=[list_totals(figures) for figures in archives],
        sections=[*zip(*parts, strict=True)],
    )
    return ArchivePage(tuple(labels), tuple(folders), page)


def _render(**values: object) -> str:
    import jinja2

    from polars_alf.page.charts import number_ids

    style, script, text = (
        resources.files("polars_alf.page").joinpath(name).read_text("utf-8")
        for name in ("page.css", "page.js", "page.html.jinja")
    )
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    numbers = count()
    return (
        environment.from_string(text)
        .render(
            **values,
            version=__version__,
            made=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
            style=style,
            script=script,
            # Only this script runs, whatever names of files hold.
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            number=lambda svg: number_ids(svg, next(numbers)),
        )
        .lstrip()
    )
