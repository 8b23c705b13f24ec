"""What users mistype: each message names the value, the place and the cure, and the cure helps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import run
from trees import TWO_LABS, make_tree

from polars_alf import index_archive, scan_sessions, verify_archive
from polars_alf.errors import ForeignTablesError, NamespaceConflictError, OptionError
from polars_alf.parallel.cluster import parse_address

UUID_TEXT = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
NAMES = ["index", "verify", "prune"]


def say(*arguments: object, code: int = 2) -> str:
    """Run a command that fails; return its one line."""
    found = run(*arguments)
    assert (found.returncode, found.stdout) == (code, "")
    lines = [line for line in found.stderr.splitlines() if not re.match(r"\d+ s ", line)]
    assert len(lines) == 1, found.stderr
    return lines[0].removeprefix("error: ")


@pytest.mark.slow
@pytest.mark.parametrize("command", NAMES)
def test_a_cluster_without_its_protocol(archive: Path, command: str) -> None:
    message = say(command, archive, "--cluster", "localhost:9999")
    assert message.startswith("'localhost:9999' is no address of a cluster; give that of its ")
    cure = message.rpartition(" as ")[2]
    assert parse_address(cure) == "tcp://localhost:9999"
    with pytest.raises(OptionError, match=r"there is no executor 'localhost:9999'; .*give (\S+)$"):
        index_archive(archive, executor="localhost:9999")
    assert "dask://HOST:PORT" in say(command, archive, "--cluster", "the big one")


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed", ["{6BA7B810-9DAD-11D1-80B4-00C04FD430C8}", "my lab", UUID_TEXT.replace("-", "")]
)
def test_a_namespace_is_named_as_it_was_typed(archive: Path, tmp_path: Path, typed: str) -> None:
    index_archive(archive)
    message = say("index", archive, "--namespace", typed, code=1)
    assert message.startswith(f"the namespace {typed!r}, which is ")
    assert f"the tables in {archive} were made with " in message
    with pytest.raises(NamespaceConflictError, match=re.escape(repr(typed))):
        index_archive(archive, namespace=typed)
    # Both cures: to leave it out, and another folder.
    index_archive(archive)
    (tmp_path / "other").mkdir()
    index_archive(archive, tmp_path / "other", namespace=typed)


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        (UUID_TEXT[:-1], 31),
        (UUID_TEXT + "0", 33),
        (UUID_TEXT.replace("-", "")[1:], 31),
        ("{" + UUID_TEXT.upper()[1:] + "}", 31),
        (UUID_TEXT.replace("c8", "co"), 31),
    ],
)
def test_a_uuid_of_which_a_digit_is_missing(archive: Path, typed: str, digits: int) -> None:
    message = say("index", archive, "--namespace", typed)
    assert message.startswith(f"the namespace {typed!r} is nearly a UUID, but has {digits} ")
    assert not (archive / "sessions.pqt").exists()
    index_archive(archive, namespace=UUID_TEXT)


@pytest.mark.parametrize("name", ["cortexlab", "deadbeef", "a-b-c-d-e", "2024-01-02", "0x12"])
def test_names_are_no_mistyped_uuids(archive: Path, name: str) -> None:
    index_archive(archive, namespace=name)


def test_a_bucket_has_no_tables_in_it(tmp_path: Path) -> None:
    for command, option in (("index", "--out"), ("verify", "--tables-dir")):
        message = say(command, "s3://bucket/lab")
        assert message.startswith("the archive s3://bucket/lab is in a bucket, and its tables lie")
        assert f"give that with {option} DIR" in message
    message = say("prune", "s3://bucket/lab", "--tables-dir", tmp_path)
    assert message.startswith("s3://bucket/lab is in a bucket, from which nothing is removed; ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "cure"),
    [
        ("ftp://host/lab", "mount it"),
        ("https://user:secret@host/lab?key=secret", "give s3://BUCKET with --endpoint-url"),
        ("s3://", "give s3://BUCKET/FOLDER"),
        ("s3://bucket/a//b", "give a folder of plain names"),
        ("s3://bucket/../b", "give a folder of plain names"),
        ("s3://key:secret@bucket", "keys in the environment or a profile"),
    ],
)
def test_addresses_of_no_bucket(tmp_path: Path, address: str, cure: str) -> None:
    for command in NAMES:
        message = say(command, address)
        assert cure in message
        assert "secret" not in message


@pytest.mark.parametrize("address", ["s3://bucket/lab", "gs://bucket"])
def test_addresses_are_no_folders(archive: Path, address: str) -> None:
    for arguments in (["check", address], ["index", archive, "--out", address]):
        message = say(*arguments)
        assert f"{address!r}, the address of a bucket, and only a folder will do here" in message


def test_the_address_of_a_file_has_its_folder_in_it(archive: Path) -> None:
    cure = say("index", f"file://{archive}").rpartition("give ")[2]
    assert run("index", cure, "--quiet").returncode == 0


def test_a_folder_may_look_like_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path / "s3:" / "lab", TWO_LABS)
    monkeypatch.chdir(tmp_path)
    assert index_archive("s3://lab").n_sessions == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "cure"),
    [
        ("[", r"\["),
        ("KS[1", r"KS\[1"),
        ("!KS001", r"\!KS001"),
        ("!*", None),
        ("#x", r"\#x"),
        ("", "backup/"),
        ("   ", "*.tmp"),
        ("/", "backup/"),
        ("!", "*.tmp"),
        ("[z-a]", "[a-z]"),
    ],
)
def test_patterns_that_mean_nothing(archive: Path, pattern: str, cure: str | None) -> None:
    for command in NAMES:
        message = say(command, archive, "--exclude", pattern)
        assert message.startswith(repr(pattern))
        assert "; give " in message or "; close " in message or "; it is a comment" in message
    if cure:
        make_tree(archive / "cortexlab/Subjects", {cure.replace("\\", ""): {"x": 1}})
        index_archive(archive, exclude=cure)
    else:
        assert "--include-snapshots" in message
        index_archive(archive, include_snapshots=True)
    index_archive(archive, exclude=["KS*", "!KS001"], max_removed=1.0)
    assert {*scan_sessions(archive).collect()["subject"]} == {"KS001"}


def test_verify_without_digests_says_so(archive: Path) -> None:
    index_archive(archive)
    assert "Other digest not compared: see --digest" in run("verify", archive).stdout
    message = say("verify", archive, "--digest")
    assert message.startswith(
        f"none of the 12 datasets in the tables in {archive} has an MD5 to compare; index with "
        "--hash-files"
    )
    with pytest.raises(OptionError, match="has an MD5 to compare"):
        verify_archive(archive, digest=True, sample=0.1)
    index_archive(archive, hash_files=True)
    shown = run("verify", archive, "--digest").stdout
    assert re.search(r"^Digested +12$", shown, re.MULTILINE)
    assert re.search(r"^Other digest 0$", shown, re.MULTILINE)


def test_verify_that_would_compare_nothing(archive: Path) -> None:
    index_archive(archive)
    message = say("verify", archive, "--exclude", "*")
    assert message == (
        f"no session of the tables in {archive} was compared: what is excluded, '*', has all of "
        "them; exclude less"
    )
    assert verify_archive(archive, exclude=["wittenlab"]).findings.is_empty()


def test_tables_of_another_archive(archive: Path, tmp_path: Path) -> None:
    other = make_tree(tmp_path / "other", {"zador/Subjects/Z/2021-01-01/001/alf/a.b.npy": 1})
    index_archive(archive)
    index_archive(other)
    message = say("verify", archive, "--tables-dir", other, code=1)
    assert message.startswith(
        f"the tables in {other} are of {other}, and {archive} has no session of theirs; give "
    )
    with pytest.raises(ForeignTablesError):
        verify_archive(archive, other)
    # The cure; and an archive that was moved is still the same one.
    assert verify_archive(archive, archive).findings.is_empty()
    moved = archive.rename(tmp_path / "moved")
    assert verify_archive(moved).findings.is_empty()
