"""From what a diffusion network predicts to x0, with or without classifier-free guidance.

| name   | symbol                | meaning                                                          |
|--------|-----------------------|------------------------------------------------------------------|
| output | e, v, u or x0         | what the network predicts; u = e - x0 under flow matching         |
| alpha  | sqrt(alpha-bar_t)     | share of the signal; 1 - t under flow matching                    |
| sigma  | sqrt(1 - alpha-bar_t) | share of the noise; t under flow matching                         |
| scale  | w                     | of classifier-free guidance: o = o_neg + w (o_pos - o_neg)        |
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from d3s2.base.errors import ModelError
from d3s2.generator.denoiser import Denoiser, Level

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x, time) -> raw output of the diffusion network, its conditions bound inside; x holds the batch once, or twice
(unconditional, conditional)."""

FLOW = "flow_prediction"
"""The prediction type of flow matching, by diffusers' name for it."""


def denoiser_of(
    predict: Predict, guidance_scale: float, prediction_type: str, dtype: torch.dtype, time_scale: float = 1.0
) -> Denoiser:
    """A network with its conditions as a `Denoiser`, under classifier-free guidance unless the scale is 1.

    Args:
        predict: gets the batch once, or twice where the guidance scale is not 1.
        guidance_scale: of classifier-free guidance, w; Source: arXiv 2207.12598.
        prediction_type: as `clean_of` takes it.
        dtype: of the network's input; what comes out is in the format of x.
        time_scale: the network's unit of time over that of the levels.
    """

    def denoise(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        stacked = x if guidance_scale == 1.0 else torch.cat([x, x])
        time = torch.full((len(stacked),), level.time * time_scale, device=x.device)
        output = predict(stacked.to(dtype), time).to(x.dtype)
        if guidance_scale != 1.0:
            unconditional, conditional = output.chunk(2)
            output = unconditional + guidance_scale * (conditional - unconditional)
        return clean_of(output, x, level, prediction_type)

    return denoise


def clean_of(
    output: Float[Tensor, "b c h w"], x: Float[Tensor, "b c h w"], level: Level, prediction_type: str
) -> Float[Tensor, "b c h w"]:
    """x0 from what a network predicts at one level.

    Raises:
        ModelError: an unknown kind of prediction, or noise predicted where no signal is left.
    Source: e, arXiv 2006.11239 equation 15; v = alpha e - sigma x0, arXiv 2202.00512 appendix D; u, arXiv 2210.02747.
    """
    if prediction_type == "sample":
        return output
    if prediction_type == "v_prediction":
        return level.alpha * x - level.sigma * output
    if prediction_type == FLOW:
        return x - level.sigma * output
    if prediction_type == "epsilon" and level.alpha > 0:
        return (x - level.sigma * output) / level.alpha
    raise ModelError(
        f"A model with prediction_type '{prediction_type}' cannot be sampled from a level with signal "
        f"{level.alpha:g}; use one that predicts epsilon (without zero terminal SNR), v_prediction, sample or "
        f"{FLOW}."
    )
