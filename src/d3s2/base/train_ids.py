"""The one train id that is never a class."""

IGNORE = 255
MAX_CLASSES = 255
