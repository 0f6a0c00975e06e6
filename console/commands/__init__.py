"""The commands of `tidewatt`, a module for each."""
