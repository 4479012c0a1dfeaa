"""Complete runs as YAML, one a data set, shipped with the package."""
