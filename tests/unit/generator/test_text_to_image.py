"""SDXL, Stable Diffusion 3 and FLUX: what changes their latents, guidance through them, their records, and errors."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_text_to_image import write_flux, write_sd3, write_sdxl

from d3s2.base.config import build
from d3s2.base.errors import ModelError, UsageError
from d3s2.data.label_space import LabelSpace
from d3s2.generator.denoiser import Level
from d3s2.generator.kinds import GENERATORS
from d3s2.generator.layout_to_image import GeneratorKind, LayoutToImage
from d3s2.generator.samplers import ddim, initial_noise
from d3s2.generator.schedules import levels_of
from d3s2.hub.loading import cannot_load
from d3s2.model_cards import MODEL_CARDS
from d3s2.synthesis.guidance import guide
from d3s2.synthesis.settings import GuidanceSettings

SPACE = LabelSpace(name="street", names=("sky", "road", "tree"))
SIZE_PX = (32, 48)
KINDS = ("sdxl", "sd3", "flux")
CONTROLNETS = [*((kind, "controlnet") for kind in KINDS), *((kind, "union_controlnet") for kind in ("sdxl", "flux"))]
WRITERS = {"sdxl": write_sdxl, "sd3": write_sd3, "flux": write_flux}

pytestmark = pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: write(tmp_path_factory.mktemp(kind)) for kind, write in WRITERS.items()}


def load(kind: str, folder: Path, **values: Any) -> Any:
    settings = {"model": str(folder), "controlnet": str(folder / "controlnet"), "palette": "ade20k", "offline": True}
    loader: GeneratorKind = GENERATORS.load(kind)
    built = build(loader.settings, {"kind": kind, **settings, **values}, "", prefix="generator.")
    return loader.load(built, SPACE, torch.device("cpu"))


def two_masks() -> torch.Tensor:
    masks = torch.zeros(2, *SIZE_PX, dtype=torch.uint8)
    masks[0, 16:], masks[1, 8:, 20:] = 1, 2
    return masks


def clean(generator: LayoutToImage, masks: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    shape = generator.latent_shape(SIZE_PX)
    noise = initial_noise([torch.Generator().manual_seed(1)], shape).expand(len(masks), -1, -1, -1)
    with torch.no_grad():
        return generator.bind(masks, scale)(noise, levels_of(generator.scheduler, 4, shape[1:])[1])


@pytest.mark.parametrize(("kind", "name"), CONTROLNETS)
def test_what_is_told_of_a_mask_changes_the_latents(folders: dict[str, Path], kind: str, name: str) -> None:
    mode = {} if name == "controlnet" else {"control_mode": 2}
    generator = load(kind, folders[kind], controlnet=str(folders[kind] / name), **mode)
    masks = torch.zeros(3, *SIZE_PX, dtype=torch.uint8)
    masks[1, 16:], masks[2, :16] = 1, 1  # the second and third have one prompt and another picture
    x = clean(generator, masks)
    assert (x[1] - x[2]).abs().max() > 1e-3
    assert (x[0] - x[1]).abs().max() > 1e-3
    no_picture = clean(load(kind, folders[kind], conditioning_scale=0), masks)
    other_words = clean(load(kind, folders[kind], words={"sky": "lamp"}, conditioning_scale=0), masks)
    assert (no_picture - other_words).abs().max() > 1e-3
    torch.testing.assert_close(no_picture[1], no_picture[2])
    assert (clean(generator, masks, 4.0) - x).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", ["fast", "full"])
def test_guidance_lowers_the_energy_of_every_item(folders: dict[str, Path], kind: str, rule: str) -> None:
    generator = load(kind, folders[kind], tiny_decoder=str(folders[kind] / "tiny_decoder"))
    shape = generator.latent_shape(SIZE_PX)
    noise = initial_noise([torch.Generator().manual_seed(seed) for seed in (1, 2)], shape)
    schedule = levels_of(generator.scheduler, 6, shape[1:])

    def energy(clean: torch.Tensor, _: Level) -> torch.Tensor:
        """Distance of the image from a grey one."""
        return (generator.decode(clean, for_guidance=True) - 0.5).square().mean(dim=(1, 2, 3))

    with torch.no_grad():
        denoiser = generator.bind(two_masks(), 2.0)
        plain = ddim(denoiser, noise, schedule)
        guided = ddim(guide(denoiser, energy, GuidanceSettings(strength=0.2, rule=rule)), noise, schedule)
        assert guided.isfinite().all()
        assert (energy(guided, schedule[-1]) < energy(plain, schedule[-1])).all()


@pytest.mark.parametrize("kind", KINDS)
def test_options_of_computing_change_no_number(folders: dict[str, Path], kind: str) -> None:
    expected = clean(load(kind, folders[kind]), two_masks())
    for option in ("channels_last", "gradient_checkpointing", "vae_slicing"):
        found = clean(load(kind, folders[kind], compute={option: True}), two_masks())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_stays_near(folders: dict[str, Path], kind: str) -> None:
    expected = clean(load(kind, folders[kind]), two_masks(), 2.0)
    found = clean(load(kind, folders[kind], compute={"dtype": "bfloat16"}), two_masks(), 2.0)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_record_tells_kind_settings_and_every_part(folders: dict[str, Path], kind: str) -> None:
    record = load(kind, folders[kind], tiny_decoder=str(folders[kind] / "tiny_decoder")).as_record()
    assert record["kind"] == kind
    assert record["settings"]["controlnet"] == str(folders[kind] / "controlnet")
    assert {"diffusion", "controlnet", "text_encoder", "text_encoder_2", "vae", "tiny_decoder"} <= {
        *record["weights_sha256"]
    }


@pytest.mark.parametrize(("kind", "near"), [("sdxl", "[32, 40]"), ("sd3", "[32, 48]"), ("flux", "[32, 48]")])
def test_a_size_that_does_not_divide_is_refused_with_the_nearest(
    folders: dict[str, Path], kind: str, near: str
) -> None:
    with pytest.raises(ModelError, match=r"sizes that divide by (8|16), got 32 x 42 px") as refused:
        load(kind, folders[kind]).latent_shape((32, 42))
    assert near in str(refused.value)


def test_a_union_controlnet_needs_its_mode_and_others_take_none(folders: dict[str, Path]) -> None:
    for kind in ("sdxl", "flux"):
        union = str(folders[kind] / "union_controlnet")
        with pytest.raises(ModelError, match=r"knows 6 kinds of conditions; set generator.control_mode"):
            load(kind, folders[kind], controlnet=union)
        with pytest.raises(ModelError, match=r"generator.control_mode is 6.*take one of 0 to 5"):
            load(kind, folders[kind], controlnet=union, control_mode=6)
    for kind in ("sd3", "flux"):
        with pytest.raises(ModelError, match=r"generator.control_mode is 2.*leave it out"):
            load(kind, folders[kind], control_mode=2)
    with pytest.raises(ModelError, match="missing"):
        load("sdxl", folders["sdxl"], control_mode=2)


def test_parts_of_other_models_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    small = shutil.copytree(folders["sd3"], tmp_path / "sd3")
    write_flux(tmp_path / "flux")
    with pytest.raises(ModelError, match=r"transformer cannot be loaded|weights of transformer are missing"):
        load("flux", small)
    with pytest.raises(ModelError, match="unet cannot be loaded"):
        load("sdxl", small)
    with pytest.raises(ModelError, match="attention_slicing"):
        load("sd3", small, compute={"attention_slicing": True})
    with pytest.raises(UsageError, match=r"the colours that .* was fitted with are not known"):
        load("sd3", small, palette=None)


def test_published_checkpoints_say_their_mode_and_what_their_licence_allows() -> None:
    assert MODEL_CARDS["xinsir/controlnet-union-sdxl-1.0"].control_mode == 5
    assert MODEL_CARDS["abovzv/sdxl_segmentation_controlnet_ade20k"].palette == "ade20k"
    for name in ("manycore-research/FLUX.1-Layout-ControlNet", "black-forest-labs/FLUX.1-dev"):
        assert "no commercial use" in str(cannot_load(name, "weights", "none"))
    renamed = str(cannot_load("abovzv/sdxl_segmentation_controlnet_ade20k", "weights", "none"))
    assert "&& mv sdxl_segmentation_controlnet_ade20k/sdxl_segmentation_ade20k_controlnet.safetensors" in renamed


def test_flux_shifts_its_schedule_with_the_size(folders: dict[str, Path]) -> None:
    scheduler = load("flux", folders["flux"]).scheduler
    small, large = (levels_of(scheduler, 4, (side, side)) for side in (32, 128))
    assert small[0].sigma == large[0].sigma == 1.0
    assert small[2].sigma < large[2].sigma
    with pytest.raises(ModelError, match="shifts with the image's size"):
        levels_of(scheduler, 4)
