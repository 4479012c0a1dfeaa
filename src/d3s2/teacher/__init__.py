"""A frozen segmentation network that guides: feature bank and energies."""
