"""The command that checks sessions: check."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
from typer import Argument, Exit, Option, Typer

import polars_alf
from polars_alf.alf.root import check_folder
from polars_alf.cli import frames, output
from polars_alf.cli.options import AsJson, Force, WalkOptions, with_walk_options
from polars_alf.display import count
from polars_alf.errors import OptionError, OutputError
from polars_alf.schema import TABLES
from polars_alf.tables.files import STATE_DIR, table_path, write_durably
from polars_alf.tables.output import check_output

if TYPE_CHECKING:
    from polars_alf.check.api import ArchiveCheck
    from polars_alf.check.template import Template

app = Typer()


@app.command()
@with_walk_options
def check(
    root: Annotated[
        str, Argument(metavar="ROOT|DIR", help="Archive or part of one, or a folder of tables.")
    ],
    template: Annotated[
        str | None,
        Option(metavar="FILE", help="Datasets that every session should have, one a line."),
    ] = None,
    complete: Annotated[
        str | None,
        Option(
            metavar="SQL", help="Condition on sessions that are complete: they are the template."
        ),
    ] = None,
    save_template: Annotated[
        Path | None, Option(metavar="FILE", help="File for the template that was used.")
    ] = None,
    against: Annotated[
        str | None, Option(metavar="DIR", help="Tables of a database to compare with.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
    *,
    walk: WalkOptions,
) -> None:
    """List what sessions in ROOT lack, and misspelt names.

    Names come with the likely spelling. Sizes that do not fit are listed, too: those of the files
    of one object that cannot have the same number of rows. With a template, datasets that a session
    lacks are found; with --against, also datasets that are registered and not here, here and not
    registered, or of another size. No file is opened, and nothing is changed.

    A folder of tables, with no other folder in it, is checked by its tables: they have no names
    that are not ALF.

    Exit codes: 0 nothing was found, 1 failed, 2 wrong usage, 3 something was.
    """
    if save_template and template is None and complete is None:
        raise OptionError("there is no template to save; give --template or --complete")
    if save_template:
        check_output(save_template, force=force, option="--save-template")
        # Before hours of walking, rather than after them.
        check_folder(save_template.parent, what="the folder of --save-template")
    is_tables = _is_tables(root)
    with output.running("nothing was changed"), walk.show_progress() as progress:
        if is_tables:
            found = polars_alf.check_tables(
                root, template=template, complete=complete, against=against
            )
        else:
            found = polars_alf.check_archive(
                root,
                template=template,
                complete=complete,
                against=against,
                progress=progress,
                **walk.list_arguments(root),
            )
    if save_template and found.template:
        _save(found.template, save_template)
    if as_json:
        frames.print_json(found.to_dict(), "findings", found.findings)
    elif not walk.quiet:
        _print_check(root, found)
    if len(found.findings):
        raise Exit(output.EXIT_INCOMPLETE)


def _save(template: Template, file: Path) -> None:
    try:
        write_durably(file, template.to_text())
    except OSError as error:
        raise OutputError(
            error.errno,
            f"{file} cannot be written: {error.strerror}; give another --save-template",
        ) from error


def _is_tables(root: str) -> bool:
    """Whether tables are to be checked: several folders of them, or one with no other folders."""
    folder = Path(root)
    if not folder.is_dir():
        return glob.has_magic(root)
    if not any(table_path(folder, name).exists() for name in TABLES):
        return False
    return not any(path.is_dir() and path.name != STATE_DIR for path in folder.iterdir())


def _print_check(root: str, found: ArchiveCheck) -> None:
    others = found.n_other_files
    more = "" if others is None else f", and {count(others, 'other name')}"
    checked = f"{count(found.n_sessions, 'session')}, {count(found.n_datasets, 'dataset')}{more}"
    fields = [
        ("Tables" if others is None else "Archive", output.Whole(root)),
        ("Checked", checked),
    ]
    if found.template:
        fields.append(("Template", count(len(found.template.patterns), "dataset")))
    fields += [
        (kind.replace("_", " ").capitalize(), f"{number:,}")
        for kind, number in found.counts.items()
        if number
    ]
    output.print_fields(*fields)
    shown = found.findings.select("kind", path=_expr_path(), likely="likely", message="message")
    frames.print_table(shown, "Findings", "none", 2 * output.ROWS_SHOWN)


def _expr_path() -> pl.Expr:
    # What could not be read may lie above the sessions, and has its whole path.
    is_whole = pl.col("kind") == "unreadable"
    path = pl.concat_str("session", "rel_path", separator="/", ignore_nulls=True)
    return pl.when(is_whole).then("rel_path").otherwise(path)
