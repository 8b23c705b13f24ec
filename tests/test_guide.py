"""What the guide shows is so, to the last character that it prints."""

from __future__ import annotations

import doctest
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "GUIDE.md").read_text(encoding="utf-8")


@pytest.mark.pandas
def test_the_guide_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    assert {language for language, _ in blocks} == {"sh", "pycon"}
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    monkeypatch.chdir(tmp_path)
    for line in "".join(block for language, block in blocks if language == "sh").splitlines():
        command = line.replace("polars-alf", "python -m polars_alf").split()
        subprocess.run([sys.executable, *command[1:]], check=True, stdout=subprocess.DEVNULL)
    # One test of all, as each block goes on from those before.
    examples = "\n".join(block for language, block in blocks if language == "pycon")
    test = doctest.DocTestParser().get_doctest(examples, {}, "GUIDE.md", "GUIDE.md", 0)
    failures: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=failures.append)
    assert not failures, "".join(failures)
