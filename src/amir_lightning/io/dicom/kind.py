"""Decide by its header whether a DICOM image is a slice of a scan.

`_NO_SLICE` lists the kinds of images that are not slices.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from amir_lightning.io.dicom.private import (
    SIEMENS_CSA,
    SIEMENS_TILES,
    UNITED_TILES,
    Private,
    find_private,
    private_text,
)

_ENHANCED = {
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
}
_SLICES = {
    CTImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    *_ENHANCED,
}
_OTHER_THAN_HU = {"OD", "MGML", "Z_EFF", "ED", "EDW", "PCT"}  # PS3.3 C.11.1.1.2, Rescale Type
_PERPENDICULAR = 1e-2  # tolerance for unit length and orthogonality of direction cosines
# Attribute in both versions of Siemens' CSA header: a name of 64 bytes that ends with a zero byte,
# 12 bytes, the number of items, which is not zero, 4 bytes, 16 bytes with the length of the first
# item, and its text. A truncated or damaged attribute does not match.
_CSA_TILES = re.compile(
    rb"NumberOfImagesInMosaic\0.{53}(?!\0{4}).{8}.{16} *(\d{1,5})(?=[\0 ]|$)", re.DOTALL
)

Header = pydicom.Dataset


def reason_to_skip(header: Header) -> str | None:
    """Reason why an image is not a slice of a scan, details after a colon; None for a slice."""
    if not header.get("Rows") or not header.get("Columns"):
        return "DICOM without an image"
    for keyword in ("Modality", "BitsAllocated", "PixelRepresentation"):
        if header.get(keyword) in (None, ""):
            return f"image without {keyword}"
    for row in _NO_SLICE:
        if row.applies(header):
            return row.reason + (f": {row.detail(header)}" if row.detail else "")
    return _without_place(header)


def is_derived(header: Header) -> bool:
    """Whether the image was computed from other images of the patient."""
    return _kinds(header) >= {"DERIVED", "SECONDARY"}


class _NoSlice(NamedTuple):
    """A kind of image that is not a slice of a scan."""

    reason: str
    applies: Callable[[Header], bool]  # whether an image is of this kind
    detail: Callable[[Header], str] | None = None  # details about one image, for its reason


def _typed(*values: str) -> Callable[[Header], bool]:
    """Test whether a value of Image Type contains one of these words.

    Vendors add words to the standard ones: "CT_SOM5 MPR", "MIP SAG".
    """
    pattern = re.compile(rf"(^|[ _\\-])({'|'.join(map(re.escape, values))})($|[ _\\-])")
    return lambda header: any(map(pattern.search, _kinds(header)))


def _described(pattern: str) -> Callable[[Header], bool]:
    """Test whether Series Description matches a pattern.

    It is free text, so the pattern must not match the name of any scan. MPR and MIP cannot be used:
    "t1_mpr_sag" is an acquisition.
    """
    words = re.compile(rf"(?<![a-z])({pattern})(?![a-z])", re.IGNORECASE)
    return lambda header: bool(words.search(str(header.get("SeriesDescription") or "")))


def _calculated(*values: str) -> Callable[[Header], bool]:
    return lambda header: str(header.get("VolumeBasedCalculationTechnique") or "") in values


def _any(*tests: Callable[[Header], bool]) -> Callable[[Header], bool]:
    return lambda header: any(test(header) for test in tests)


def _class_name(header: Header) -> str:
    return UID(header.get("SOPClassUID") or "").name


def _is_reprojection(header: Header) -> bool:
    return "REPROJECTION" in _values(header, "SeriesType")


def _is_raw_projection(header: Header) -> bool:
    return (0x7031, 0x1001) in header or _described("projections")(header)


def _is_coloured(header: Header) -> bool:
    colours = str(header.get("PhotometricInterpretation") or "MONOCHROME")
    return header.get("SamplesPerPixel", 1) != 1 or not colours.startswith("MONOCHROME")


def _is_of_other_class(header: Header) -> bool:
    uid = UID(header.get("SOPClassUID") or "")
    return uid not in _SLICES and uid.name.endswith("Storage")  # an unknown UID is its own name


def _is_multi_frame(header: Header) -> bool:
    return int(header.get("NumberOfFrames") or 1) > 1


def _is_mr_survey(header: Header) -> bool:
    """Whether the image is from a Philips MR localizer; a skeletal survey by CT is a scan."""
    return header.Modality == "MR" and _described("survey")(header)


def _tiles(header: Header) -> int:
    """Number of slices tiled in one image according to its header, 0 if it does not say."""
    tiles = [_number(header, one) for one in (SIEMENS_TILES, UNITED_TILES)]
    csa = find_private(header, SIEMENS_CSA)
    if csa is not None and isinstance(csa.value, bytes) and (found := _CSA_TILES.search(csa.value)):
        tiles.append(int(found[1]))
    return next(filter(None, tiles), 0)


def _number(header: Header, one: Private) -> int:
    element = find_private(header, one)
    try:
        return 0 if element is None else int(float(private_text(element)))
    except (ValueError, OverflowError):
        return 0


def _is_mosaic(header: Header) -> bool:
    """Whether one image holds the slices of a volume as tiles.

    Enhanced files store slices as frames, even if Image Type says MOSAIC. An image that is hardly
    larger than the acquisition matrix is no mosaic either.
    """
    if header.get("SOPClassUID") in _ENHANCED:
        return False
    tiles = _tiles(header)
    if tiles or "MOSAIC" not in _kinds(header):
        return tiles > 1
    acquired = max((int(value) for value in _values(header, "AcquisitionMatrix")), default=0)
    return not acquired or max(int(header.Rows), int(header.Columns)) >= 2 * acquired


def _tiles_text(header: Header) -> str:
    tiles = _tiles(header)
    return f"{tiles or 'several'} slices as tiles of one image (convert it to NIfTI)"


# The first kind that applies is reported: a coloured screen capture counts as a screen capture.
_NO_SLICE = (
    _NoSlice(
        "secondary capture",
        lambda header: "Secondary Capture" in _class_name(header),
    ),
    _NoSlice(
        "image of another kind than CT, MR or PET",
        _is_of_other_class,
        lambda header: _class_name(header).removesuffix(" Storage"),
    ),
    _NoSlice(
        "localizer",
        _any(
            _typed("LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW"),
            _described("locali[sz]ers?|scouts?|topograms?|scanograms?|surview"),
            _is_mr_survey,
        ),
    ),
    _NoSlice(
        "dose report",
        _any(
            _typed("DOSE_INFO", "DOSE INFO", "DOSE REPORT", "DOSE_REPORT", "PROT"),
            _described("dose (report|record|info|summary)|patient protocol"),
        ),
    ),
    _NoSlice(
        "screen capture",
        _any(
            _typed("SCREEN SAVE", "SCREEN_SAVE", "SCREENSAVE", "SCREEN CAPTURE", "SCREEN_CAPTURE"),
            _typed("SCREENSHOT", "SCREEN SHOT"),
            _described("screen ?(saves?|shots?|captures?)"),
        ),
    ),
    _NoSlice("mosaic", _is_mosaic, _tiles_text),
    _NoSlice(
        "montage",
        _any(
            _typed("MONTAGE", "CONTACT SHEET", "COLLAGE"), _described("montages?|contact sheets?")
        ),
    ),
    _NoSlice(
        "projection or rendering",
        _any(
            _typed("MIP", "MINIP", "MNIP", "MAX_IP", "MIN_IP", "MAX IP", "MIN IP"),
            _typed("PROJECTION IMAGE", "REPROJECTION"),
            _typed("VRT", "SSD", "VOLREN", "VOLUME_RENDER", "SURFACE_RENDER"),
            _calculated("MAX_IP", "MIN_IP", "VOLUME_RENDER", "SURFACE_RENDER"),
            _is_reprojection,
        ),
    ),
    _NoSlice(
        "reformat",
        _any(
            _typed("MPR", "CPR", "CURVED_MPR", "REFORMATTED", "REFORMAT"),
            _calculated("MPR", "CURVED_MPR"),
        ),
    ),
    _NoSlice("raw projections", _is_raw_projection),
    _NoSlice("colour image", _is_coloured),
    _NoSlice("multi-frame image of a kind that is not read (convert it to NIfTI)", _is_multi_frame),
    _NoSlice(
        "CT values that are not HU",
        lambda header: (
            header.Modality == "CT" and str(header.get("RescaleType") or "") in _OTHER_THAN_HU
        ),
    ),
)


def _kinds(header: Header) -> set[str]:
    return {value.upper() for value in _values(header, "ImageType")}


def _values(header: Header, keyword: str) -> list[str]:
    value = header.get(keyword)
    if value is None or isinstance(value, str) or not isinstance(value, Iterable):
        return [] if value in (None, "") else [str(value)]
    return [str(one) for one in value]


def _without_place(header: Header) -> str | None:
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
