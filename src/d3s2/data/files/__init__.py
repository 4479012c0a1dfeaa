"""Single files: images, masks, MATLAB matrices and lists, each read with errors that name the file."""
