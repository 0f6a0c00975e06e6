"""What speaks to vendors: one folder per vendor, every sign, unit and vendor word ends here."""
