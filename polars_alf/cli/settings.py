"""The settings of an earlier index in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_TOLD = (
    *("hash_ids", "namespace", "ids_from", "lab", "digests", "exclude", "follow_links"),
    *("include_snapshots", "ignore_inode", "wants_defaults", "uuid_filenames", "settings_from"),
)
_OWN = ("version", "format", "root", "inode", "device", "snapshot", "columns")
"""Settings that an index notes for the next one, and that nobody gives."""

_ALGORITHMS = {"md5": "MD5", "xxh3_128": "XXH3-128"}


def describe_settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield labels and sentences about the settings of an index; nothing of what is lost."""
    get = settings.get
    if "hash_ids" in settings:
        namespace = f" in the namespace {get('namespace')}" if get("namespace") else ""
        yield "Ids", f"UUIDs{namespace}" if get("hash_ids") else "paths"
    if get("uuid_filenames"):
        yield "Ids in names", "taken from the UUIDs in names of files"
    if folders := get("ids_from"):
        yield "Ids first of", ", ".join(map(str, folders))
    if lab := get("lab"):
        yield "Lab", f"{lab}, where no folder names one"
    if "digests" in settings:
        names = [_ALGORITHMS.get(name, name) for name in get("digests") or ()]
        yield "Files read", f"for their {' and '.join(names)}" if names else "none"
    if patterns := get("exclude"):
        yield "Left out", ", ".join(map(str, patterns))
    if "follow_links" in settings:
        yield "Links", "followed" if get("follow_links") else "not followed to folders"
    if get("include_snapshots"):
        yield "Snapshots", "included"
    if get("ignore_inode"):
        yield "Inodes", "ignored where digests are kept"
    if get("wants_defaults") is not None:
        told = "told" if get("wants_defaults") else "not told"
        yield "Revisions", f"{told} which ONE loads by default"
    if get("settings_from"):
        yield "Protocols", "and projects from the settings in sessions, where nobody wrote them"
    for name, value in settings.items():
        if name not in _TOLD + _OWN and value not in (None, "", [], False):
            words = name.replace("_", " ").capitalize()
            yield words, "yes" if value is True else str(value)
