"""The page as a file: whole, small, without a network, and safe whatever names hold."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import date, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from table_frames import make_datasets, make_sessions, write_tables
from trees import SESSION, make_tree

import polars_alf
from polars_alf.display import PALETTE
from polars_alf.errors import ArchiveNotFoundError, MissingExtraError, OutputError
from polars_alf.page import api
from polars_alf.schema import DATASETS, SESSIONS, polars_schema

VOID = {"meta", "input", "link", "br"}


class Outline(HTMLParser):
    """The structure of a page: its headings, ids, pictures and texts, with tags that match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.pictures: list[str | None] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "svg":
            assert values["role"] == "img"
            self.pictures.append(values["aria-label"])
        self.ids += [values["id"] or ""] if "id" in values else []
        self.addresses += [values[name] or "" for name in ("src", "href") if name in values]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_whole_and_needs_no_network(changed: Path) -> None:
    page = polars_alf.report(changed)
    assert page.labels == ("archive",)
    outline = Outline(page.html)
    assert outline.open == []
    assert outline.headings[0] == 1
    neighbours = pairwise(outline.headings)
    assert all(after <= before + 1 for before, after in neighbours), "no level is left out"
    assert len(outline.ids) == len(set(outline.ids))
    assert len(outline.pictures) >= 6
    assert all(outline.pictures)
    assert all(address.startswith("#") for address in outline.addresses)
    assert "url(http" not in page.html
    for text in ("invalid_date", "wittenlab/Subjects/KS001/2020-05-01/001/alf/new.data.npy"):
        assert text in page.html
    assert "contents are there more than once" in page.html


@pytest.mark.slow
def test_archives_are_side_by_side(changed: Path, tmp_path: Path) -> None:
    other = write_tables(
        tmp_path / "elsewhere/archive", (make_sessions([("e", "S")]), make_datasets([]))
    )
    page = polars_alf.report(changed, other)
    assert page.labels == (f"{tmp_path.name}/archive", "elsewhere/archive")
    outline = Outline(page.html)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert "these tables were not made by an index" in page.html
    assert polars_alf.report(str(tmp_path / "**")).labels == page.labels


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    root = make_tree(
        tmp_path / "a&b <i>",
        {f"{evil}/Subjects/S/2020-01-01/001": {f"{evil}/a.b.npy": 1}},
    )
    polars_alf.index_archive(root)
    page = polars_alf.report(root)
    assert "<img" not in page.html
    assert Outline(page.html).open == []
    assert "<i>" not in page.html
    assert "&lt;img src=x" in page.html


def test_empty_tables_have_a_page(tmp_path: Path) -> None:
    folder = write_tables(tmp_path / "tables", (make_sessions([]), make_datasets([])))
    page = polars_alf.report(folder)
    assert "There is no session." in page.html
    assert "There is no dataset." in page.html
    assert Outline(page.html).open == []


@pytest.mark.slow
def test_the_size_of_a_page_has_a_limit(tmp_path: Path) -> None:
    """A hundred thousand sessions of as many subjects, whose names are as long as can be."""
    n = 100_000
    number = pl.int_range(n, eager=True)
    long = pl.lit("x" * 200)
    sessions = pl.select(
        id=number.cast(pl.String),
        lab=pl.format("lab{}{}", number % 500, long),
        subject=pl.format("S{}{}", number, long),
        date=pl.lit(date(1950, 1, 1)) + pl.duration(days=number % 30_000),
        number=pl.lit(1),
        task_protocol=pl.lit(""),
        projects=pl.lit(""),
    ).cast(polars_schema(SESSIONS))  # type: ignore[arg-type]
    datasets = pl.select(
        eid=number.cast(pl.String),
        id=number.cast(pl.String),
        rel_path=pl.format("{}{}/a.b.{}", long, number, number % 1000),
        file_size=number.cast(pl.UInt64) ** 3,
        hash=pl.format("{}", number // 2),
        exists=pl.lit(value=True),
        qc=pl.lit("PASS"),
    ).cast(polars_schema(DATASETS))  # type: ignore[arg-type]
    page = polars_alf.report(write_tables(tmp_path / "tables", (sessions, datasets)))
    assert len(page.html.encode()) < 3_000_000


def test_a_page_is_written_whole_or_not_at_all(changed: Path, tmp_path: Path) -> None:
    page = polars_alf.report(changed)
    file = page.write(tmp_path / "page.html")
    assert file.read_text(encoding="utf-8") == page.html
    with pytest.raises(OutputError, match="give another place"):
        page.write(tmp_path / "nowhere" / "page.html")


def test_a_notebook_shows_a_page_in_a_frame(changed: Path) -> None:
    page = polars_alf.report(changed)
    assert repr(page).startswith("<ArchivePage of archive: ")
    shown = page._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;')
    assert shown.count("<") == 2


def test_steps_are_counted(changed: Path) -> None:
    steps: list[tuple[int, int]] = []
    polars_alf.report(changed, progress=lambda done, n_all, text: steps.append((done, n_all)))
    assert steps == [(0, 2), (1, 2)]


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArchiveNotFoundError):
        polars_alf.report(tmp_path / "nowhere")
    monkeypatch.setattr(api, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"polars-alf\[report\]"):
        polars_alf.report(tmp_path)


def find_luminance(color: str) -> float:
    """Return the relative luminance of WCAG."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def find_contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG has it."""
    low, high = sorted(map(find_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_colors_have_contrast() -> None:
    css = (Path(api.__file__).parent / "page.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w{6})\b", line))
        for line in re.findall(r":root \{.*#\w{6}.*\}", css)[:2]
    )
    light["ground"] = "#ffffff"
    for colors in (light, dark):
        for ground in (colors["ground"], colors["raised"]):
            for text in (colors["text"], colors["soft"], colors["accent"]):
                assert find_contrast(text, ground) >= 4.5
        for color in PALETTE:
            assert find_contrast(color, colors["ground"]) >= 3, color


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@pytest.mark.thorough
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_in_a_browser_a_page_fits_and_its_tables_sort_and_filter(
    changed: Path, tmp_path: Path, width: int
) -> None:
    make_tree(changed, {f"wittenlab/Subjects/KS{n:03}/2020-01-01/001": SESSION for n in range(20)})
    polars_alf.index_archive(changed)
    page = polars_alf.report(changed)
    # The policy of the page lets no other script run, so the probe needs a page without it.
    probe = """
      const box = [...document.querySelectorAll('.table')].find(
        (each) => each.querySelector('h3').textContent === 'By subject');
      const input = box.querySelector('input'), body = box.querySelector('tbody');
      const first = () => body.rows[0].cells[0].textContent;
      input.value = 'ks01';
      input.dispatchEvent(new Event('input'));
      const found = [...body.rows].filter((row) => !row.hidden).length;
      const button = box.querySelector('th button');
      button.click();
      const lowest = first();
      button.click();
      document.title = [document.documentElement.scrollWidth <= innerWidth,
        input.getClientRects().length, found, lowest, first()];
    """
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.html)
    file = tmp_path / "probe.html"
    file.write_text(text.replace("</body>", f"<script>{probe}</script></body>"), encoding="utf-8")
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--window-size={width},900",
    ]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert "<title>true,1,10,KS000,KS019</title>" in shown


def test_dates_of_a_century_fit(tmp_path: Path) -> None:
    rows = [(f"e{n}", "S") for n in range(40)]
    days = [date(1950, 1, 1) + timedelta(days=1000 * n) for n in range(40)]
    sessions = make_sessions(rows).with_columns(date=pl.Series(days))
    folder = write_tables(tmp_path / "tables", (sessions, make_datasets([])))
    assert "Sessions by year and lab" in polars_alf.report(folder).html
