"""What a folder of unknown data holds, and a data set file for it."""
