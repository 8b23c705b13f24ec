"""Commands that walk an archive: index, verify, prune.

What they work with is loaded once it is known what is to be done.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from typer import BadParameter, Exit, Option, Typer, confirm

import polars_alf
from polars_alf.cli import output
from polars_alf.cli.loading import load_arrow, loading
from polars_alf.cli.options import (
    ArchiveOptions,
    AsJson,
    Assemble,
    ChangedFrom,
    IdsFrom,
    Inventory,
    JsonLines,
    KeepGenerations,
    MaxRemoved,
    Part,
    Root,
    RootOrBucket,
    Strict,
    TablesDir,
    UuidFilenames,
    WalkOptions,
    with_walk_options,
)
from polars_alf.errors import OptionError
from polars_alf.tables.keep import KEEP
from polars_alf.walk.ahead import listing_ahead
from polars_alf.walk.digests import ALGORITHMS

app = Typer()


@app.command()
@with_walk_options
def index(
    root: Root,
    out: Annotated[
        str | None,
        Option("--out", metavar="DIR", help="Existing folder for the tables; ROOT by default."),
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
    changed_from: ChangedFrom = None,
    inventory: Inventory = None,
    restart: Annotated[
        bool, Option("--restart", help="Begin anew, not where an interrupted run ended.")
    ] = False,
    shard: Part = None,
    assemble: Assemble = False,
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
    how = walk.list_arguments(root)
    arguments = how | {
        "hash_ids": hash_ids,
        "hash_files": hash_files,
        "digest": digest or [],
        "lab": lab,
        "namespace": namespace,
        "ids_from": ids_from or (),
        "reset": reset,
        "prune_missing": prune_missing,
        "quick": quick,
        "changed_from": changed_from,
        "inventory": inventory,
        "restart": restart,
        "assemble": assemble,
        "insertions": insertions,
        "default_revisions": default_revisions,
        "uuid_filenames": uuid_filenames,
        "settings_from": settings_from,
        "max_removed": max_removed,
        "ignore_inode": ignore_inode,
        "etag_md5": etag_md5,
        "keep_generations": keep_generations,
    }
    same = "the same command without --restart" if restart else "the same command"
    state = f"the tables are whole; {same} goes on from here"
    # Where it is said how to walk, or of what not all is listed, libraries are loaded first.
    is_plain = not (how or quick or changed_from or inventory or assemble or shard)
    with (
        output.running(state),
        listing_ahead(root) if is_plain else nullcontext(),
        walk.show_progress() as progress,
    ):
        with loading():
            load_arrow()
            run, run_part = polars_alf.index_archive, polars_alf.index_part
        if shard is not None:
            part = run_part(root, out, shard=shard, progress=progress, **arguments)
            if as_json:
                print(json.dumps(part.to_dict()))
            elif not walk.quiet:
                from polars_alf.cli.walk_results import print_part

                print_part(part)
            if strict and part.n_incomplete:
                raise Exit(output.EXIT_INCOMPLETE)
            return
        report = run(root, out, progress=progress, **arguments)
    if as_json:
        print(json.dumps(report.to_dict()))
    elif not walk.quiet:
        from polars_alf.cli.walk_results import print_report

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
        tables_dir = str(manifest if manifest.is_dir() else manifest.parent)
    compared = None
    with output.running("nothing was changed"), walk.show_progress() as progress:
        with loading():
            load_arrow()
            verify_archive = polars_alf.verify_archive
        if manifest:
            compared = polars_alf.verify_manifest(manifest, tables_dir)
        arguments |= {"digest": digest, "sample": share, "seed": seed, "progress": progress}
        found = verify_archive(root, tables_dir, uuid_filenames=uuid_filenames, **arguments)
    from polars_alf.cli.frames import print_json
    from polars_alf.cli.walk_results import print_verification

    if compared:
        # A release is a part: the archive goes on.
        found = replace(found, findings=found.findings.remove(kind="new"))
    if as_json:
        more = {"manifest": compared.to_dict()} if compared else {}
        print_json(found.to_dict() | more, "findings", found.findings)
    elif not walk.quiet:
        print_verification(found, compared)
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
        str | None,
        Option(metavar="DIR", help="Folder to move datasets to instead, made if missing."),
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
        if trash is not None:
            from polars_alf.prune.trash import check_trash

            # Also where nothing is removed now: a rehearsal is to find what is wrong.
            check_trash(trash, Path(root).resolve(), Path(tables_dir or root).resolve(), [""])
        with loading():
            load_arrow()
            plan_removals = polars_alf.plan_removals
        plan = plan_removals(
            root,
            tables_dir,
            remove_empty_sessions=not keep_empty_sessions,
            force=force,
            progress=progress,
            **arguments,
        )
    from polars_alf.cli.walk_results import print_outcomes, print_plan
    from polars_alf.tables.files import removals_path

    is_shown = not (walk.quiet or as_json)
    if is_shown:
        print_plan(plan, Path(root).resolve())
    if not apply:
        if as_json:
            print(plan.drop("tables").write_ndjson(), end="")
        elif is_shown:
            done = "Nothing was removed; --apply removes it." if len(plan) else "Nothing to remove."
            print(done)
        return
    if plan.is_empty():
        if is_shown:
            print("Nothing to remove.")
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
        print_outcomes(outcomes, log)
    if outcomes["result"].is_in(["changed", "failed"]).any():
        raise Exit(output.EXIT_INCOMPLETE)


def _parse_share(text: str) -> float:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+|[0-9]+\.)\s*(%?)\s*", text)
    if not match:
        raise OptionError(f"the sample {text!r} is no share; give one such as 1% or 0.01")
    return float(match[1]) / (100 if match[2] else 1)
