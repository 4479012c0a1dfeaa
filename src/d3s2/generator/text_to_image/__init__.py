"""Text-to-image families of today with a ControlNet, one file each: SDXL, Stable Diffusion 3, FLUX."""
