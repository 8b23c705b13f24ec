"""The command report: a page about archives."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from polars_alf.cli import output
from polars_alf.cli.options import AsJson, Force, Progress, Quiet
from polars_alf.cli.progress import ProgressKind, show_steps
from polars_alf.display import describe_size
from polars_alf.tables.output import check_output

app = Typer()


@app.command()
def report(
    folders: Annotated[
        list[str], Argument(metavar="DIR...", help="Folders of tables, or patterns of them.")
    ],
    out: Annotated[
        Path | None,
        Option(
            "--out", metavar="FILE", help="File for the page; a new one in this folder by default."
        ),
    ] = None,
    open_page: Annotated[
        bool, Option("--open", help="Show the page in the browser of this machine.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
    progress: Progress = ProgressKind.AUTO,
    quiet: Quiet = False,
) -> None:
    """Make a page about the archives whose tables are in DIR.

    Shows growth, recordings and their gaps, where the bytes are, sizes, QC, duplicates, issues,
    changes, and the last index; several archives side by side. The page is one file that needs no
    network.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    with output.running("nothing was changed"):
        from polars_alf.page.api import report
        from polars_alf.query.scan import find_folders

        # Before minutes of reading, rather than after them.
        found = find_folders(folders)
        file = out or _choose_file(found)
        check_output(file, found, force=force)
        with show_steps(progress, quiet=quiet) as show:
            page = report(*found, progress=show)
        page.write(file)
    if as_json:
        names = [str(folder) for folder in page.folders]
        print(json.dumps({"page": str(file), "labels": page.labels, "folders": names}))
    elif not quiet:
        size = describe_size(len(page.html.encode()))
        output.print_fields(("Report", file), ("Size", size))
    if open_page:
        import webbrowser

        if not webbrowser.open(file.resolve().as_uri()):
            output.print_message(f"warning: no browser could be started; open {file} with one")


def _choose_file(folders: list[Path]) -> Path:
    label = re.sub(r"\W+", "-", folders[0].name).strip("-").lower() or "archive"
    more = "-and-more" if len(folders) > 1 else ""
    return Path(f"polars_alf_report-{label}{more}-{datetime.now():%Y%m%d-%H%M%S}.html")
