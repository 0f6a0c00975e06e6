"""Sample data of the console; see ORIGIN.md for where it comes from."""
