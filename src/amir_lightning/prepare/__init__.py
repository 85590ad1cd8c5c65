"""Raw scans to the prepared store of one task: look at all, then read, simulate, split, write."""
