"""LabelSpace, data sets, the procedural scenes."""
