"""Files to volumes and back: NIfTI and DICOM, in physical units with their geometry."""
