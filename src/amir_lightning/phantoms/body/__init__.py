"""Whole-body FDG PET: uptake, skin, skeleton, organs, head and lesions, on one canvas."""
