"""Training: open the run of a configuration, build its objects, train, test, write the result."""
