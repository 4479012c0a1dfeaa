"""The streamed bank equals statistics taken at once, and says what it was made from."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from d3s2.base.errors import ModelError
from d3s2.nets.compact.unet import CompactUNet
from d3s2.teacher.bank import gather_bank, load_bank, save_bank, statistics_of


def features_and_masks(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, 3, 4, 4, generator=generator) * 5 + 100
    return features, torch.randint(0, 3, (count, 8, 8), generator=generator, dtype=torch.uint8)


def test_merged_statistics_equal_those_of_all_cells_at_once() -> None:
    features, masks = features_and_masks(7)
    parts = [statistics_of(features[i : i + 2], masks[i : i + 2], 3) for i in range(0, 7, 2)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    whole = statistics_of(features, masks, 3)
    torch.testing.assert_close(merged.weight, whole.weight)
    torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(merged.m2, whole.m2, rtol=1e-9, atol=0)


def test_statistics_equal_a_naive_loop_over_cells() -> None:
    features, masks = features_and_masks(2)
    found = statistics_of(features, masks, 3)
    for c in range(3):
        weights = [
            (masks[b, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] == c).double().mean()
            for b in range(2) for y in range(4) for x in range(4)
        ]  # fmt: skip
        values = [features[b, :, y, x].double() for b in range(2) for y in range(4) for x in range(4)]
        mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
        m2 = sum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True))
        torch.testing.assert_close(found.mean[c], mean)
        torch.testing.assert_close(found.m2[c], m2)


@pytest.fixture
def teacher() -> CompactUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CompactUNet(num_classes=4, width=8).eval()


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    masks = torch.randint(0, 3, (4, 16, 16), generator=generator, dtype=torch.uint8)
    return [(torch.rand(4, 3, 16, 16, generator=generator), masks)]


def test_a_bank_comes_back_as_it_was_saved(teacher: CompactUNet, tmp_path: Path) -> None:
    made = gather_bank(teacher, batches(), ["down1", "up1"], {"data": "x", "layers": "down1,up1"})
    save_bank(made, tmp_path / "bank.safetensors")
    read = load_bank(tmp_path / "bank.safetensors", {"data": "x"})
    assert read.provenance["layers"] == "down1,up1"
    for layer in ("down1", "up1"):
        torch.testing.assert_close(read.means[layer], made.means[layer], equal_nan=True)
        torch.testing.assert_close(read.deviations[layer], made.deviations[layer], equal_nan=True)
    assert torch.isnan(read.means["up1"][3]).all()  # class 3 is in no mask
    torch.testing.assert_close(read.losses, made.losses, equal_nan=True)
    assert torch.isnan(read.losses).tolist() == [False, False, False, True]


def test_a_bank_of_other_data_is_refused(teacher: CompactUNet, tmp_path: Path) -> None:
    save_bank(gather_bank(teacher, batches(), ["up1"], {"data": "x"}), tmp_path / "bank.safetensors")
    with pytest.raises(ModelError, match=r"was made with data 'x', this run has 'y'; delete it"):
        load_bank(tmp_path / "bank.safetensors", {"data": "y"})


def test_an_unknown_layer_is_named_with_the_known_ones(teacher: CompactUNet) -> None:
    with pytest.raises(ModelError, match=r"has no layer 'up9': it has down0, down1"):
        gather_bank(teacher, batches(), ["up9"], {})


def test_a_damaged_bank_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bank.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"bank.safetensors: cannot be read as a feature bank .*delete it"):
        load_bank(tmp_path / "bank.safetensors", {})


def test_a_bank_without_losses_is_refused(teacher: CompactUNet, tmp_path: Path) -> None:
    path = tmp_path / "bank.safetensors"
    save_bank(gather_bank(teacher, batches(), ["up1"], {}), path)
    kept = {key: tensor for key, tensor in load_file(path).items() if key != "losses"}
    save_file(kept, path, metadata={})
    with pytest.raises(
        ModelError, match=r"bank.safetensors: is a damaged feature bank .*losses. is missing.; delete it"
    ):
        load_bank(path, {})


def test_the_bytes_of_a_bank_do_not_depend_on_the_run(teacher: CompactUNet, tmp_path: Path) -> None:
    bank = gather_bank(teacher, batches(), ["up1"], {f"key {number}": str(number) for number in range(8)})
    written = set()
    for number in range(10):  # the library keeps the entries of the metadata in an order of its own each time
        save_bank(bank, tmp_path / f"{number}.safetensors")
        written.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"std/a": None}, "'std/a' is missing"),
        ({"more/a": torch.zeros(2)}, "'more/a' belongs to no layer"),
        (
            {"mean/a": torch.zeros(3, 2, dtype=torch.float64)},
            "'mean/a' is torch.float64 [3, 2], expected torch.float32",
        ),
        ({"mean/a": torch.zeros(4, 2)}, "the tables of layer 'a' differ in shape"),
        ({"weight/a": torch.full((3,), torch.inf)}, "a weight of layer 'a' is negative or not finite"),
        (
            {"mean/a": torch.full((3, 2), torch.nan), "weight/a": torch.full((3,), 2.0)},
            "a mean of layer 'a' is not finite",
        ),
        ({"losses": torch.full((3,), -1.0)}, "a mean loss is negative or infinite"),
    ],
)
def test_a_bank_of_other_tensors_is_named(tmp_path: Path, change: dict[str, torch.Tensor | None], problem: str) -> None:
    tensors = {"mean/a": torch.zeros(3, 2), "std/a": torch.zeros(3, 2), "weight/a": torch.ones(3)}
    content = {**tensors, "losses": torch.zeros(3), **change}
    save_file({name: tensor for name, tensor in content.items() if tensor is not None}, tmp_path / "b.safetensors")
    with pytest.raises(ModelError) as caught:
        load_bank(tmp_path / "b.safetensors", {})
    assert problem in str(caught.value)
