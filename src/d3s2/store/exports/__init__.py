"""The formats that a distilled set is exported in, one file each."""
