"""Malicious scans: mutated files, and small files that declare large images."""

import gzip
import os
import signal
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import enhanced, write_slice
from fuzz import Corpus, Result, fuzz, make_corpus, write_case
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from amir_lightning.data.layouts.archive import _image as archive_image
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import read_dicom_series
from amir_lightning.io.nifti.scan import read_nifti

MOST = 256 << 20  # bytes
SLOW = 2.0  # seconds of processor time


def refused(read: Callable[[], object], reason: str) -> None:
    """Assert that reading fails with an error message, quickly and with little memory."""
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(InputError, match=reason) as caught:
            read()
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < SLOW
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def test_mutated_scans_are_read_or_refused(corpus: Corpus) -> None:
    results = [one for one in fuzz(corpus, seed=7, first=0, files=240) if isinstance(one, Result)]
    assert len(results) == 240
    assert {one.outcome for one in results} == {"read", "refused"}, [
        one for one in results if one.outcome not in ("read", "refused")
    ]


def test_a_process_that_dies_is_noticed(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(number: int) -> None:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 5:
            raise RuntimeError("leaked")
        if number == 6:
            bytearray(1 << 40)

    monkeypatch.setattr("fuzz.read_and_write", lambda folder, output: die(len(seen)) or "read")
    seen: list[int] = []
    monkeypatch.setattr("fuzz.write_case", lambda *_: seen.append(0) or "x")
    monkeypatch.setattr("fuzz.PER_WORKER", 4)
    # Each process counts anew what it has seen.
    outcomes = [one.outcome for one in fuzz(corpus, 0, 0, 4) if isinstance(one, Result)]
    assert outcomes == ["read", "read", "crash", "read"]
    monkeypatch.setattr("fuzz.PER_WORKER", 7)
    seen[:] = [0, 0, 0]
    outcomes = [one.outcome for one in fuzz(corpus, 0, 0, 3) if isinstance(one, Result)]
    assert outcomes == ["read", "RuntimeError", "MemoryError"]


def test_a_case_is_always_the_same(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    again = make_corpus(tmp_path / "again")
    assert again == corpus
    for number in range(len(corpus)):
        written = []
        for scans in (corpus, again):
            name = write_case(scans, 5, number, tmp_path)
            written.append({file: (tmp_path / file).read_bytes() for file in scans[name]})
        assert written[0] == written[1]


def test_a_nifti_cannot_declare_more_than_it_has(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((20000, 20000, 200))
    header.set_data_dtype(np.float32)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_sform(np.eye(4), code="scanner")
    start = header.binaryblock + bytes(4)
    cases = {"huge.nii": start, "huge.nii.gz": gzip.compress(start + bytes(1 << 20))}
    header.set_data_shape((8, 8, 8))
    header["vox_offset"] = 1e12
    cases["far.nii.gz"] = gzip.compress(header.binaryblock + bytes(1 << 20))
    header["vox_offset"] = 352
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        for read in (partial(read_nifti, units="a.u."), archive_image):
            reason = r"declares \d+ bytes, more than so small a file can hold"
            refused(partial(read, tmp_path / name), reason)
    # A gzip bomb: a small volume, followed by many zeros.
    bomb = gzip.compress(header.binaryblock + bytes(300 << 20), 1)
    (tmp_path / "bomb.nii.gz").write_bytes(bomb)
    refused(lambda: read_nifti(tmp_path / "bomb.nii.gz", "a.u."), "goes on long after its last")


def test_a_gzipped_scan_of_one_value_is_no_bomb(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((256, 256, 100), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    assert (tmp_path / "a.nii.gz").stat().st_size * 200 < 256 * 256 * 100 * 2
    assert read_nifti(tmp_path / "a.nii.gz", "a.u.").array.max() == 0


def test_a_deflated_file_cannot_unfold_without_end(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a.dcm", np.zeros((4, 6), np.uint16), (0, 0, 0))
    whole = pydicom.dcmread(path)
    whole.add_new((0x0009, 0x0010), "LO", "mine")
    whole.add_new((0x0009, 0x1000), "OB", bytes(300 << 20))
    whole.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole.save_as(path, enforce_file_format=True)
    assert path.stat().st_size < 1 << 20
    refused(lambda: read_dicom_series([path]), "unfolds to more than so small a file can hold")


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "both"])
def test_compressed_pixels_cannot_declare_any_size(tmp_path: Path, keyword: str) -> None:
    path = write_slice(tmp_path / "a.dcm", np.zeros((4, 6), np.uint16), (0, 0, 0))
    whole = pydicom.dcmread(path)
    whole.compress(RLELossless)
    for name in ("Rows", "Columns"):
        if keyword in (name, "both"):
            setattr(whole, name, 65535)
    whole.save_as(path)
    refused(lambda: read_dicom_series([path]), "is not a readable DICOM image")


def test_a_length_beyond_the_file_sets_no_memory_aside(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a.dcm", np.zeros((4, 6), np.uint16), (0, 0, 0))
    data = path.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00OW\0\0") + 8
    path.write_bytes(data[:at] + (0xFFFFFFF0).to_bytes(4, "little") + data[at + 4 :])
    tracemalloc.start()
    try:
        assert read_dicom_series([path]).array.shape == (1, 4, 6)  # the pixels are all there
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"])
def test_an_image_that_ends_its_decoder_is_refused(
    corpus: Corpus, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(corpus[name]["a.dcm"])
    before = read_dicom_series([path]).array
    whole = pydicom.dcmread(path)
    whole.Rows = 50000  # one of the three codecs crashes, the others refuse it
    whole.save_as(tmp_path / "b.dcm")
    with pytest.raises(InputError, match="decoder|decoded"):
        read_dicom_series([tmp_path / "b.dcm"])
    np.testing.assert_array_equal(read_dicom_series([path]).array, before)


def test_frames_of_an_enhanced_file_are_looked_at_too(tmp_path: Path) -> None:
    enhanced(tmp_path / "a.dcm", [0.0, 3.0])
    whole = pydicom.dcmread(tmp_path / "a.dcm")
    whole.compress(RLELossless)
    whole.save_as(tmp_path / "a.dcm")
    assert read_dicom_series([tmp_path / "a.dcm"]).array.shape == (2, 4, 6)
    whole.Rows = whole.Columns = 65535
    whole.save_as(tmp_path / "a.dcm")
    refused(lambda: read_dicom_series([tmp_path / "a.dcm"]), "more pixels than so small a file")
