"""Volumes to batches: slice pairs, the prepared store, the sampler and the data modules."""
