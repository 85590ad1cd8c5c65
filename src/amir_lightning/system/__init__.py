"""The machine below the suite: files that are whole or not there, locks, cores, versions, trust."""
