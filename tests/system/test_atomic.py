"""Folders that appear complete: full disks, mounted folders, scans whose outputs share a name."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_stack

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.writer import write_dicom_series
from amir_lightning.io.scan import find_scans
from amir_lightning.restore.output import beside, remove, target_of
from amir_lightning.restore.scratch import ScratchVolume
from amir_lightning.system.atomic import complete_folder


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: what a full disk says, it says."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_while_a_series_is_written_leaves_nothing(tmp_path: Path) -> None:
    write_stack(tmp_path / "in", [0.0, 3.0], PixelData=bytes(48))
    ((scan,), _), output = find_scans(tmp_path / "in"), tmp_path / "out"
    with (
        pytest.raises(InputError, match="free some space or type another output="),
        full_disk(500),
        complete_folder(output) as work,
    ):
        write_dicom_series(scan, scan.read().array, work / "a", description="", derivation="")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_link_to_nothing_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("nowhere")
    with pytest.raises(InputError, match="is a link to nothing"), complete_folder(tmp_path / "out"):
        pytest.fail("it runs")


def test_scratch_space_is_claimed_at_once(tmp_path: Path) -> None:
    with full_disk(4096), pytest.raises(InputError, match=r"is full.*output=<folder>"):
        ScratchVolume(tmp_path / "given", (10, 20, 30))
    volume = ScratchVolume(tmp_path / "other", (10, 20, 30))
    volume[(9,)] = np.ones((20, 30))
    assert volume[(9,)].sum() == 600
    path = tmp_path / "other"
    assert path.stat().st_blocks * 512 >= path.stat().st_size == 4 * 6000


def test_a_mounted_output_folder_is_filled_or_told_before_anything_runs(tmp_path: Path) -> None:
    """A folder of a container: it cannot be renamed, and what is around it may not be written."""
    code = (
        "import sys; from pathlib import Path\n"
        "from amir_lightning.system.atomic import complete_folder\n"
        "with complete_folder(Path(sys.argv[1])) as work:\n"
        "    print('runs'); (work / 'a').mkdir(); (work / 'a' / 'b').write_text('c')\n"
    )
    around, output = tmp_path / "around", tmp_path / "around" / "out"
    output.mkdir(parents=True)
    (tmp_path / "disk").mkdir()

    alone = ["unshare", "--mount", "--map-root-user", "sh", "-c"]

    def run(options: str) -> subprocess.CompletedProcess[str]:
        mounts = (
            f"mount --bind {tmp_path}/disk {output} && mount -o remount,{options},bind {output}"
        )
        shell = f'{mounts} && exec "$@"'
        return subprocess.run(
            [*alone, shell, "sh", sys.executable, "-c", code, str(output)],
            capture_output=True,
            text=True,
            check=False,
        )

    if subprocess.run([*alone, "mount --bind . ."], cwd=tmp_path, check=False).returncode:
        pytest.skip("no private mounts here")
    done = run("rw")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["a"]
    assert (tmp_path / "disk" / "a" / "b").read_text() == "c"
    assert [path.name for path in around.iterdir()] == ["out"]
    (tmp_path / "disk" / "a" / "b").unlink()
    (tmp_path / "disk" / "a").rmdir()
    (tmp_path / "disk" / ".out-killed").mkdir()
    assert run("rw").returncode == 0
    (tmp_path / "disk" / "a" / "b").unlink()
    (tmp_path / "disk" / "a").rmdir()
    refused = run("ro")
    assert "cannot be written (Read-only file system)" in refused.stderr
    assert "runs" not in refused.stdout


def test_series_of_one_folder_and_names_that_look_like_outputs_stay_apart(tmp_path: Path) -> None:
    for uid in ("1.1", "1.2"):
        write_stack(tmp_path / "in" / "a" / uid, [0.0, 3.0], SeriesInstanceUID=uid)
    for path in sorted((tmp_path / "in" / "a").rglob("*.dcm")):
        path.rename(tmp_path / "in" / "a" / f"{path.parent.name}-{path.name}")
    for name in ("a_lq", "a_restored"):
        write_stack(tmp_path / "in" / name, [0.0, 3.0], SeriesInstanceUID=f"1.3.{len(name)}")
    scans, _ = find_scans(tmp_path / "in")
    assert len(scans) == 4
    work, taken = tmp_path / "work", []
    for scan in scans:
        target = target_of(scan, tmp_path / "in", work, "same")
        for path in (target, beside(target, "lq"), beside(target, "uncertainty")):
            path.mkdir(parents=True)  # of which none exists
            taken.append(path)
    assert len(set(taken)) == 12
    remove(taken[0])
    assert not any(path.exists() for path in taken[:3])
    assert taken[3].exists()
