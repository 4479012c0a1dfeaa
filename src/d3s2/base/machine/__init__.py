"""This machine: its cores and devices, processes, signals, and the same bytes from the same call."""
