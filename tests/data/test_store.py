import errno
import json
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from amir_lightning.data.memmap import SliceMap
from amir_lightning.data.splits import SPLITS
from amir_lightning.data.store import PreparedPatient, SliceRef, Store, patient_id, write_store
from amir_lightning.errors import InputError
from amir_lightning.system.atomic import complete_file, reserve
from amir_lightning.tasks import load_task

TASK = load_task("ct")


def patient(
    key: str, split: str | list[str] = "train", slices: int = 3, **changes: object
) -> PreparedPatient:
    rng = np.random.default_rng(sum(map(ord, key)))
    made = PreparedPatient(
        patient_key=key,
        lq=rng.normal(size=(slices, 20, 30)).astype(np.float32),
        hq=rng.normal(size=(slices, 20, 30)).astype(np.float32),
        slice_index=np.arange(slices) + 10,
        split=[split] * slices if isinstance(split, str) else split,  # type: ignore[list-item]
        affine=np.diag([-0.5, -0.5, 3, 1]),
        spacing_mm=(3.0, 0.5, 0.5),
        source="nifti sha256:00",
    )
    return made._replace(**changes)


def cohort() -> list[PreparedPatient]:
    return [patient("A"), patient("B", "val", 2), patient("C", "test"), patient("D")]


def write(path: Path, patients: object, **options: object) -> Path:
    arguments = {
        "degradation": {"dose": 0.25, "seed": 0},
        "source": "scans",
        "split_kind": "patients",
        **options,
    }
    write_store(path, TASK, patients, **arguments)  # type: ignore[arg-type]
    return path


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return write(tmp_path / "ct.h5", cohort())


@pytest.mark.parametrize("compression", [None, "lzf"])
def test_round_trip(tmp_path: Path, compression: str | None) -> None:
    store = Store(write(tmp_path / "ct.h5", cohort(), compression=compression), "ct")
    for made in cohort():
        key = patient_id(made.patient_key)
        for row in range(len(made.hq)):
            ref = SliceRef(key, row, row + 10)
            assert ref in store.slices(made.split[row])
            lq, hq = store.read(ref)
            np.testing.assert_array_equal(lq, made.lq[row])
            np.testing.assert_array_equal(hq, made.hq[row])
            assert lq.dtype == hq.dtype == np.float32
            assert store.shape(ref) == (20, 30)
        np.testing.assert_array_equal(store.affine(key), made.affine)
        assert store.spacing_mm(key) == made.spacing_mm
    assert (store.task, store.units, store.plane) == ("ct", "HU", "axial")
    assert store.value_range == (-1024, 3071)
    assert store.degradation == {"dose": 0.25, "seed": 0}
    assert (store.source, store.split_kind) == ("scans", "patients")
    assert "numpy" in store.versions


@pytest.mark.parametrize("compression", [None, "lzf"])
def test_a_crop_is_the_same_window_of_both(tmp_path: Path, compression: str | None) -> None:
    store = Store(write(tmp_path / "ct.h5", cohort(), compression=compression))
    made = patient("C", "test")
    for ref in store.slices("test"):
        for image, window in zip((made.lq, made.hq), store.crop(ref, 3, 7, 8), strict=True):
            np.testing.assert_array_equal(window, image[ref.row, 3:11, 7:15])


def test_only_plain_slices_are_read_past_hdf5(tmp_path: Path) -> None:
    """Compressed, converted or missing chunks have to be read by HDF5."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(3, 20, 30)).astype(np.float32)
    with h5py.File(tmp_path / "some.h5", "w") as file:
        plain = file.create_dataset("plain", data=pixels, chunks=(1, 20, 30))
        windows = SliceMap.of(plain)
        assert windows is not None
        found = windows.read(2, slice(4, 9), slice(5, 30))
        np.testing.assert_array_equal(found, pixels[2, 4:9, 5:30])
        others = [
            file.create_dataset("packed", data=pixels, chunks=(1, 20, 30), compression="lzf"),
            file.create_dataset("summed", data=pixels, chunks=(1, 20, 30), fletcher32=True),
            file.create_dataset("turned", data=pixels.astype(">f4"), chunks=(1, 20, 30)),
            file.create_dataset("small", data=pixels, chunks=(1, 10, 30)),
            file.create_dataset("whole", data=pixels),
            file.create_dataset("empty", shape=(3, 20, 30), dtype="<f4", chunks=(1, 20, 30)),
        ]
        assert [SliceMap.of(dataset) for dataset in others] == [None] * len(others)


def test_a_store_that_is_cut_while_it_is_open_is_named(store_path: Path) -> None:
    store = Store(store_path)
    refs = [ref for split in SPLITS for ref in store.slices(split)]
    store.crop(refs[0], 0, 0, 8)
    os.truncate(store_path, 4000)
    with pytest.raises(InputError, match=r"ct\.h5 is damaged at patient"):
        [store.crop(ref, 0, 0, 8) for ref in refs]


def test_a_patch_lies_in_one_chunk(store_path: Path) -> None:
    with h5py.File(store_path) as file:
        for group in file.values():
            assert group["lq"].chunks == group["hq"].chunks == (1, 20, 30)


def test_slices_are_ordered_by_patient_and_position(tmp_path: Path) -> None:
    shuffled = patient("A", slice_index=np.array([12, 10, 11]))
    store = Store(write(tmp_path / "ct.h5", [shuffled, patient("B")]))
    refs = store.slices("train")
    assert refs == sorted(refs, key=lambda ref: (ref.patient, ref.slice_index))
    assert [ref.row for ref in refs if ref.patient == patient_id("A")] == [1, 2, 0]
    assert store.patients("train") == sorted(map(patient_id, "AB"))
    assert store.patients("val") == []


def test_the_fingerprint_depends_on_content_alone(tmp_path: Path) -> None:
    def fingerprint(patients: list[PreparedPatient], **options: object) -> str:
        return Store(write(tmp_path / "ct.h5", patients, **options)).fingerprint

    expected = fingerprint(cohort())
    assert fingerprint(cohort()[::-1], compression="lzf") == expected
    one_bit = cohort()
    one_bit[2].lq[0, 0, 0] = np.nextafter(one_bit[2].lq[0, 0, 0], 9)
    assert fingerprint(one_bit) != expected
    assert fingerprint([*cohort()[:3], patient("D", "val")]) != expected
    assert fingerprint(cohort(), degradation={"dose": 0.5, "seed": 0}) != expected


def test_patient_keys_do_not_enter_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.h5", [patient("Jane_Doe_19700101")])
    assert b"Jane_Doe" not in path.read_bytes()


def _first_pixel(store: Store) -> float:
    return float(store.read(store.slices("train")[0])[1][0, 0])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_open_store_goes_into_a_worker(store_path: Path, method: str) -> None:
    store = Store(store_path)
    expected = _first_pixel(store)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(_first_pixel, (store,)) == expected
    assert _first_pixel(store) == expected
    assert _first_pixel(pickle.loads(pickle.dumps(store))) == expected


def test_unusable_files_name_the_command(tmp_path: Path, store_path: Path) -> None:
    content = store_path.read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.h5").write_text("LQ and HQ")
    h5py.File(tmp_path / "other.h5", "w").close()
    command = r"python -m amir_lightning\.prepare task=ct raw_dir="
    for name, reason in [
        ("absent.h5", "does not exist"),
        ("cut.h5", "truncated"),
        ("text.h5", "not HDF5"),
        ("other.h5", "not a prepared store"),
    ]:
        with pytest.raises(InputError, match=rf"{name}.*{reason}.*{command}"):
            Store(tmp_path / name, "ct")
    with pytest.raises(InputError, match="holds the task ct, expected pet"):
        Store(store_path, "pet")


def test_images_of_different_shapes_are_refused(tmp_path: Path, store_path: Path) -> None:
    made = patient("A")
    with pytest.raises(InputError, match="same"):
        write(tmp_path / "new.h5", [made._replace(lq=made.lq[:, 1:])])
    with h5py.File(store_path, "a") as file:
        group = file[patient_id("C")]
        del group["lq"]
        group["lq"] = np.zeros((3, 19, 30), np.float32)
    with pytest.raises(InputError, match=r"LQ of \(3, 19, 30\) and HQ of \(3, 20, 30\)"):
        Store(store_path).slices("train")


def test_unusable_patients_are_named_and_leave_nothing(tmp_path: Path) -> None:
    with_nan, with_inf = patient("A"), patient("A")
    with_nan.hq[2, 3, 4] = np.nan
    with_inf.lq[1, 0, 0] = np.inf
    two_splits = patient("A", split=["train", "train", "test"])
    cases = [
        ([with_nan], "patient A has NaN or infinite pixels in HQ slice 12"),
        ([with_inf], "LQ slice 11"),
        ([two_splits], "patient A is in two splits, train and test"),
        ([patient("A"), patient("B"), patient("A", "test")], "patient A occurs twice"),
        ([patient("A", split=["train"])], "3 slices, 3 positions and 1 split;"),
        ([], "no patient"),
    ]
    for patients, reason in cases:
        with pytest.raises(InputError, match=reason):
            write(tmp_path / "ct.h5", patients)
    assert list(tmp_path.iterdir()) == []
    blocks = Store(write(tmp_path / "ct.h5", [two_splits], split_kind="slice blocks"))
    assert [len(blocks.slices(split)) for split in SPLITS] == [2, 0, 1]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, InputError])
def test_an_exception_midway_leaves_what_was_there(
    store_path: Path, error: type[BaseException]
) -> None:
    before = store_path.read_bytes()

    def failing() -> Iterator[PreparedPatient]:
        yield patient("X")
        assert len(list(store_path.parent.iterdir())) == 2, "written aside"
        raise error("midway")

    with pytest.raises(error, match="midway"):
        write(store_path, failing())
    assert list(store_path.parent.iterdir()) == [store_path]
    assert store_path.read_bytes() == before


STALLING = """
import os, signal, sys
sys.path[:0] = [os.path.dirname(sys.argv[1]), "src"]
from pathlib import Path
from test_store import patient, write

def killed():
    yield patient("X")
    os.kill(os.getpid(), int(sys.argv[3]))
    yield patient("Y")

write(Path(sys.argv[2]), killed())
"""


def _killed_by(number: int, path: Path) -> int:
    command = [sys.executable, "-c", STALLING, __file__, str(path), str(number)]
    return subprocess.run(command, check=False, cwd=Path(__file__).parents[2]).returncode


def test_sigterm_leaves_nothing(tmp_path: Path) -> None:
    assert _killed_by(signal.SIGTERM, tmp_path / "ct.h5") == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "ct[1].h5"
    assert _killed_by(signal.SIGKILL, path) == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".ct[1].h5.partial-")
    mine_to_keep = tmp_path / f".ct[1].h5.partial-{os.getppid()}"  # a process that is alive
    mine_to_keep.touch()
    write(path, cohort())
    assert sorted(tmp_path.iterdir()) == [mine_to_keep, path]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"full: .* free and 2\.0 MB more are needed.*output="):
            write(tmp_path / "ct.h5", [patient("A"), patient("B", slices=400)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_for_want_of_space_is_one_sentence(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        with complete_file(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="is full"):
        fail(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_reserved_space_is_not_kept(store_path: Path) -> None:
    assert store_path.stat().st_size < 200_000
    with complete_file(store_path.with_name("b")) as partial:
        reserve(partial, 1000)
        assert partial.stat().st_size == 1000


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in [tmp_path, tmp_path / "file" / "ct.h5"]:
        with pytest.raises(InputError, match=r"cannot write.*output="):
            write(path, cohort())


def test_the_file_describes_itself(store_path: Path) -> None:
    with h5py.File(store_path) as file:
        assert file.attrs["format"] == "amir-lightning prepared slices"
        assert json.loads(file.attrs["degradation"])["dose"] == 0.25
        assert len(file.attrs["fingerprint"]) == 64


@pytest.mark.parametrize(
    "trick", ["soft", "external", "group", "raw", "virtual", "type", "length", "split", "group lq"]
)
def test_a_store_shows_no_other_file(tmp_path: Path, trick: str) -> None:
    path = write(tmp_path / "ct.h5", cohort())
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["lq"] = file["group/lq"] = np.ones((3, 20, 30), np.float32)
    Store(path).slices("train")
    with h5py.File(path, "a") as file:
        key = sorted(file)[0]
        if trick == "group":
            del file[key]
            file[key] = h5py.ExternalLink(secret, "group")
        elif trick in ("length", "split"):
            name = "slice_index" if trick == "length" else "split"
            count = len(file[key][name])
            del file[key][name]
            file[key][name] = np.full(count + (trick == "length"), 200, np.uint8)
        else:
            shape = file[key]["lq"].shape
            del file[key]["lq"]
            if trick == "soft":
                file[key]["lq"] = h5py.SoftLink(f"/{sorted(file)[1]}/lq")
            elif trick == "external":
                file[key]["lq"] = h5py.ExternalLink(secret, "lq")
            elif trick == "raw":
                size = int(np.prod(shape)) * 4
                file[key].create_dataset(
                    "lq", shape, np.float32, external=[("/proc/self/environ", 0, size)]
                )
            elif trick == "virtual":
                layout = h5py.VirtualLayout(shape, np.float32)
                layout[:] = h5py.VirtualSource(secret, "lq", shape=shape)
                file[key].create_virtual_dataset("lq", layout)
            elif trick == "type":
                file[key]["lq"] = np.zeros(shape, "S4")
            else:
                file[key].create_group("lq")
    with pytest.raises(InputError, match=r"refers to other data|is damaged|other types"):
        Store(path).slices("train")


@pytest.mark.parametrize("name", ["ct.h5", "other.h5"])
def test_stores_that_share_hq_in_a_circle_are_refused(tmp_path: Path, name: str) -> None:
    for own, shared in (("ct.h5", name), ("other.h5", "ct.h5")):
        with h5py.File(write(tmp_path / own, cohort()), "a") as file:
            file.attrs["hq_file"], file.attrs["hq_fingerprint"] = shared, "0"
    with pytest.raises(InputError, match=f"{name} has no HQ that another file could share"):
        Store(tmp_path / "ct.h5")


@pytest.mark.parametrize("array", ["lq", "split"])
def test_a_store_that_declares_more_than_it_holds_is_refused(store_path: Path, array: str) -> None:
    with h5py.File(store_path, "a") as file:
        group = file[sorted(file)[0]]
        count, shape = len(group["split"]), (3, 30_000, 30_000)
        names = ["lq", "hq"] if array == "lq" else ["split", "slice_index"]
        for name in names:
            kind = group[name].dtype
            del group[name]
            size = (count, *shape[1:]) if array == "lq" else (10**10,)
            group.create_dataset(name, size, kind, chunks=True, compression="gzip")
    with pytest.raises(InputError, match=r"declares more than it holds"):
        Store(store_path).slices("train")
