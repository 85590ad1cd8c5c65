"""Seeded mutations of small scans, each read and written back in a process that may die.

``python tests/fuzz.py --files 20000 --seed 0`` prints what became of them and ends with status 1 if
a file did anything but be read or be refused with `InputError`. File n of a seed is always the same
(``--first n --files 1 --keep folder`` writes it down); the tests run a few hundred of them.
"""

import argparse
import gzip
import logging
import multiprocessing
import platform
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import gdcm
import nibabel as nib
import numpy as np
import pydicom
from dicom_files import enhanced, write_slice, write_stack
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    RLELossless,
)

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.scan import DicomScan
from amir_lightning.io.dicom.writer import write_dicom_series
from amir_lightning.io.nifti.scan import NiftiScan, write_nifti
from amir_lightning.io.nifti.writer import write_nifti_like
from amir_lightning.io.scan import find_scans
from amir_lightning.io.volume import Volume, lps_affine

SLOW = 2.0  # seconds of processor time for one file
HANG = 10.0  # seconds without a sign, three times in a row: a pause of the machine counts once
MEMORY = 1 << 30  # bytes of address space more than the idle process has
PER_WORKER = 1000  # files until a process is replaced

Corpus = dict[str, dict[str, bytes]]  # of each scan its files; one is mutated
Rng = np.random.Generator


class Result(NamedTuple):
    """What became of a file."""

    number: int
    scan: str
    outcome: str  # "read", "refused", or what went wrong
    detail: str = ""


def make_corpus(folder: Path) -> Corpus:
    """Small scans, from this package's writers and in other encodings of the same content.

    The same bytes each time: identities are counted, and times removed.
    """
    uids = (f"1.2.826.0.1.{number}" for number in count(100))
    with (
        patch("dicom_files.generate_uid", lambda: next(uids)),
        patch("amir_lightning.io.dicom.writer.generate_uid", lambda: next(uids)),
        patch("amir_lightning.io.dicom.derived.generate_uid", lambda: next(uids)),
    ):
        _write_scans(folder)
    corpus: Corpus = {}
    for path in sorted(folder.iterdir()):
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        corpus[path.name] = {file.name: file.read_bytes() for file in files}
        if path.suffix == ".gz":
            unzipped = gzip.decompress(path.read_bytes())
            corpus[path.name] = {path.name: gzip.compress(unzipped, mtime=0)}
        find_scans(path)[0][0].read()  # each of them can be read
        if path.is_dir():  # and alone, so that nothing hides what the first file does
            corpus[f"{path.name} alone"] = {files[0].name: files[0].read_bytes()}
    return corpus


def _write_scans(folder: Path) -> None:
    rng = np.random.default_rng(0)
    array = rng.uniform(0, 900, (3, 5, 7)).astype(np.float32)
    volume = Volume(array, lps_affine((3.0, 1.0, 0.5)), "a.u.", "")
    for name in ("float.nii", "float.nii.gz"):
        write_nifti(folder / name, volume)
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        image = kind(rng.integers(0, 900, (7, 5, 3)).astype(np.int16), np.diag([2, 2, 3, 1]))
        image.header.set_slope_inter(0.5, -3)
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"as it was"))
        nib.save(image, folder / f"{kind.__name__}.nii")
    scan = NiftiScan(folder / "Nifti1Image.nii")
    write_nifti_like(scan, scan.read().array, folder / "source.nii.gz", "source")
    big = nib.Nifti1Image(array, np.eye(4), nib.Nifti1Header(endianness=">"))
    nib.save(big, folder / "big.nii")

    write_stack(folder / "ct", [0.0, 3.0, 6.0], PixelPaddingValue=1000)
    ct = DicomScan((folder / "ct").iterdir())
    write_dicom_series(ct, ct.read().array, folder / "restored", description="a", derivation="b")
    for path in (folder / "restored").iterdir():
        whole = pydicom.dcmread(path)
        whole.InstanceCreationDate = whole.ContentDate = "20200101"
        whole.InstanceCreationTime = whole.ContentTime = "090000"
        whole.save_as(path)
    write_stack(folder / "mr", [0.0, 3.0], Modality="MR", EchoTime=90.0)
    tracer = Dataset()
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = 3.7e8, 6586.2
    tracer.RadiopharmaceuticalStartTime = "080000.00"
    pet = {
        "Modality": "PT",
        "SOPClassUID": PositronEmissionTomographyImageStorage,
        "Units": "BQML",
        "PatientWeight": 70,
        "DecayCorrection": "START",
        "CorrectedImage": ["ATTN", "DECY"],
        "SeriesDate": "20200101",
        "SeriesTime": "090000",
        "AcquisitionDate": "20200101",
        "AcquisitionTime": "090000",
        "RadiopharmaceuticalInformationSequence": Sequence([tracer]),
    }
    write_stack(folder / "pet", [0.0, 3.0], **pet)
    (folder / "enhanced").mkdir()
    enhanced(folder / "enhanced" / "a.dcm", [0.0, 3.0, 6.0])
    for syntax in (
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
    ):
        path = folder / syntax.name.split(" - ")[0].replace(" ", "") / "a.dcm"
        stored = rng.integers(0, 2000, (16, 24)).astype(np.uint16)
        write_slice(path, stored, (0, 0, 0), SeriesDescription="a" * 40)
        whole = pydicom.dcmread(path)
        if syntax == RLELossless:
            whole.compress(RLELossless, generate_instance_uid=False)
        elif syntax == ExplicitVRBigEndian:
            same = Dataset()  # one that was read as little endian cannot be written as big
            same.update(dict(whole.items()))
            same.file_meta, whole = whole.file_meta, same
            whole.PixelData = stored.byteswap().tobytes()
        whole.file_meta.TransferSyntaxUID = syntax
        whole.save_as(path, enforce_file_format=True)
    for name in ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"):
        path = folder / name / "a.dcm"
        stored = rng.integers(0, 2000, (16, 24)).astype(np.uint16)
        study = {"StudyInstanceUID": "1.2.3", "StudyDate": "20200101", "StudyTime": "090000"}
        _compress(write_slice(path, stored, (0, 0, 0), **study), name)


def _compress(path: Path, name: str) -> None:
    """Compress a DICOM file in its place, with the codec that reads it."""
    reader, change, writer = (
        gdcm.ImageReader(),
        gdcm.ImageChangeTransferSyntax(),
        gdcm.ImageWriter(),
    )
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def fields(data: bytes) -> list[tuple[int, int]]:
    """Where a header holds a length or a value: (offset, bytes)."""
    if data[128:132] == b"DICM":
        found = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for position in range(132, min(len(data) - 8, 4096)):
                length = int.from_bytes(data[position + 6 : position + 8], "little")
                if data[position + 4 : position + 6].isalpha() and length < 256:  # explicit VR
                    found += [(position, 4), (position + 4, 2), (position + 6, 2)]
                    found += [(position + 8, length)] * 2 if length else [(position + 8, 4)]
        return found
    # NIfTI-1 and -2: sizes, types, offsets, scale, codes, affine.
    one = [(0, 4), (70, 2), (72, 2), (108, 4), (112, 4), (116, 4), (123, 1), (252, 2), (254, 2)]
    one += [(offset, 2) for offset in range(40, 56, 2)]
    one += [(offset, 4) for offset in (*range(76, 108, 4), *range(256, 328, 4), 344, 348, 352, 356)]
    two = [(12, 2), (14, 2), (168, 8), (176, 8), (184, 8), (344, 4), (348, 4), (540, 4), (544, 4)]
    two += [(offset, 8) for offset in (*range(16, 80, 8), *range(104, 168, 8), *range(352, 504, 8))]
    return two if data[:4] == (540).to_bytes(4, "little") else one


_TEXTS = [
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e999",
    b"1e-320",
    b"\\\\",
    b"1\\2",
    b"1\\2\\3\\4\\5\\6\\7",
]
_TEXTS += [b"99999999999999", b"A", b"\xff\xfe", b"../../x", b"20201332", b"1.2.840.10008.1.2.1.99"]
_TEXTS += [b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.5.1.4.1.1.2.1"]
_NUMBERS = [0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000]
_NUMBERS += [0xFFFFFFFF, 0xFFFFFFFE, 0x7F800000, 0x7FC00000, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


def _number(rng: Rng, size: int) -> bytes:
    value = _NUMBERS[rng.integers(len(_NUMBERS))] if rng.random() < 0.7 else int(rng.integers(1000))
    return (value % (1 << 8 * size)).to_bytes(size, "little" if rng.random() < 0.8 else "big")


def _flip_bits(data: bytearray, rng: Rng) -> None:
    reach = len(data) if rng.random() < 0.3 else min(len(data), 1200)
    for _ in range(rng.integers(1, 9)):
        data[rng.integers(reach)] ^= 1 << rng.integers(8)


def _cut(data: bytearray, rng: Rng) -> None:
    del data[rng.integers(len(data)) :]


def _edit_field(data: bytearray, rng: Rng) -> None:
    known = fields(data)
    if not known:
        return _overwrite(data, rng)
    offset, size = known[rng.integers(len(known))]
    if size in (1, 2, 4, 8) and rng.random() < 0.7:
        data[offset : offset + size] = _number(rng, size)
    else:
        text = _TEXTS[rng.integers(len(_TEXTS))]
        data[offset : offset + size] = text[:size].ljust(size)
    return None


def _overwrite(data: bytearray, rng: Rng) -> None:
    size = int(rng.choice([1, 2, 4, 8]))
    offset = int(rng.integers(min(len(data), 1200)))
    data[offset : offset + size] = _number(rng, size)


def _move_chunk(data: bytearray, rng: Rng) -> None:
    start = int(rng.integers(len(data)))
    chunk = data[start : start + int(2 ** rng.uniform(0, 9))]
    kind = rng.integers(3)
    if kind == 0:  # deleted
        del data[start : start + len(chunk)]
    elif kind == 1:  # repeated
        data[start:start] = chunk * int(rng.choice([1, 2, 50]))
    else:  # copied elsewhere
        target = int(rng.integers(len(data)))
        data[target : target + len(chunk)] = chunk


def _splice(data: bytearray, rng: Rng) -> None:
    start, end = (int(rng.integers(len(data))) for _ in range(2))
    data[start:] = data[end:]


_MUTATIONS: list[Callable[[bytearray, Rng], None]] = [
    _flip_bits, _cut, _edit_field, _edit_field, _edit_field, _overwrite, _move_chunk, _splice
]  # fmt: skip


def mutate(data: bytes, rng: Rng) -> bytes:
    """One to three mutations; of a gzipped file often of what is in it."""
    if data[:2] == b"\x1f\x8b" and rng.random() < 0.6:
        return gzip.compress(mutate(gzip.decompress(data), rng), 1, mtime=0)
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        if changed:
            _MUTATIONS[rng.integers(len(_MUTATIONS))](changed, rng)
    return bytes(changed)


def write_case(corpus: Corpus, seed: int, number: int, folder: Path) -> str:
    """Write file ``number`` of a seed, with the untouched files of its scan.

    Returns:
        Name of the scan.
    """
    rng = np.random.default_rng([seed, number])
    name = sorted(corpus)[number % len(corpus)]
    files = dict(corpus[name])
    chosen = sorted(files)[rng.integers(len(files))]
    files[chosen] = mutate(files[chosen], rng)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return name


def read_and_write(folder: Path, output: Path) -> str:
    """Read all scans of a folder and write them back, as ``restore`` does.

    Returns:
        "read" or "refused".
    """
    try:
        scans, _ = find_scans(folder)
    except InputError:
        return "refused"
    outcome = "refused"
    for number, scan in enumerate(scans):
        try:
            volume = scan.read()
            assert volume.array.dtype == np.float32
            assert np.isfinite(volume.array).all()
            assert volume.array.shape == scan.shape
            assert scan.source
            if isinstance(scan, NiftiScan):
                write_nifti_like(scan, volume.array, output / f"{number}.nii")
            else:
                assert isinstance(scan, DicomScan)
                target = output / str(number)
                write_dicom_series(scan, volume.array, target, description="", derivation="")
            outcome = "read"
        except InputError as error:
            if "\n" in str(error):
                raise RuntimeError("more than one sentence") from error
    return outcome


def try_case(corpus: Corpus, seed: int, number: int, work: Path) -> Result:
    """Write one mutated file, read it, and say what happened."""
    folders = work / "in", work / "out"
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    name = write_case(corpus, seed, number, folders[0])
    started = time.process_time()
    try:
        outcome, detail = read_and_write(*folders), ""
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)
        own = next((one for one in reversed(last) if "amir_lightning" in one.filename), last[-1])
        outcome = type(error).__name__
        detail = f"{error} ({Path(own.filename).name}:{own.lineno})".replace("\n", " ")
    seconds = time.process_time() - started
    if seconds > SLOW:
        outcome, detail = "slow", f"{seconds:.1f} s"
    return Result(number, name, outcome, detail)


def _work(corpus: Corpus, seed: int, numbers: range, answers: Connection) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    logging.disable()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory() as work:
        for number in numbers:
            answers.send(try_case(corpus, seed, number, Path(work)))
    answers.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def fuzz(corpus: Corpus, seed: int, first: int, files: int) -> Iterator[Result | int]:
    """Try files one after the other; a process that dies or hangs is replaced.

    Yields:
        What became of each, and for each process its largest memory [KiB].
    """
    context = multiprocessing.get_context("fork")
    number, end = first, first + files
    while number < end:
        answers, theirs = context.Pipe(duplex=False)
        numbers = range(number, min(number + PER_WORKER, end))
        process = context.Process(target=_work, args=(corpus, seed, numbers, theirs))
        process.start()
        theirs.close()
        try:
            while any(answers.poll(HANG) for _ in range(3)):
                answer = answers.recv()
                yield answer
                if isinstance(answer, int):
                    break
                number = answer.number + 1
            else:
                yield Result(number, sorted(corpus)[number % len(corpus)], "hang")
                number += 1
        except EOFError:
            process.join()
            name = sorted(corpus)[number % len(corpus)]
            yield Result(number, name, "crash", f"exit code {process.exitcode}")
            number += 1
        process.kill()
        process.join()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that did harm")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder))
    started, peak = time.perf_counter(), 0
    counts: Counter[tuple[str, str]] = Counter()
    bad: list[Result] = []
    for result in fuzz(corpus, options.seed, options.first, options.files):
        if isinstance(result, int):
            peak = max(peak, result)
            continue
        counts[result.scan, result.outcome] += 1
        harmless = result.outcome in ("read", "refused")
        if not harmless:
            bad.append(result)
            print(*result, flush=True)
        if options.keep and (not harmless or options.files == 1):
            target = options.keep / f"{options.seed}-{result.number}"
            target.mkdir(parents=True, exist_ok=True)
            write_case(corpus, options.seed, result.number, target)
    print(f"{'scan':40} {'read':>7} {'refused':>7} {'harm':>7}")
    for name in sorted(corpus):
        read, refused = counts[name, "read"], counts[name, "refused"]
        harm = sum(times for (scan, _), times in counts.items() if scan == name) - read - refused
        print(f"{name:40} {read:7} {refused:7} {harm:7}")
    print(
        f"{sum(counts.values())} files from {options.first}, seed {options.seed}: {len(bad)} did "
        f"harm; {time.perf_counter() - started:.0f} s, largest process {peak / 1024:.0f} MiB; "
        f"{platform.machine()}, Python {platform.python_version()}, "
        f"pydicom {pydicom.__version__}, nibabel {nib.__version__}, numpy {np.__version__}"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
