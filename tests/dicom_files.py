"""Write small DICOM files like those of scanners."""

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

AXIAL = (1, 0, 0, 0, 1, 0)


def write_slice(
    path: Path,
    stored: NDArray[np.integer],
    position: tuple[float, float, float],
    **changes: object,
) -> Path:
    """Write a small CT slice; keyword arguments replace tags, None removes a tag."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    values = {
        "Modality": "CT",
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "SeriesInstanceUID": "1.2.3",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImagePositionPatient": list(position),
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [2.0, 0.5],
        "SliceThickness": 3.0,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(np.issubdtype(stored.dtype, np.signedinteger)),
        "PixelData": stored.astype(stored.dtype.newbyteorder("<")).tobytes(),
        **changes,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_stack(folder: Path, heights: list[float], **changes: object) -> list[Path]:
    """Write slices in the given order of files; their stored value grows by 10 per mm of height."""
    return [
        write_slice(
            folder / f"{index:03d}.dcm",
            np.full((4, 6), 1000 + 10 * round(height - min(heights)), np.uint16),
            (-10.0, -20.0, height),
            **changes,
        )
        for index, height in enumerate(heights)
    ]


def enhanced(path: Path, heights: list[float]) -> np.ndarray:
    """Write one enhanced CT file with a frame at each height."""
    stored = np.random.default_rng(0).integers(0, 2000, (len(heights), 4, 6)).astype(np.uint16)
    write_slice(path, stored[0], (0, 0, 0))
    whole = pydicom.dcmread(path)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(whole, keyword)
    for keyword in ("RescaleSlope", "RescaleIntercept", "SliceThickness"):
        delattr(whole, keyword)
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    whole.NumberOfFrames = len(heights)
    shared, place = Dataset(), Dataset()
    measures, orientation, rescale = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [2.0, 0.5], 3.0
    orientation.ImageOrientationPatient = list(AXIAL)
    rescale.RescaleSlope, rescale.RescaleIntercept = 1, -1024
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([rescale])
    whole.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for height in heights:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0.0, 0.0, height]
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    whole.PerFrameFunctionalGroupsSequence = Sequence(frames)
    whole.PixelData = stored.tobytes()
    whole["PixelData"].VR = "OW"
    whole.save_as(path, enforce_file_format=True)
    return stored


def as_frames(path: Path, files: list[Path], sop_class: str) -> Path:
    """Write slices as one multi-frame file, with private tags where converters put them."""
    images = [pydicom.dcmread(file) for file in files]
    whole = pydicom.dcmread(files[0])
    moved = {
        "PlanePositionSequence": ("ImagePositionPatient",),
        "PlaneOrientationSequence": ("ImageOrientationPatient",),
        "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
        "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
        "UnassignedPerFrameConvertedAttributesSequence": ("AcquisitionTime", "FrameReferenceTime"),
    }
    frames = []
    for image in images:
        frame = Dataset()
        for name, keywords in moved.items():
            group = Dataset()
            for keyword in keywords:
                if keyword in image:
                    group.add(image[keyword])
            if name.startswith("Unassigned"):
                for element in image:
                    if element.tag.is_private:
                        group.add(element)
            setattr(frame, name, Sequence([group]))
        frames.append(frame)
    whole.remove_private_tags()
    for keyword in (one for keywords in moved.values() for one in keywords):
        if keyword in whole:
            delattr(whole, keyword)
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = sop_class
    whole.NumberOfFrames = len(images)
    whole.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    whole.PerFrameFunctionalGroupsSequence = Sequence(frames)
    whole.PixelData = b"".join(image.PixelData for image in images)
    whole["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save_as(path, enforce_file_format=True)
    return path
