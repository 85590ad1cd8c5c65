"""From a configuration to a finished run: open it, build its objects, train, test, write."""
