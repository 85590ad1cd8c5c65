"""Finding files: links, circular and dead links, hidden and unreadable folders."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from conftest import Command

from amir_lightning.io.dicom.series import Damaged
from amir_lightning.io.files import find_files


def touch(*paths: str) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(folder: str = "data") -> tuple[list[str], dict[str, int]]:
    files, skipped = find_files(Path(folder))
    names = [path.relative_to(folder).as_posix() for path in files]
    return names, dict(Counter(one.reason.split(":")[0].split(" (")[0] for one in skipped))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    touch("store/sub-1/anat/t2.nii", "store/sub-2/anat/t2.nii", "store/sub-3/anat/t2.nii")
    touch("data/sub-0/anat/t2.nii", "data/sub-2/notes")
    Path("data/sub-1").symlink_to("../store/sub-1")
    Path("data/sub-2/anat").symlink_to(tmp_path / "store/sub-2/anat")
    touch("data/sub-3/x")
    Path("data/sub-3/t2.nii").symlink_to("../../store/sub-3/anat/t2.nii")
    assert found() == (
        [
            *("sub-0/anat/t2.nii", "sub-1/anat/t2.nii", "sub-2/anat/t2.nii", "sub-2/notes"),
            *("sub-3/t2.nii", "sub-3/x"),
        ],
        {},
    )
    Path("shortcut").symlink_to("data/sub-0")
    assert found("shortcut") == (["anat/t2.nii"], {})


def test_each_real_folder_is_found_once_and_circles_end(tmp_path: Path) -> None:
    touch("data/b/t2.nii", "store/c/deep/t2.nii", "sibling/not_ours.nii")
    Path("data/a").symlink_to("b")  # first in the alphabet, but the real name comes first
    Path("data/again.nii").symlink_to("b/t2.nii")
    Path("data/b/up").symlink_to("..")
    Path("data/b/out").symlink_to(tmp_path)  # holds the folder, and others
    Path("data/b/self").symlink_to(".")
    Path("data/c").symlink_to("../store/c/deep")
    Path("data/d").symlink_to("../store/c")
    Path("store/c/back").symlink_to("../../data")
    Path("data/loop").symlink_to("loop")
    names, reasons = found()
    assert names == ["b/t2.nii", "c/t2.nii"]
    assert reasons == {
        "link to a folder around it": 3,
        "folder that is found under another name": 3,
        "file that is found under another name": 1,
        "dead link": 1,
    }


def test_what_is_left_out_is_listed() -> None:
    touch("data/I0001", "data/.DS_Store", "data/._t2.nii", "data/.git/config", "data/p/.cache/x")
    touch("data/lost+found/x")
    Path("data/p/t2.nii").symlink_to("../.git/annex/objects/MD5E-s1--0.nii")
    os.mkfifo("data/queue")
    assert found() == (
        ["I0001"],
        {
            "hidden file": 2,
            "hidden folder": 2,
            "folder of the system": 1,
            "dead link": 1,
            "neither file nor folder": 1,
        },
    )


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make folders unreadable, even for root."""
    names: set[str] = set()
    scandir = os.scandir

    def refuse(path: Any = ".") -> Iterator["os.DirEntry[str]"]:
        if str(path).split("/")[-1] in names:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return names.add


def test_a_closed_folder_is_said_and_the_others_are_found(closed: Callable[[str], None]) -> None:
    touch("data/p1/t2.nii", "data/p2/t2.nii")
    closed("p1")
    files, (skipped,) = find_files(Path("data"))
    assert files == [Path("data/p2/t2.nii")]
    assert isinstance(skipped, Damaged)
    assert skipped.problem.startswith("data/p1 cannot be read (Permission denied);")


def brain(path: str, seed: int) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).uniform(200, 500, (20, 20, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1, -1, 3, 1])), path)


def test_prepare_finds_what_restore_finds(command: Command) -> None:
    for number in range(4):
        brain(f"store/sub-{number}/anat/t2.nii", number)
    Path("data").mkdir()
    for number in range(4):
        Path(f"data/sub-{number}").symlink_to(f"../store/sub-{number}")
    touch("data/sub-4/.hidden")
    Path("data/sub-4/t2.nii").symlink_to("nowhere")
    done = command("prepare", "task=mri", "jobs=1", "raw_dir=data", "output=out/mri.h5")
    assert done.status == 0, done.err
    assert "dead link (fetch its file, as datalad get does)" in done.out
    assert "1 x hidden file" in done.out
    assert "train" in done.out


def test_prepare_stops_at_a_closed_folder_unless_told(
    command: Command, closed: Callable[[str], None]
) -> None:
    for number in range(5):
        brain(f"data/p{number}/t2.nii", number)
    closed("p3")
    usual = ("task=mri", "jobs=1", "raw_dir=data", "output=out/mri.h5")
    done = command("prepare", *usual)
    assert done.status == 2
    assert "p3 cannot be read (Permission denied)" in done.err
    assert not Path("out").exists()
    done = command("prepare", *usual, "on_error=skip")
    assert done.status == 0, done.err
    assert "1 x unreadable" in done.out
    closed("data")
    done = command("prepare", *usual)
    assert done.status == 2
    assert "raw_dir=data cannot be read (Permission denied)" in done.err
