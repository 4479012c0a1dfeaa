"""Steps of a run as pieces of work that any executor runs."""
