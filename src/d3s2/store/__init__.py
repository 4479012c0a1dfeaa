"""The distilled data set on disk: writer, reader, verify, export."""
