"""Networks trained from scratch on a set: train, augment, predict."""
