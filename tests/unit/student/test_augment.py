"""Augmentation keeps image and mask together."""

import torch
from kornia.geometry.transform import warp_affine

from d3s2.student.augment import augment, draw_variation
from d3s2.student.settings import AugmentationSettings

STILL = AugmentationSettings(flip=False, zoom=(1.0, 1.0), shift=0.0, brightness_contrast=0.0, saturation=0.0, hue=0.0)


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    masks = torch.randint(0, 4, (6, 16, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return (masks.float() / 10)[:, None].repeat(1, 3, 1, 1), masks


def varied(
    images: torch.Tensor, masks: torch.Tensor, how: AugmentationSettings, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    return augment(images, masks, draw_variation(len(masks), (masks.shape[1], masks.shape[2]), how, generator))


def test_nothing_varied_changes_nothing() -> None:
    images, masks = pairs()
    moved, moved_masks = varied(images, masks, STILL, torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved, images, atol=1e-5, rtol=0)
    assert torch.equal(moved_masks, masks)


def test_image_and_mask_move_together_and_what_comes_from_outside_is_ignored() -> None:
    masks = torch.zeros(8, 32, 48, dtype=torch.uint8)
    masks[:, 8:24, 12:36] = 1
    images = masks.float()[:, None].repeat(1, 3, 1, 1)
    how = AugmentationSettings(brightness_contrast=0.0, saturation=0.0, hue=0.0, zoom=(0.5, 1.5))
    moved, moved_masks = varied(images, masks, how, torch.Generator().manual_seed(1))
    inside = moved_masks == 1
    assert inside.any()
    assert (moved[:, 0][inside] > 0.4).float().mean() > 0.97
    assert (moved_masks == 255).any()
    assert set(moved_masks.unique().tolist()) == {0, 1, 255}


def test_the_same_generator_gives_the_same_batch_and_global_state_is_untouched() -> None:
    images, masks = pairs()
    before = torch.get_rng_state()
    first = varied(images, masks, AugmentationSettings(), torch.Generator().manual_seed(3))
    second = varied(images, masks, AugmentationSettings(), torch.Generator().manual_seed(3))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_crop_of_the_plain_picture_is_a_piece_of_it() -> None:
    images, masks = pairs()
    how = AugmentationSettings(
        flip=False, zoom=(1.0, 1.0), crop_px=(16, 8), brightness_contrast=0.0, saturation=0.0, hue=0.0
    )
    moved, moved_masks = varied(images, masks, how, torch.Generator().manual_seed(2))
    assert moved.shape == (6, 3, 16, 8)
    lefts = []
    for index in range(6):
        # nearest: the piece whose left edge is the drawn one, rounded to a pixel
        found = [left for left in range(17) if torch.equal(moved_masks[index], masks[index, :, left : left + 8])]
        assert len(found) == 1
        lefts += found
    assert len(set(lefts)) > 1


def test_a_crop_larger_than_the_zoomed_picture_holds_all_of_it() -> None:
    masks = torch.ones(4, 16, 24, dtype=torch.uint8)
    images = torch.ones(4, 3, 16, 24)
    how = AugmentationSettings(zoom=(0.5, 0.5), crop_px=(32, 32), brightness_contrast=0.0, saturation=0.0, hue=0.0)
    _, moved_masks = varied(images, masks, how, torch.Generator().manual_seed(2))
    assert ((moved_masks == 1).sum(dim=(1, 2)) == 8 * 12).all()
    assert set(moved_masks.unique().tolist()) == {1, 255}


def test_light_and_colour_leave_masks_alone_and_grey_pictures_grey() -> None:
    _, masks = pairs()
    grey = torch.rand(6, 1, 16, 24, generator=torch.Generator().manual_seed(0)).repeat(1, 3, 1, 1)
    how = AugmentationSettings(flip=False, zoom=(1.0, 1.0), shift=0.0, brightness_contrast=0.5, saturation=0.5, hue=0.1)
    relit, same_masks = varied(grey, masks, how, torch.Generator().manual_seed(5))
    assert torch.equal(same_masks, masks)
    torch.testing.assert_close(relit[:, 0], relit[:, 1], atol=1e-5, rtol=0)
    assert (relit - grey).abs().amax(dim=(1, 2, 3)).min() > 0.01
    assert relit.min() >= 0
    assert relit.max() <= 1


def test_hue_turns_colours_and_saturation_fades_them() -> None:
    red = torch.tensor([0.8, 0.2, 0.2])[None, :, None, None].expand(32, 3, 8, 8).contiguous()
    masks = torch.zeros(32, 8, 8, dtype=torch.uint8)
    still = {"flip": False, "zoom": (1.0, 1.0), "shift": 0.0, "brightness_contrast": 0.0}
    turned, _ = varied(
        red, masks, AugmentationSettings(**still, saturation=0.0, hue=0.1), torch.Generator().manual_seed(0)
    )
    faded, _ = varied(
        red, masks, AugmentationSettings(**still, saturation=0.5, hue=0.0), torch.Generator().manual_seed(0)
    )
    spread = torch.tensor(0.6)
    torch.testing.assert_close((turned.amax(dim=1) - turned.amin(dim=1)).mean(), spread, atol=1e-3, rtol=0)
    assert (turned[:, 1] - turned[:, 2]).abs().max() > 0.1
    spreads = (faded.amax(dim=1) - faded.amin(dim=1)).mean(dim=(1, 2))
    assert spreads.min() < 0.5
    assert spreads.max() > 0.65


def test_a_share_of_the_rows_is_that_share_of_the_whole_batch() -> None:
    images, masks = pairs()
    variation = draw_variation(6, (16, 24), AugmentationSettings(), torch.Generator().manual_seed(3))
    whole, whole_masks = augment(images, masks, variation)
    part, same_masks = augment(images[2:4], masks, variation, slice(2, 4))
    torch.testing.assert_close(part, whole[2:4])
    assert torch.equal(same_masks, whole_masks)


def test_pictures_and_masks_come_from_where_kornia_takes_them() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 17, 24, generator=generator)
    masks = torch.randint(0, 200, (6, 17, 24), generator=generator, dtype=torch.uint8)
    for how in (
        AugmentationSettings(zoom=(0.4, 2.0)),
        AugmentationSettings(crop_px=(20, 11)),
        AugmentationSettings(crop_px=(1, 9)),
    ):
        still = how.model_copy(update={"brightness_contrast": 0.0, "saturation": 0.0, "hue": 0.0})
        variation = draw_variation(6, (17, 24), still, generator)
        moved, moved_masks = augment(images, masks, variation)
        theirs = warp_affine(images, variation.matrix, variation.seen_px, padding_mode="border")
        ignored = torch.full((1,), 255.0)
        their_masks = warp_affine(
            masks[:, None].float(), variation.matrix, variation.seen_px, "nearest", "fill", fill_value=ignored
        )
        torch.testing.assert_close(moved, theirs, atol=1e-4, rtol=0)
        assert (moved_masks == their_masks[:, 0]).float().mean() > 0.999
