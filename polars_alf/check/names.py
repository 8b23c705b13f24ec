"""Names that nearly are those of datasets, with the likely spelling. Pure.

A name is compared by its *stem*, ``object.attribute``, with stems that are known: those of ALF's
usual objects, of a template, and those that far more sessions of the archive have. Two stems are
near where they differ in case and punctuation only, or in one letter that is not the first.
Extensions, and the folders that a file lies in, are compared with usual ones in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from polars_alf.alf import grammar
from polars_alf.check.findings import CheckKind, make_findings
from polars_alf.check.near import add_keys, pair_by_letter

_TRIALS = (
    "choice contrastLeft contrastRight correct feedbackType feedback_times firstMovement_times "
    "goCueTrigger_times goCue_times included intervals probabilityLeft quiescencePeriod "
    "repNum response_times rewardVolume stimOffTrigger_times stimOff_times stimOnTrigger_times "
    "stimOn_times table"
)
_CAMERA = "ROIMotionEnergy dlc features lightningPose raw times"

_USUAL = {
    "bodyCamera": _CAMERA,
    "channels": "brainLocationIds labels localCoordinates mlapdv probes rawInd",
    "clusters": "amps channels depths metrics peakToTrough uuids waveforms waveformsChannels",
    "electrodeSites": "brainLocationIds localCoordinates mlapdv",
    "leftCamera": _CAMERA,
    "licks": "times",
    "mpci": "ROIActivityF ROINeuropilActivityF badFrames times",
    "mpciROIs": "masks mpciROITypes stackPos",
    "probes": "description trajectory",
    "rightCamera": _CAMERA,
    "spikes": "amps clusters depths samples templates times",
    "sync": "channels polarities times",
    "templates": "amps waveforms waveformsChannels",
    "trials": _TRIALS,
    "wheel": "acceleration position timestamps velocity",
    "wheelMoves": "intervals peakAmplitude peakVelocity_times type",
}
"""Attributes of the objects that most archives have."""

_EXTENSIONS = (
    *(
        "avi",
        "bin",
        "cbin",
        "ch",
        "csv",
        "htsv",
        "json",
        "jsonable",
        "mat",
        "meta",
        "mp4",
        "mtscomp",
    ),
    *("npy", "npz", "parquet", "pqt", "ssv", "tsv", "txt", "zip"),
)

# Others that are one letter from these, and no misspelling.
_OTHER_EXTENSIONS = ("jsonl", "cpp", "css", "mov", "mp3", "nrrd", "tif", "xls", "xml")

_NAMESPACES = "ibl|iblmic|iblqc|iblrig|kilosort|phy|spikeglx"
"""Namespaces that are given without the first underscore where somebody forgot it."""

_FOLDERS = (
    *("raw_behavior_data", "raw_ephys_data", "raw_passive_data", "raw_photometry_data"),
    *("raw_sync_data", "raw_task_data", "raw_video_data", "raw_widefield_data"),
    *("raw_imaging_data", "spike_sorters", "pykilosort", "kilosort"),
    *(f"probe{number:02}" for number in range(10)),
)
"""Names of folders that most archives have."""

_PROBE = r"^probe(?:\d|_)"
"""Beginning of the names of probes, which may end in a letter: the shank of several."""

# Whoever copies a file in a file manager gets one of these.
_COPY = r"(?i)(?:\s*\(\d+\)|\s*-?\s*copy(?:\s*\(?\d+\)?)?|~)$"

_MORE_SESSIONS = 10
"""How many times as many sessions have a stem that another is taken to be a misspelling of."""

_LEAST_LETTERS = 8
"""Letters below which two stems that differ in one are two words: ``eye.x`` and ``eye.y``."""

_LEAST_OF_FOLDER = 6
"""As `_LEAST_LETTERS` for folders, whose digits count: ``prob00``."""

_LEAST_OF_EXTENSION = 3


@dataclass(frozen=True, slots=True)
class Spelling:
    """The stems that all sessions have: those `known`, and those `near` to one of them.

    `folders` are the names of folders that are known.
    """

    known: pl.DataFrame
    near: pl.DataFrame
    folders: pl.Series


def count_stems(files: pl.DataFrame) -> pl.DataFrame:
    """Return ``stem`` and ``n_sessions`` of the stems of files with ``eid`` and ``rel_path``."""
    return _split_names(files).group_by("stem").agg(n_sessions=pl.col("eid").n_unique())


def learn_spelling(counts: pl.DataFrame, expected: Iterable[str] = ()) -> Spelling:
    """Compare stems, counted by `count_stems`, with those of `expected` paths and usual ones."""
    paths = [path.split("/") for path in expected]
    known = _list_known(counts, [name for *_, name in paths])
    is_usual = pl.col("stem").is_in(known.filter("is_usual")["stem"].implode())
    given = [folder for *folders, _ in paths for folder in folders if not {"*", "?"} & {*folder}]
    folders = pl.Series("likely_folder", [*_FOLDERS, *given]).unique(maintain_order=True)
    return Spelling(known, _find_near(counts.filter(~is_usual), known), folders)


def find_misspelt(files: pl.DataFrame, others: pl.DataFrame, spelling: Spelling) -> pl.DataFrame:
    """Find names that nearly are those of datasets.

    Parameters
    ----------
    files
        ``eid``, ``session``, ``rel_path`` and ``file_size`` of the datasets of some sessions.
    others
        ``eid``, ``session`` and ``rel_path`` of files in them that are not ALF.
    spelling
        What is learned from all sessions.
    """
    split = _split_names(files)
    known, near = spelling.known, spelling.near
    is_copy = pl.col("timescale").str.contains(r"^\d+$")
    has_known_stem = pl.col("stem").is_in(known["stem"].implode())
    lower = pl.col("extension").str.to_lowercase()
    fixed = (
        split.join(near, on="stem", how="left", maintain_order="left")
        .join(
            _spell_extensions(split["extension"]), on="extension", how="left", maintain_order="left"
        )
        .with_columns(
            right_stem=pl.coalesce("likely_stem", "stem"),
            right_timescale=pl.when(
                ~(is_copy & (has_known_stem | pl.col("likely_stem").is_not_null()))
            ).then("timescale"),
            right_extension=pl.when(lower.is_in(_EXTENSIONS))
            .then(lower)
            .otherwise(pl.coalesce("likely_extension", "extension")),
            right_prefix=pl.when(
                pl.col("prefix") == "", pl.col("stem").str.contains(f"^(?:{_NAMESPACES})_")
            )
            .then(pl.lit("_"))
            .otherwise("prefix"),
        )
        .with_columns(
            right_name=pl.concat_str(
                pl.concat_str(
                    pl.concat_str("right_prefix", "right_stem"),
                    "right_timescale",
                    separator="_",
                    ignore_nulls=True,
                ),
                "extra",
                "right_extension",
                separator=".",
                ignore_nulls=True,
            )
        )
        .filter(pl.col("right_name") != pl.col("name"))
        .with_columns(likely=_join_folder("folder", "right_name"))
    )
    # Beside the file of the likely name, one that differs in a letter is another dataset.
    is_letter = pl.col("differs_in_letter").fill_null(value=False)
    there = files.select("eid", likely="rel_path", is_there=pl.lit(value=True))
    misspelt = (
        fixed.join(there, on=["eid", "likely"], how="left", maintain_order="left")
        .filter(~(is_letter & pl.col("is_there").fill_null(value=False)))
        .with_columns(
            message=pl.when("is_there")
            .then(pl.lit("nearly the name of another dataset there"))
            .otherwise(pl.lit("nearly the name of a dataset"))
        )
    )
    wanted = ["eid", "session", "rel_path", "likely", "file_size", "message"]
    return pl.concat(
        [
            make_findings(CheckKind.MISSPELT_NAME, misspelt.select(wanted)),
            make_findings(CheckKind.MISSPELT_NAME, _find_other_names(others, known)),
            make_findings(
                CheckKind.MISSPELT_NAME, _find_folders([files, others], spelling.folders)
            ),
        ]
    )


def _spell_extensions(extensions: pl.Series) -> pl.DataFrame:
    """Return ``extension`` and ``likely_extension`` of those near to a usual one."""
    names = extensions.unique().drop_nulls().to_frame()
    is_known = pl.col("extension").str.to_lowercase().is_in([*_EXTENSIONS, *_OTHER_EXTENSIONS])
    odd = add_keys(names.filter(~is_known), "extension")
    usual = add_keys(pl.DataFrame({"likely_extension": _EXTENSIONS}), "likely_extension")
    pairs = pair_by_letter(odd, usual, _LEAST_OF_EXTENSION)
    # One that is near to two says nothing.
    return pairs.select("extension", "likely_extension").unique().unique("extension", keep="none")


def _find_folders(files: Sequence[pl.DataFrame], known: pl.Series) -> pl.DataFrame:
    """Find folders in sessions that nearly have the name of a known one; each is one finding."""
    collection = pl.col("rel_path").str.extract(r"^(.*)/[^/]*$").alias("collection")
    folders = pl.concat([frame.select("eid", "session", collection) for frame in files])
    names = folders["collection"].drop_nulls().unique().str.split("/").explode().unique()
    odd = names.filter(~names.is_in(known.implode()) & ~names.str.contains(_PROBE))
    left = add_keys(odd.to_frame("folder"), "folder")
    right = add_keys(known.to_frame("likely_folder"), "likely_folder")
    pairs = pl.concat(
        [
            left.join(right, on="key").select("folder", "likely_folder"),
            pair_by_letter(left, right, _LEAST_OF_FOLDER).select("folder", "likely_folder"),
        ]
    ).unique("folder", keep="first", maintain_order=True)
    if pairs.is_empty():
        return folders.clear().drop("collection")
    found = folders.drop_nulls("collection").unique(maintain_order=True)
    parts = pl.col("collection").str.split("/")
    right_parts = parts.list.eval(
        pl.element().replace(pairs["folder"].implode(), pairs["likely_folder"].implode())
    )
    is_odd = parts.list.eval(pl.element().is_in(pairs["folder"].implode()))
    # What lies below a folder that is misspelt says nothing new.
    n_shown = is_odd.list.arg_max() + 1
    return (
        found.filter(is_odd.list.any())
        .select(
            "eid",
            "session",
            rel_path=parts.list.head(n_shown).list.join("/"),
            likely=right_parts.list.head(n_shown).list.join("/"),
            message=pl.lit("nearly the name of a folder"),
        )
        .unique(maintain_order=True)
    )


def _split_names(files: pl.DataFrame) -> pl.DataFrame:
    """Add the parts of names: ``prefix`` (the namespace), ``stem``, ``timescale``, and so on."""
    path = pl.col("rel_path")
    stem = pl.concat_str("object", pl.lit("."), "attribute")
    named = files.with_columns(
        folder=path.str.extract(r"^(.*)/[^/]*$"), name=path.str.extract(r"([^/]*)$")
    )
    parts = (
        named.select(pl.col("name").unique())
        .with_columns(parts=grammar.expr_file_parts(pl.col("name")))
        .select("name", pl.col("parts").struct.unnest())
        .drop_nulls("object")
        .with_columns(stem=stem)
        .with_columns(
            # As it is spelt, since a namespace may stand between one or two underscores.
            prefix=pl.col("name").str.head(
                pl.col("name").str.len_chars()
                - pl.concat_str(
                    pl.concat_str("stem", "timescale", separator="_", ignore_nulls=True),
                    "extra",
                    "extension",
                    separator=".",
                    ignore_nulls=True,
                ).str.len_chars()
            )
        )
    )
    return named.join(parts, on="name", how="inner", maintain_order="left")


def _list_known(counts: pl.DataFrame, expected: Iterable[str]) -> pl.DataFrame:
    """Return ``stem``, ``is_usual`` (or in the template) and ``n_sessions`` of stems there are."""
    usual = [
        f"{name}.{attribute}"
        for name, attributes in _USUAL.items()
        for attribute in attributes.split()
    ]
    names = pl.DataFrame({"name": [*expected]}, schema={"name": pl.String})
    parts = names.select(parts=grammar.expr_file_parts(pl.col("name"))).unnest("parts")
    wanted = parts.drop_nulls("object").select(
        stem=pl.concat_str("object", pl.lit("."), "attribute")
    )
    sure = pl.concat([pl.DataFrame({"stem": usual}), wanted]).unique(maintain_order=True)
    return (
        sure.with_columns(is_usual=pl.lit(value=True))
        .join(counts, on="stem", how="full", coalesce=True)
        .with_columns(pl.col("is_usual").fill_null(value=False), pl.col("n_sessions").fill_null(0))
    )


def _find_near(odd: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return ``stem``, ``likely_stem`` and ``differs_in_letter`` of stems near to known ones.

    `odd` has ``stem`` and ``n_sessions``.
    """
    left, right = add_keys(odd), add_keys(known.rename({"stem": "likely_stem"}), "likely_stem")
    same = left.join(right, on="key", suffix="_known").with_columns(
        differs_in_letter=pl.lit(value=False)
    )
    near = pair_by_letter(left, right, _LEAST_LETTERS).with_columns(
        differs_in_letter=pl.lit(value=True)
    )
    is_likely = pl.col("is_usual") | (
        pl.col("n_sessions_known") >= _MORE_SESSIONS * pl.col("n_sessions")
    )
    wanted = [
        *("stem", "likely_stem", "differs_in_letter", "is_usual", "n_sessions", "n_sessions_known")
    ]
    return (
        pl.concat([same.select(wanted), near.select(wanted)])
        .filter(is_likely, pl.col("stem") != pl.col("likely_stem"))
        .sort(
            *("stem", "differs_in_letter", "n_sessions_known", "is_usual", "likely_stem"),
            descending=[False, False, True, True, False],
        )
        .unique("stem", keep="first", maintain_order=True)
        .select("stem", "likely_stem", "differs_in_letter")
    )


def _find_other_names(others: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Find files that are not ALF, and would be with a known stem."""
    path, name = pl.col("rel_path"), pl.col("name")
    extension = name.str.extract(r"\.(\w+)$").str.to_lowercase()
    split = (
        others.with_columns(
            folder=path.str.extract(r"^(.*)/[^/]*$"), name=path.str.extract(r"([^/]*)$")
        )
        .filter(~name.str.starts_with("."))
        .with_columns(extension=pl.when(extension.is_in(_EXTENSIONS)).then(extension))
        .with_columns(
            body=pl.when(pl.col("extension").is_null())
            .then(name)
            .otherwise(name.str.replace(r"\.\w+$", ""))
            .str.replace(_COPY, ""),
        )
        .with_columns(
            prefix=pl.col("body").str.extract(r"^(_[a-zA-Z0-9]+_)").fill_null(""),
            stem=pl.col("body").str.replace(r"^_[a-zA-Z0-9]+_", ""),
        )
    )
    usual = known.filter("is_usual")
    counted = split.group_by("stem").agg(n_sessions=pl.col("eid").n_unique())
    near = _find_near(counted, usual)
    exact = counted.join(usual.select("stem"), on="stem").select(
        "stem", likely_stem="stem", differs_in_letter=pl.lit(value=False)
    )
    right_name = pl.concat_str(
        "prefix", "likely_stem", pl.lit("."), pl.col("extension").fill_null("npy")
    )
    return (
        split.join(pl.concat([exact, near]), on="stem")
        .with_columns(right_name=right_name)
        .select(
            "eid",
            "session",
            "rel_path",
            likely=_join_folder("folder", "right_name"),
            message=pl.lit("no dataset's name, but nearly one"),
        )
    )


def _join_folder(folder: str, name: str) -> pl.Expr:
    return pl.concat_str(folder, name, separator="/", ignore_nulls=True)
