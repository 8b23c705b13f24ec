"""Commands about tables of a part: subset, split, publish."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from typer import Option, Typer

import polars_alf
from polars_alf.cli import frames, output
from polars_alf.cli.options import AsJson, Folder, KeepGenerations, Out, Quiet, Tables
from polars_alf.cli.output import Whole
from polars_alf.display import count, describe_size
from polars_alf.tables.keep import KEEP

if TYPE_CHECKING:
    from polars_alf.release.bundle import Bundle
    from polars_alf.release.split import Division, SplitTables
    from polars_alf.release.subset import Release

# Twin of `Division`, whose room only this command needs to load.
By = StrEnum("By", ["LAB", "SUBJECT", "YEAR"])

app = Typer()

_MOST_PAIRS = 20


@app.command()
def subset(
    folder: Tables,
    out: Out,
    where: Annotated[
        str | None, Option(metavar="SQL", help="Condition on the sessions of the part.")
    ] = None,
    eids: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Ids of sessions, or of datasets below a line dataset_uuid, one a line.",
        ),
    ] = None,
    like: Annotated[
        str | None, Option(metavar="DIR", help="Tables that have the part, by path.")
    ] = None,
    tag: Annotated[
        str | None, Option(metavar="NAME", help="Name of the release, for ONE's load_cache.")
    ] = None,
    keep_generations: KeepGenerations = KEEP,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make tables of a part of DIR, with a manifest to cite.

    The part is what --where, --eids and --like together allow. Rows keep their ids, and
    default_revision says what ONE loads from the part. polars-alf verify --manifest compares files
    and tables with the manifest, manifest.json, later.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    with output.running("the tables that were there are whole"):
        from polars_alf.release.subset import read_ids

        release = polars_alf.subset_tables(
            folder,
            out,
            where=where,
            like=like,
            tag=tag,
            keep_generations=keep_generations,
            **(read_ids(eids) if eids else {}),
        )
    if as_json:
        print(json.dumps(release.to_dict()))
    elif not quiet:
        _print_release(release)


@app.command()
def split(
    folder: Tables,
    out: Annotated[str, Option(metavar="DIR", help="Existing folder for the pairs' folders.")],
    by: Annotated[By, Option(help="What each pair is of.")] = By.LAB,
    keep_generations: KeepGenerations = KEEP,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Split the tables in DIR into pairs that ONE opens.

    There is a pair for each lab, subject or year, in a folder of its own. Rows keep their ids. ONE
    opens a pair as One(cache_dir=ROOT, tables_dir=FOLDER, mode='local').

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    with output.running("pairs that were finished are whole"):
        found = polars_alf.split_tables(
            folder, out, by=cast("Division", str(by)), keep_generations=keep_generations
        )
    if as_json:
        print(json.dumps(found.to_dict()))
    elif not quiet:
        _print_split(found)


@app.command()
def publish(
    folder: Folder,
    url: Annotated[
        str | None,
        Option(metavar="URL", help="Address of the folder that cache.zip will be in."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the tables in DIR as the bundle that ONE loads.

    These are cache.zip and cache_info.json, which ONE finds on a web server.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    with output.running("the tables are as they were; publish again"):
        bundle = polars_alf.publish_tables(folder, url=url)
    if as_json:
        print(json.dumps(bundle.to_dict()))
    elif not quiet:
        _print_bundle(bundle)


def _print_release(release: Release) -> None:
    manifest = release.manifest
    size = describe_size(manifest["n_bytes"])
    output.print_fields(
        ("Sessions", f"{manifest['n_sessions']:,}"),
        ("Datasets", f"{manifest['n_datasets']:,} ({size})"),
        ("Digests", f"{manifest['n_with_hash']:,} of {count(manifest['n_datasets'], 'dataset')}"),
        ("Time", f"{release.seconds:.2f} s"),
        ("Tables", release.folder),
        ("Manifest", Whole(release.to_dict()["manifest_path"])),
        ("Cite as", Whole(release.checksum)),
    )


def _print_split(found: SplitTables) -> None:
    parts, left_out = found.parts, count(found.n_left_out, "dataset")
    output.print_fields(
        ("Pairs", f"{len(parts):,}"),
        ("Sessions", f"{parts['n_sessions'].sum():,}"),
        (
            "Datasets",
            f"{parts['n_datasets'].sum():,} ({describe_size(int(parts['n_bytes'].sum()))})",
        ),
        *([("Left out", f"{left_out} of no session")] * bool(found.n_left_out)),
        ("Time", f"{found.seconds:.2f} s"),
        ("Folder", found.folder),
    )
    frames.print_table(
        parts.select("folder", "n_sessions", "n_datasets"), "Pairs", rows=_MOST_PAIRS
    )


def _print_bundle(bundle: Bundle) -> None:
    output.print_fields(
        ("Bundle", bundle.zip_path),
        ("Size", describe_size(bundle.n_bytes)),
        ("Info", bundle.info_path),
        *((str(name), Whole(json.dumps(value))) for name, value in bundle.info.items()),
    )
