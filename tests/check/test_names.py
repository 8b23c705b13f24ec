"""Names that nearly are those of datasets."""

from __future__ import annotations

from pathlib import Path

import pytest
from table_frames import make_datasets, make_sessions
from trees import make_tree

import polars_alf
from polars_alf.check.names import _USUAL

USUAL = [
    f"{name}.{attribute}" for name, attributes in _USUAL.items() for attribute in attributes.split()
]


def find(paths: list[str], **options: object) -> dict[str, str]:
    """Return the likely spelling of each odd name among the datasets of one session."""
    rows = [("s", str(number), path, 1) for number, path in enumerate(paths)]
    pair = make_sessions([("s", "KS001")]), make_datasets(rows)
    findings = polars_alf.check_tables(pair, **options).findings  # type: ignore[arg-type]
    return dict(findings.filter(kind="misspelt_name").select("rel_path", "likely").rows())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("odd", "likely"),
    [
        ("spike.times.npy", "spikes.times.npy"),
        ("trials.choice_1.npy", "trials.choice.npy"),
        ("Spikes.Times.NPY", "spikes.times.npy"),
        ("spikes.times.NPY", "spikes.times.npy"),
        ("_ibl_trials.coice.npy", "_ibl_trials.choice.npy"),
        ("_ibl_trials.goCue_Times.npy", None),  # a timescale of its own
        ("trials.stimon_times.npy", "trials.stimOn_times.npy"),
        ("spike.times_ephysClock.probe00.npy", "spikes.times_ephysClock.probe00.npy"),
        ("leftCamra.times.npy", "leftCamera.times.npy"),
        ("licks.time.npy", "licks.times.npy"),
        ("spikes.times.npyy", "spikes.times.npy"),
        ("_ibl_leftCamera.raw.mp5", None),
        ("notes.text.jsonl", None),
        ("ibl_trials.table.pqt", "_ibl_trials.table.pqt"),
        ("iblrig_leftCamera.timestamps.ssv", "_iblrig_leftCamera.timestamps.ssv"),
        ("eye_trials.table.pqt", None),
        ("clicks.times.npy", None),
        ("camera.pose.npy", None),
    ],
)
def test_odd_names_have_a_likely_spelling(odd: str, likely: str | None) -> None:
    expected = {f"alf/{odd}": f"alf/{likely}"} if likely else {}
    assert find([f"alf/{odd}"]) == expected
    assert find([odd]) == ({odd: likely} if likely else {})


@pytest.mark.parametrize(
    ("path", "odd", "likely"),
    [
        ("alf/prob00/spikes.times.npy", "alf/prob00", "alf/probe00"),
        ("alf/Probe00/spikes.times.npy", "alf/Probe00", "alf/probe00"),
        ("alf/prob00/ks/spikes.times.npy", "alf/prob00", "alf/probe00"),
        ("raw_ehpys_data/probe00/a.b.bin", "raw_ehpys_data", "raw_ephys_data"),
        ("raw_ephys_dat/a.b.bin", "raw_ephys_dat", "raw_ephys_data"),
        ("alf/probe00a/spikes.times.npy", None, None),  # one shank of several
        ("alf/probes/spikes.times.npy", None, None),
        ("raw_task_data_01/a.b.bin", None, None),
    ],
)
def test_odd_folders_have_a_likely_spelling(path: str, odd: str | None, likely: str | None) -> None:
    assert find([path]) == ({odd: likely} if odd else {})


def test_a_folder_is_one_finding_however_many_files_it_has() -> None:
    paths = [f"raw_vidoe_data/{name}.times.npy" for name in ("leftCamera", "rightCamera")]
    assert find(paths) == {"raw_vidoe_data": "raw_video_data"}


def test_folders_of_a_template_are_known() -> None:
    paths = ["widefeild/spikes.times.npy"]
    assert find(paths) == {}
    found = find(paths, template=["widefield/spikes.times.npy"])
    assert found == {"widefeild": "widefield"}


def test_usual_names_are_not_odd() -> None:
    assert find([f"alf/_ibl_{stem}.npy" for stem in USUAL]) == {}


def test_every_wrong_letter_is_found() -> None:
    long = [stem for stem in USUAL if len(stem) > 8 and "_" not in stem]
    odd = [
        f"{stem[:at]}q{stem[at + 1 :]}.npy"
        for stem in long
        for at, letter in enumerate(stem)
        if at and letter.isalpha() and letter != "q"
    ]
    assert len(odd) > 500
    found = find(odd)
    assert found.keys() == {*odd}
    assert {name.removesuffix(".npy") for name in found.values()} <= {*USUAL}


def test_two_files_side_by_side_that_differ_in_a_letter_are_two() -> None:
    assert find(["alf/spikes.times.npy", "alf/spike.times.npy"]) == {}
    # But a copy that a program numbered, or another case, is never meant.
    assert find(["alf/trials.choice.npy", "alf/trials.choice_1.npy"]) == {
        "alf/trials.choice_1.npy": "alf/trials.choice.npy"
    }


def test_names_that_many_sessions_have_are_known() -> None:
    eids = [f"s{number}" for number in range(21)]
    sessions = make_sessions([(eid, eid) for eid in eids])
    rows = [(eid, eid, "alf/maze.reward_times.npy", 1) for eid in eids[1:]]
    rows.append(("s0", "s0", "alf/maze.rewrd_times.npy", 1))
    found = polars_alf.check_tables((sessions, make_datasets(rows))).findings
    assert found.select("eid", "likely").rows() == [("s0", "alf/maze.reward_times.npy")]
    few = polars_alf.check_tables((sessions, make_datasets(rows[-10:]))).findings
    assert few.is_empty()


def test_cameras_that_differ_in_a_number_are_two() -> None:
    paths = ["alf/camera1.times.npy", "alf/camera2.times.npy"]
    assert find([*paths, *(f"alf/#r{n}#/camera1.times.npy" for n in range(20))]) == {}


def test_a_template_makes_names_known() -> None:
    assert find(["alf/spike.times.npy"], template=["alf/spike.times.npy"]) == {}
    odd = find(["alf/maze.rewrds.npy"], template=["alf/maze.rewards.npy"])
    assert odd == {"alf/maze.rewrds.npy": "alf/maze.rewards.npy"}


@pytest.mark.parametrize(
    ("odd", "likely"),
    [
        ("spikes_times.npy", "spikes.times.npy"),
        ("spikes times.npy", "spikes.times.npy"),
        ("spikes.times (1).npy", "spikes.times.npy"),
        ("spikes.times - copy.npy", "spikes.times.npy"),
        ("spikes.times", "spikes.times.npy"),
        ("_ibl_trials-choice.npy", "_ibl_trials.choice.npy"),
        ("spiks_times.npy", "spikes.times.npy"),
        ("._spikes.times.npy", None),
        ("notes.txt", None),
        ("README", None),
    ],
)
def test_names_that_are_not_alf_are_found_in_an_archive(
    tmp_path: Path, odd: str, likely: str | None
) -> None:
    root = make_tree(tmp_path / "a", {"lab/Subjects/S/2020-01-01/001/alf": {odd: 1}})
    checked = polars_alf.check_archive(root)
    assert checked.n_other_files == 1
    found = checked.findings.select("rel_path", "likely").rows()
    assert found == ([(f"alf/{odd}", f"alf/{likely}")] if likely else [])
