"""Turn the raw scans of one task into its prepared store."""
