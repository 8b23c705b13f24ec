"""Hooks of MkDocs that put into the site what stands elsewhere in the repository.

- README.md is the home page; CHANGELOG.md, CONTRIBUTING.md and the records of benchmarks are pages.
- ``<!-- commands -->`` becomes the help of every command.
- ``<!-- columns: MODULE.NAME -->`` becomes the columns of that Arrow schema.

Links in a page are those of the repository, so that they also work where the file itself is read.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pyarrow as pa
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parent.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that lie outside `docs`."""
    paths = [REPOSITORY / "CHANGELOG.md", REPOSITORY / "CONTRIBUTING.md"]
    for record in sorted((REPOSITORY / "benchmarks" / "runs").iterdir()):
        paths += [*record.glob("*.md"), *record.glob("*.svg")]
    for path in paths:
        name = path.relative_to(REPOSITORY).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    readme = str(REPOSITORY / "README.md")
    files.append(File.generated(config, "index.md", abs_src_path=readme))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in commands and columns, and make links between `docs` and its surroundings work."""
    if page.file.generated_by:
        markdown = markdown.replace("](docs/", "](")
    else:
        markdown = markdown.replace("](../README.md", "](index.md").replace("](../", "](")
    if "<!-- commands -->" in markdown:
        markdown = markdown.replace("<!-- commands -->", describe_commands())
    return re.sub(r"<!-- columns: ([\w.]+) -->", lambda match: list_columns(match[1]), markdown)


def describe_commands() -> str:
    """Return the help of every command as Markdown, made by Typer."""
    command = [sys.executable, "-m", "typer", "polars_alf.cli.app", "utils", "docs"]
    result = subprocess.run(
        [*command, "--name", "polars-alf"], capture_output=True, text=True, check=True
    )
    # What comes before the first command is a list of commands, as is the table of contents.
    return "## " + result.stdout.partition("\n## ")[2]


def list_columns(name: str) -> str:
    """Return the columns of an Arrow schema, given by its full name, as a Markdown table."""
    module, _, attribute = name.rpartition(".")
    schema: pa.Schema = getattr(import_module(module), attribute)
    lines = ["| column | type | |", "|---|---|---|"]
    for field in schema:
        metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        text = metadata["description"].replace("''", "`''`")
        unit = f", in {metadata['unit']}" if "unit" in metadata else ""
        lines.append(f"| `{field.name}` | {show_type(field.type)} | {text}{unit} |")
    return "\n".join(lines)


def show_type(dtype: pa.DataType) -> str:
    return "category" if pa.types.is_dictionary(dtype) else str(dtype).partition("[")[0]
