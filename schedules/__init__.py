"""What runs: the store, the jobs, dispatch with its journal, confirmation by effect."""
