"""Options that several commands share, each with its name, metavar and help in one place."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, BadParameter, Option

from polars_alf.cli.output import print_message
from polars_alf.cli.priority import lower_priority
from polars_alf.cli.progress import ProgressKind, Show, open_console, show_progress
from polars_alf.errors import OptionError
from polars_alf.parallel.executors import Executor

AUTO = "auto"

Root = Annotated[
    str, Argument(metavar="ROOT", help="Archive, lab, Subjects folder, subject, date or session.")
]

RootOrBucket = Annotated[
    str,
    Argument(metavar="ROOT", help="Archive, lab, Subjects folder, subject, … or s3://BUCKET/…"),
]

Folder = Annotated[Path, Argument(metavar="DIR", help="Folder of the tables.")]

Tables = Annotated[str, Argument(metavar="DIR", help="Folder of tables, or a pattern of several.")]

Out = Annotated[str, Option("--out", metavar="DIR", help="Existing folder for the tables.")]

TablesDir = Annotated[
    str | None, Option(metavar="DIR", help="Folder of the tables; ROOT by default.")
]

Strict = Annotated[bool, Option("--strict", help="Exit with 3 if there are issues or conflicts.")]

AsJson = Annotated[bool, Option("--json", help="Print the result as one JSON object.")]

JsonLines = Annotated[bool, Option("--json", help="Print one JSON object a line.")]

IdsFrom = Annotated[
    list[str] | None,
    Option(metavar="DIR", help="Tables whose ids win where names match; may be given again."),
]

UuidFilenames = Annotated[
    bool | None,
    Option(
        "--uuid-filenames/--no-uuid-filenames",
        help="UUIDs in names, as in a.b.UUID.npy, are ids; by default as in the tables.",
    ),
]

ChangedFrom = Annotated[
    str | None,
    Option(metavar="FILE", help="List the folders of these paths only; - reads stdin."),
]

Inventory = Annotated[
    str | None,
    Option(metavar="FILE", help="Make tables of a list of all of ROOT, unseen; - reads stdin."),
]

Part = Annotated[
    str | None,
    Option("--shard", metavar="I/N", help="List part I of N only, as one of a job array."),
]

Assemble = Annotated[
    bool, Option("--assemble", help="Make the tables of what all parts have listed.")
]

Force = Annotated[bool, Option("--force", help="Replace files that are there.")]

KeepGenerations = Annotated[
    int,
    Option(metavar="N", min=0, help="Earlier generations of the tables to keep, for restore."),
]

Quiet = Annotated[bool, Option("--quiet", "-q", help="Print errors and warnings only.")]


Progress = Annotated[
    ProgressKind,
    Option("--progress", help="A bar or lines on stderr, JSON lines there, or nothing."),
]


def parse_jobs(text: str) -> int | str:
    """Return a number of workers, or `AUTO`."""
    if text == AUTO:
        return text
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise BadParameter(f"{text!r} is neither a number from 1 on nor {AUTO!r}")


def parse_max_removed(text: str) -> float:
    """Return a count as an int, or a share, such as 10% or 0.1, as a float from 0 to 1."""
    match = re.fullmatch(r"([0-9]+)|([0-9]*\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(%?)", text.strip())
    if match and match[1]:
        return int(match[1])
    share = float(match[2]) / (100 if match[3] else 1) if match else 2.0
    if share <= 1:
        return share
    raise BadParameter(f"{text!r} is neither a count nor a share such as 10% or 0.1")


MaxRemoved = Annotated[
    Any,  # an int, or a float
    Option(
        metavar="N|SHARE",
        parser=parse_max_removed,
        help="Datasets that may be removed; by default half, and no lab with all that it has.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class WalkOptions:
    """Options of every command that walks an archive; `with_walk_options` adds them."""

    exclude: Annotated[
        list[str] | None,
        Option(metavar="GLOB", help="What to leave out, as in .gitignore; may be given again."),
    ] = None
    follow_links: Annotated[
        bool, Option("--follow-links", help="Enter linked directories that are no sessions.")
    ] = False
    include_snapshots: Annotated[
        bool,
        Option("--include-snapshots", help="Enter .snapshot, lost+found, .Trash-… and the like."),
    ] = False
    jobs: Annotated[
        Any,  # an int, or AUTO
        Option(
            metavar=f"N|{AUTO}",
            parser=parse_jobs,
            help="Workers; one a processor by default; auto takes what bench has found best.",
        ),
    ] = None
    executor: Annotated[
        Executor | None, Option(help="Where workers run; chosen by the work to do by default.")
    ] = None
    cluster: Annotated[
        str | None,
        Option(metavar="dask://HOST:PORT", help="Scheduler of a Dask cluster to run on instead."),
    ] = None
    threads: Annotated[
        int | None,
        Option(
            metavar="N",
            min=1,
            help="Calls to the storage at once, in each worker; measured by default.",
        ),
    ] = None
    op_timeout: Annotated[
        float | None,
        Option(
            metavar="SECONDS", help="Time to wait for a directory to answer; no limit by default."
        ),
    ] = None
    max_rate: Annotated[
        float | None,
        Option(
            metavar="CALLS",
            help="Calls to the storage a second, of all workers, at most; no limit by default.",
        ),
    ] = None
    nice: Annotated[
        bool, Option("--nice", help="Give way to others: lowest priority, back off.")
    ] = False
    progress: Progress = ProgressKind.AUTO
    quiet: Quiet = False

    def list_arguments(self, root: str) -> dict[str, Any]:
        """Return what was given, as keyword arguments of the functions that walk `root`.

        The functions' own defaults hold for what was not given.
        """
        if self.cluster and self.executor:
            raise OptionError("--executor is for this machine; give either that or --cluster")
        if self.cluster:
            from polars_alf.parallel.cluster import parse_address as parse_cluster

            parse_cluster(self.cluster)
        jobs, threads = self.jobs, self.threads
        if jobs == AUTO:
            # What was measured here tells nothing of the machines of a cluster.
            best = (None, None) if self.cluster else self._find_best(root)
            jobs, threads = best[0], threads or best[1]
        arguments = {
            "exclude": self.exclude or None,
            "follow_links": self.follow_links or None,
            "include_snapshots": self.include_snapshots or None,
            "jobs": jobs,
            "executor": self.cluster or self.executor,
            "threads": threads,
            "op_timeout": self.op_timeout,
            "max_rate": self.max_rate,
        }
        return {name: value for name, value in arguments.items() if value is not None}

    def _find_best(self, root: str) -> tuple[int | None, int | None]:
        """Return the jobs and threads that bench has found best for the storage of a folder."""
        from polars_alf.bench.advice import find_advice

        found = find_advice(root, getattr(self, "endpoint_url", None))
        if found is None:
            print_message(
                f"warning: the storage of {root} has not been measured: one worker a processor; "
                f"to find what is best, run polars-alf bench {root}"
            )
            return None, None
        jobs, threads = found["advice"]["jobs"], found["advice"]["threads"]
        if not self.quiet:
            print_message(
                f"jobs {jobs}, threads {self.threads or threads}: found best when measured on "
                f"{found['begun']}"
            )
        return jobs, threads

    def show_progress(self) -> AbstractContextManager[Show | None]:
        """Return a context that yields a callback for progress, None where it is not wanted."""
        as_json = self.progress is ProgressKind.JSON
        if (self.quiet and not as_json) or self.progress is ProgressKind.NONE:
            return nullcontext(None)
        return show_progress(open_console(), as_json=as_json)


EndpointUrl = Annotated[
    str | None,
    Option(metavar="URL", help="Service that has the bucket; the provider's by default."),
]

Region = Annotated[
    str | None, Option(metavar="NAME", help="Region of the bucket; that of a profile by default.")
]

Anonymous = Annotated[
    bool, Option("--anonymous", help="Sign no requests, as the bucket is public.")
]


@dataclass(frozen=True, kw_only=True)
class ArchiveOptions(WalkOptions):
    """Options of commands that walk a folder or a bucket."""

    endpoint_url: EndpointUrl = None
    region: Region = None
    anonymous: Anonymous = False

    def list_arguments(self, root: str) -> dict[str, Any]:
        """Return what was given, as keyword arguments of the functions that walk `root`."""
        arguments = {
            "endpoint_url": self.endpoint_url,
            "region": self.region,
            "anonymous": self.anonymous or None,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        return WalkOptions.list_arguments(self, root) | given


def with_walk_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `walk` of a command by an option for each field of its class."""
    kind = inspect.signature(command, eval_str=True).parameters["walk"].annotation
    options = inspect.signature(kind, eval_str=True).parameters

    @functools.wraps(command)
    def run(**values: Any) -> None:
        walk = kind(**{name: values.pop(name) for name in options})
        if walk.nice and walk.cluster:
            raise OptionError(
                "--nice is for this machine; leave it out, and start the cluster's workers with "
                "nice dask worker …"
            )
        if walk.nice:
            lower_priority()
        command(walk=walk, **values)

    parameters = [
        option.replace(kind=option.KEYWORD_ONLY)
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        for option in (options.values() if parameter.name == "walk" else [parameter])
    ]
    # Typer takes options from the signature.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
