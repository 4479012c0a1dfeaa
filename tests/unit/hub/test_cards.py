from pathlib import Path

from d3s2.generator.conditions.palettes import PALETTES
from d3s2.hub.loading import cannot_load
from d3s2.model_cards import MODEL_CARDS, is_cached


def test_every_card_says_id_licence_size_and_how_to_get_it() -> None:
    for model_id, card in MODEL_CARDS.items():
        text = str(cannot_load(model_id, "weights", "none"))
        assert model_id in text
        assert card.licence in text
        assert f"{card.download_gib:g} GiB" in text
        assert f"hf download {model_id} --include" in text


def test_palettes_of_cards_are_known() -> None:
    assert {card.palette for card in MODEL_CARDS.values()} - {None} <= set(PALETTES)


def test_model_in_the_cache_is_found(tmp_path: Path) -> None:
    card = MODEL_CARDS["madebyollin/taesd"]
    assert not is_cached(card, tmp_path)
    stored = tmp_path / "models--madebyollin--taesd"
    for path, text in {"refs/main": "abc", "snapshots/abc/config.json": "{}"}.items():
        (stored / path).parent.mkdir(parents=True)
        (stored / path).write_text(text, encoding="utf-8")
    assert is_cached(card, tmp_path)


def test_folder_that_is_there_is_shown_with_the_reason(tmp_path: Path) -> None:
    assert str(cannot_load(str(tmp_path), "unet", "no config")) == (
        f"{tmp_path}: unet cannot be loaded (no config); give a folder that diffusers' save_pretrained wrote."
    )
