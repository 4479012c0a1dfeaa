"""A whole run: its config and folder, and its steps, thin, one file each."""
