"""Index an archive, from a fresh machine on: `python3.11 scripts/index.py [ROOT [options]]`.

Makes an environment in .venv the first time, and again when pyproject.toml, setup.py or the sources
in C have changed, then runs `polars-alf index ROOT` with the options given. Without ROOT, it makes
a small archive in demo_archive, indexes it, and opens it with ONE.

POLARS_ALF_VENV_DIR may name another folder for .venv. The options are listed by
`python3.11 scripts/index.py . --help`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _environment import REPOSITORY, prepare_environment, tell

DEMO_ARCHIVE = REPOSITORY / "demo_archive"

OPEN_WITH_ONE = """
import sys
from one.api import One

one = One(cache_dir=sys.argv[1])
sessions = one.search()
trials = one.load_object(sessions[0], "trials", collection="alf")
print(
    f"ONE found {len(sessions)} sessions, and loaded {len(trials['choice'])} trials of the first. "
    "To open them yourself:",
    file=sys.stderr,
)
print(f'''
    {sys.executable}
    >>> from one.api import One
    >>> one = One(cache_dir={sys.argv[1]!r})
    >>> eid = one.search()[0]
    >>> one.list_datasets(eid)
    >>> trials = one.load_object(eid, "trials", collection="alf")
''', file=sys.stderr)
"""


def main(arguments: list[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    python = prepare_environment(".venv", "one")
    index = [python, "-m", "polars_alf", "index"]
    if arguments:
        return run_instead([*index, *arguments])

    make_demo_archive()
    # ONE compares each file that it loads with the MD5 of the tables, and says so where they have
    # none; of files that have revisions it asks for the default ones.
    options = ["--hash-files", "--default-revisions"]
    code = subprocess.run([*index, str(DEMO_ARCHIVE), *options]).returncode
    return code or subprocess.run([python, "-c", OPEN_WITH_ONE, str(DEMO_ARCHIVE)]).returncode


def run_instead(command: list[str]) -> int:
    """Run a command in the place of this one, so that signals and its exit code are its own."""
    if os.name == "posix":
        os.execv(command[0], command)
    # Windows' exec would give the prompt back at once.
    return subprocess.run(command).returncode


def make_demo_archive() -> None:
    """Make the demonstration's archive unless it is there."""
    # What it imports needs the Python that prepare_environment asks for.
    from make_archive import make_archive

    if DEMO_ARCHIVE.exists():
        tell(f"using the archive {DEMO_ARCHIVE}")
        return
    # Made beside and renamed, so that an interrupted one is not taken for whole.
    with tempfile.TemporaryDirectory(dir=REPOSITORY, prefix=".demo_archive-") as folder:
        archive = Path(folder, "archive")
        made = make_archive(archive, subjects=20, sessions=5, files=20, content="small")
        archive.rename(DEMO_ARCHIVE)
    tell(f"made the archive {DEMO_ARCHIVE}: {made.sessions} sessions, {made.files} files")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
