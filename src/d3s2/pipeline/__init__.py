"""A whole run: its config and folder, and the pipeline stages, one file each."""
