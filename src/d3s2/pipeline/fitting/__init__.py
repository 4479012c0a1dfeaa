"""Step fit: teacher, feature bank and generator, loaded where they are there, fitted where not."""
