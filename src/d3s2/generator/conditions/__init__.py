"""What a text-to-image model is told of a mask: a prompt of the classes present, and a picture in known colours."""
