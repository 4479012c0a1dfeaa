"""What a run will take, and what this machine has."""
