"""What people touch: the `tidewatt` command and, later, the web page."""
