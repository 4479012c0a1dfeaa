"""d3s2: distils a segmentation data set into a small synthetic one."""

__version__ = "0.1.0"
