"""Foundation: errors, config, tables of names, seeds, progress; files in formats/, this machine in machine/."""
