"""Commands that walk an archive: index, verify, prune."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import polars as pl
from rich.filesize import decimal
from typer import BadParameter, Exit, Option, Typer, confirm

import polars_alf
from polars_alf.alf.paths import printable
from polars_alf.cli import output
from polars_alf.cli.index_report import print_report
from polars_alf.cli.options import (
    ArchiveOptions,
    AsJson,
    IdsFrom,
    JsonLines,
    KeepGenerations,
    MaxRemoved,
    Root,
    RootOrBucket,
    Strict,
    TablesDir,
    UuidFilenames,
    WalkOptions,
    with_walk_options,
)
from polars_alf.errors import OptionError
from polars_alf.tables.files import removals_path
from polars_alf.tables.generations import KEEP
from polars_alf.tables.rows import sum_bytes
from polars_alf.walk.digests import ALGORITHMS, Algorithm

if TYPE_CHECKING:  # each is loaded by the command that needs it
    from polars_alf.release.manifest import ManifestCheck
    from polars_alf.verify.api import Verification

app = Typer()


@app.command()
@with_walk_options
def index(
    root: RootOrBucket,
    out_dir: Annotated[
        str | None, Option(metavar="DIR", help="Existing folder for the tables; ROOT by default.")
    ] = None,
    lab: Annotated[
        str | None, Option(metavar="NAME", help="Lab of sessions that lie in no lab's folder.")
    ] = None,
    hash_ids: Annotated[
        bool, Option("--hash-ids/--no-hash-ids", help="Ids are UUIDs, or else paths.")
    ] = True,
    uuid_filenames: UuidFilenames = None,
    namespace: Annotated[
        str | None,
        Option(
            metavar="NAME", help="Namespace of ids, a UUID or any name; the tables' by default."
        ),
    ] = None,
    ids_from: IdsFrom = None,
    reset: Annotated[
        bool,
        Option("--reset", help="Forget what people or a database wrote into the tables there."),
    ] = False,
    prune_missing: Annotated[
        bool,
        Option("--prune-missing", help="Drop rows of a database whose files are not here."),
    ] = False,
    hash_files: Annotated[
        bool, Option("--hash-files", help="Read every dataset for its MD5.")
    ] = False,
    digest: Annotated[
        list[str] | None,
        Option(
            metavar="|".join(ALGORITHMS),
            help="Read every dataset for this digest; may be given again.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        Option("--quick", help="Trust the times of folders; files rewritten in place go unseen."),
    ] = False,
    restart: Annotated[
        bool, Option("--restart", help="Begin anew, not where an interrupted run ended.")
    ] = False,
    insertions: Annotated[
        bool, Option("--insertions", help="Make the table of insertions of probes, too.")
    ] = False,
    default_revisions: Annotated[
        bool | None,
        Option(
            "--default-revisions/--no-default-revisions",
            help="Tell which revisions ONE loads by default; by default where there are any.",
        ),
    ] = None,
    settings_from: Annotated[
        str | None,
        Option(metavar="iblrig|FILE", help="Read protocols and projects that nobody has written."),
    ] = None,
    max_removed: MaxRemoved = None,
    ignore_inode: Annotated[
        bool,
        Option("--ignore-inode", help="Keep digests where only inodes or the device are others."),
    ] = False,
    etag_md5: Annotated[
        bool,
        Option("--etag-md5", help="Take ETags of a bucket that look like an MD5 for the MD5."),
    ] = False,
    keep_generations: KeepGenerations = KEEP,
    strict: Strict = False,
    as_json: AsJson = False,
    *,
    walk: ArchiveOptions,
) -> None:
    """Index ROOT into the two tables that ONE opens.

    These are sessions.pqt and datasets.pqt.

    After an interruption, the same command goes on where the run ended.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but with issues under --strict.
    """
    arguments = walk.list_arguments(root)
    state = "the tables are whole; the same command goes on from here"
    with output.running(state), walk.show_progress() as progress:
        report = polars_alf.index_archive(
            root,
            out_dir,
            hash_ids=hash_ids,
            hash_files=hash_files,
            digest=cast("list[Algorithm]", digest or []),
            lab=lab,
            namespace=namespace,
            ids_from=ids_from or (),
            reset=reset,
            prune_missing=prune_missing,
            quick=quick,
            restart=restart,
            insertions=insertions,
            default_revisions=default_revisions,
            uuid_filenames=uuid_filenames,
            settings_from=settings_from,
            max_removed=max_removed,
            ignore_inode=ignore_inode,
            etag_md5=etag_md5,
            keep_generations=keep_generations,
            progress=progress,
            **arguments,
        )
    if as_json:
        print(json.dumps(report.to_dict()))
    elif not walk.quiet:
        print_report(report)
    if strict and report.issues:
        raise Exit(output.EXIT_INCOMPLETE)


@app.command()
@with_walk_options
def verify(
    root: RootOrBucket,
    tables_dir: TablesDir = None,
    digest: Annotated[
        bool, Option("--digest", help="Read files, and compare their MD5 with the tables'.")
    ] = False,
    sample: Annotated[
        str | None,
        Option(metavar="SHARE", help="Share of the datasets to check, such as 1% or 0.01."),
    ] = None,
    seed: Annotated[int, Option(metavar="N", help="Number that chooses the sample.")] = 0,
    uuid_filenames: UuidFilenames = None,
    manifest: Annotated[
        Path | None,
        Option(metavar="FILE", help="Manifest of a release, whose tables are beside it."),
    ] = None,
    as_json: AsJson = False,
    *,
    walk: ArchiveOptions,
) -> None:
    """Compare the files in ROOT with its tables.

    Finds datasets that are missing or new, and those of another size; with --digest, also those of
    another content. Only files that have an MD5 in the tables are read. Changes nothing.

    With --manifest, the tables are those of the release, by default beside it: they are compared
    with the manifest first, and what else is in ROOT is not new.

    Exit codes: 0 all is as the tables say, 1 failed, 2 wrong usage, 3 something is not.
    """
    share = None if sample is None else _parse_share(sample)
    arguments = walk.list_arguments(root)
    if manifest and tables_dir is None:
        tables_dir = str(manifest.parent)
    compared = None
    with output.running("nothing was changed"), walk.show_progress() as progress:
        if manifest:
            compared = polars_alf.verify_manifest(manifest, tables_dir)
        arguments |= {"digest": digest, "sample": share, "seed": seed, "progress": progress}
        found = polars_alf.verify_archive(
            root, tables_dir, uuid_filenames=uuid_filenames, **arguments
        )
    if compared:
        # A release is a part: the archive goes on.
        found = replace(found, findings=found.findings.filter(pl.col("kind") != "new"))
    if as_json:
        more = {"manifest": compared.to_dict()} if compared else {}
        output.print_json(found.to_dict() | more, "findings", found.findings)
    elif not walk.quiet:
        _print_verification(found, compared)
    if len(found.findings) or (compared and compared.problems):
        raise Exit(output.EXIT_INCOMPLETE)


@app.command()
@with_walk_options
def prune(
    root: Root,
    tables_dir: TablesDir = None,
    apply: Annotated[
        bool, Option("--apply", help="Remove it, after a confirmation on the terminal.")
    ] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Remove without a confirmation.")] = False,
    keep_empty_sessions: Annotated[
        bool, Option("--keep-empty-sessions", help="Remove no folders.")
    ] = False,
    force: Annotated[
        bool, Option("--force", help="Go on without tables, or with those of other archives.")
    ] = False,
    max_removed: MaxRemoved = None,
    trash: Annotated[
        str | None, Option(metavar="DIR", help="Folder to move datasets to instead.")
    ] = None,
    as_json: JsonLines = False,
    *,
    walk: WalkOptions,
) -> None:
    """Show what ROOT has and its tables lack; --apply removes it.

    Only datasets and emptied folders of sessions are removed: nothing that the tables could mean,
    nothing that is not ALF, nothing through a link. Index first: files newer than the tables are
    in none of their rows. Removals are logged in .polars_alf/removals.jsonl beside the tables. With
    --trash, datasets are moved within their file system, and polars_alf.restore_removals brings
    them back.

    Exit codes: 0 done, 1 failed or declined, 2 wrong usage, 3 some paths could not be removed.
    """
    if apply and not yes and (walk.quiet or as_json or not sys.stdin.isatty()):
        raise BadParameter("there is no plan shown to confirm on a terminal; add --yes")
    arguments = walk.list_arguments(root)
    with output.running("nothing was removed"), walk.show_progress() as progress:
        plan = polars_alf.plan_removals(
            root,
            tables_dir,
            remove_empty_sessions=not keep_empty_sessions,
            force=force,
            progress=progress,
            **arguments,
        )
    is_shown = not (walk.quiet or as_json)
    if is_shown:
        _print_plan(plan, Path(root).resolve())
    if not apply:
        if as_json:
            print(plan.drop("tables").write_ndjson(), end="")
        elif is_shown and len(plan):
            print("Nothing was removed; --apply removes it.")
        return
    if plan.is_empty():
        return
    sys.stdout.flush()  # what is to be confirmed must have been seen
    if not yes and not confirm(f"Remove these {len(plan):,}?", err=True):
        output.print_message("nothing was removed")
        raise Exit(output.EXIT_FAILED)
    log = removals_path(Path(root if tables_dir is None else tables_dir)).resolve()
    with output.running(f"what was removed is in {log}"):
        outcomes = polars_alf.apply_removals(
            root, plan, tables_dir, max_removed=max_removed, trash=trash
        )
    if as_json:
        print(outcomes.write_ndjson(), end="")
    elif is_shown:
        _print_outcomes(outcomes, log)
    if outcomes["result"].is_in(["changed", "failed"]).any():
        raise Exit(output.EXIT_INCOMPLETE)


def _parse_share(text: str) -> float:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+|[0-9]+\.)\s*(%?)\s*", text)
    if not match:
        raise OptionError(f"the sample {text!r} is no share; give one such as 1% or 0.01")
    return float(match[1]) / (100 if match[2] else 1)


def _print_verification(found: Verification, compared: ManifestCheck | None) -> None:
    """Print how an archive compares with its tables, and these with a manifest."""
    labels = {"size_changed": "Other size", "digest_changed": "Other digest"}
    sample = "" if found.n_checked == found.n_datasets else f" of {found.n_datasets:,}"
    fields = [
        ("Archive", str(found.root)),
        ("Checked", f"{found.n_checked:,}{sample} datasets in {found.seconds:.2f} s"),
    ]
    if found.n_digested or found.n_without_hash:
        fields.append(("Digested", f"{found.n_digested:,}"))
    if found.n_without_hash:
        fields.append(
            ("No digest", f"{found.n_without_hash:,} have none in the tables; index --hash-files")
        )
    if compared:
        problems = compared.problems or ("the tables are as it says",)
        fields += [("Manifest", compared.checksum), *(("", problem) for problem in problems)]
    for kind, count in found.counts.items():
        if kind == "digest_changed" and not found.n_digested:
            fields.append((labels[kind], "not compared: see --digest"))
            continue
        fields.append((labels.get(kind, kind.replace("_", " ").capitalize()), f"{count:,}"))
    output.print_fields(*fields)
    columns = ["kind", "path", "table_size", "disk_size", "message"]
    output.print_first(found.findings.select(columns), "Findings", 2 * output.ROWS_SHOWN)


def _print_plan(plan: pl.DataFrame, root: Path) -> None:
    """Print what a plan (REMOVALS) would remove, with the first datasets and folders."""
    datasets = plan.filter(pl.col("kind") == "dataset")
    folders = plan.filter(pl.col("kind") != "dataset")
    reasons = datasets.group_by("reason", maintain_order=True).len()
    sessions = len(folders.filter(pl.col("kind") == "session"))
    output.print_fields(
        ("Archive", str(root)),
        ("Datasets", f"{len(datasets):,} ({decimal(sum_bytes(datasets['file_size']))})"),
        *(("", f"{count:,}: {reason}") for reason, count in reasons.iter_rows()),
        ("Folders", f"{len(folders):,} ({sessions:,} of sessions)"),
    )
    for rows in (datasets, folders):
        for path in rows["path"].head(output.ROWS_SHOWN):
            output.print_visibly(f"  {printable(path)}")
        if len(rows) > output.ROWS_SHOWN:
            output.print_visibly(f"  … and {len(rows) - output.ROWS_SHOWN:,} more")


def _print_outcomes(outcomes: pl.DataFrame, log: Path) -> None:
    """Print how many paths of a plan were removed, and each that was not (OUTCOMES)."""
    is_done = pl.col("result").is_in(["removed", "moved"])
    removed = outcomes.filter(is_done)
    size = decimal(sum_bytes(removed["file_size"]))
    output.print_visibly(f"Removed {len(removed):,} of {len(outcomes):,} ({size}).")
    if n_moved := len(removed.filter(result="moved")):
        output.print_visibly(f"Of these, {n_moved:,} were moved to the trash.")
    left = outcomes.filter(~is_done)
    for path, result, message in left.select("path", "result", "message").iter_rows():
        output.print_visibly(f"  {result}: {printable(path)}: {message}")
    output.print_visibly(f"Log: {log}")
