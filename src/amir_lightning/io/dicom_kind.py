"""What kind of image a DICOM header describes: a slice of a scan, or why not."""

import numpy as np
import pydicom

_NO_SCAN = {"MIP", "MINIP", "PROJECTION IMAGE", "SCREEN SAVE", "DOSE_INFO"}
_REFORMAT = {"MPR", "REFORMATTED"}
_OTHER_THAN_HU = {"OD", "MGML", "Z_EFF", "ED", "EDW", "PCT"}  # PS3.3 C.11.1.1.2, Rescale Type
_PERPENDICULAR = 1e-2  # largest deviation of direction cosines from length 1 and from 90 degrees


def unusable(header: pydicom.Dataset) -> str | None:
    """Why an image file cannot be a slice of a volume, or None."""
    if not header.get("Rows") or not header.get("Columns"):
        return "DICOM without an image"
    for keyword in ("Modality", "BitsAllocated", "PixelRepresentation"):
        if header.get(keyword) in (None, ""):
            return f"image without {keyword}"
    kinds = _kinds(header)
    description = str(header.get("SeriesDescription") or "").lower()
    if "Secondary Capture" in pydicom.uid.UID(header.get("SOPClassUID") or "").name:
        return "secondary capture"
    if "LOCALIZER" in kinds:
        return "localizer"
    if kinds & _NO_SCAN:
        return "projection, screen or report"
    if (0x7031, 0x1001) in header or "projections" in description:
        return "raw projections"
    if header.get("SamplesPerPixel", 1) != 1 or _is_palette(header):
        return "colour image"
    if int(header.get("NumberOfFrames") or 1) > 1:
        return "multi-frame image of a kind that is not read (convert it to NIfTI)"
    if header.Modality == "CT" and str(header.get("RescaleType") or "") in _OTHER_THAN_HU:
        return "CT values that are not HU"
    return _without_place(header)


def is_derived(header: pydicom.Dataset) -> bool:
    """Whether the image was computed from other images of the patient."""
    return _kinds(header) >= {"DERIVED", "SECONDARY"} or is_reformat(header)


def is_reformat(header: pydicom.Dataset) -> bool:
    """Whether the image is another plane through a scan."""
    return bool(_kinds(header) & _REFORMAT)


def _kinds(header: pydicom.Dataset) -> set[str]:
    kinds = header.get("ImageType") or ()
    return {str(kind).upper() for kind in ([kinds] if isinstance(kinds, str) else kinds)}


def _is_palette(header: pydicom.Dataset) -> bool:
    return header.get("PhotometricInterpretation") == "PALETTE COLOR"


def _without_place(header: pydicom.Dataset) -> str | None:
    for keyword, length in (
        ("ImagePositionPatient", 3),
        ("ImageOrientationPatient", 6),
        ("PixelSpacing", 2),
    ):
        value = header.get(keyword)
        if not value:
            return f"image without {keyword}"
        if np.size(value) != length or not np.isfinite(np.array(value, float)).all():
            return f"image with a wrong {keyword}"
    row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    products = np.array([row @ row - 1, column @ column - 1, row @ column])
    if np.abs(products).max() > _PERPENDICULAR:
        return "image with a wrong ImageOrientationPatient"
    if min(header.PixelSpacing) <= 0:
        return "image with a wrong PixelSpacing"
    return None
