"""Views of a guided image: drawn on the CPU, made where the image is."""

import torch
from elsewhere import ELSEWHERE, Watched

from d3s2.teacher.settings import ViewSettings
from d3s2.teacher.views import perturbed

SIZE = (16, 24)


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(3)]


def test_views_are_made_where_the_images_are_and_their_noise_travels_once() -> None:
    images = torch.zeros(3, 3, *SIZE, device=ELSEWHERE, requires_grad=True)
    masks = torch.zeros(3, *SIZE, dtype=torch.uint8, device=ELSEWHERE)
    with Watched() as watched:
        seen, seen_masks = perturbed(images, masks, ViewSettings(), generators())
        seen.sum().backward()
    assert seen.device == seen_masks.device == images.grad.device == ELSEWHERE
    assert [tensor.shape for tensor in watched.moved] == [images.shape]


def test_a_view_is_the_image_moved_mirrored_and_noisy() -> None:
    masks = torch.arange(16 * 24, dtype=torch.int64).reshape(1, *SIZE).expand(3, *SIZE) % 200
    masks = masks.to(torch.uint8)
    images = (masks.float() / 200)[:, None].repeat(1, 3, 1, 1)
    still, still_masks = perturbed(images, masks, ViewSettings(noise=0.0), generators())
    noisy, same_masks = perturbed(images, masks, ViewSettings(noise=0.1), generators())
    inside = still_masks != 255
    assert not torch.equal(still_masks, masks)
    assert torch.equal(same_masks, still_masks)
    assert torch.equal(still[:, 0][inside], still_masks[inside].float() / 200)
    assert 0.09 < float((noisy - still).std()) < 0.11
    # each item draws from its own generator, whatever is beside it
    alone, _ = perturbed(images[1:2], masks[1:2], ViewSettings(noise=0.1), generators()[1:2])
    assert torch.equal(alone[0], noisy[1])
