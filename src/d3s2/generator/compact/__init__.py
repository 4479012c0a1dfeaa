"""The compact generator, fitted on the user's own data."""
