"""A segmentation network as frozen judge: feature bank and energies."""
