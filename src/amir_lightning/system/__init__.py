"""Operating system: atomic files, locks, cores, allocator; versions and trust in code."""
