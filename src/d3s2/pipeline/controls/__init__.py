"""What a distilled set is compared with: draws, the best real subset, soft labels of real images, validation."""
