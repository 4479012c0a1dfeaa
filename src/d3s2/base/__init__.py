"""Foundation: errors, config, seeds, runtime, files, progress. Imports nothing of d3s2."""
