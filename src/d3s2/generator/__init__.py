"""Any layout-to-image model as one Denoiser: schedules, samplers, the compact model, text-to-image families."""
