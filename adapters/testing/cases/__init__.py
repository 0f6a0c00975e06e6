"""The bodies of the cases, by subject; `adapters.testing.contract` has them in order."""
