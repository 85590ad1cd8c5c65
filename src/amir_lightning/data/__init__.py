"""From raw data sets to training batches: layouts, the prepared store, sampler, data modules."""
