"""Any layout-to-image model as one Denoiser: schedules, samplers, guidance, the compact model."""
