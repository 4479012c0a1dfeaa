"""What the page on the format says is what the format is."""

import re
from pathlib import Path

import torch

from d3s2.data.known.scenes import Scenes
from d3s2.store.item_table import SCHEMA
from d3s2.store.items import ItemFacts
from d3s2.store.manifest import DIGESTS, PROVENANCE, WRITTEN_HERE
from d3s2.store.soft import soften
from d3s2.store.writer import SetWriter

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "distilled-set.md").read_text(encoding="utf-8")
SCENES = Scenes("train", 1, (32, 48))


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def keys(text: str) -> set[str]:
    return {
        key
        for line in text.splitlines()
        if line.startswith("| `")
        for key in re.findall(r"`(\w+)`", line.split("|")[1])
    }


def test_every_column_and_key_is_described() -> None:
    assert keys(section("items.parquet")) == set(SCHEMA.names)
    assert keys(section("manifest.json")) == {*PROVENANCE, *WRITTEN_HERE, *DIGESTS, "name"}


def test_the_examples_run(tmp_path: Path) -> None:
    writer = SetWriter(tmp_path, "digest", SCENES.space)
    item_id = SCENES.ids[0]
    one_hot = (SCENES.mask(item_id) == [[[index]] for index in range(18)]).astype("float32")
    writer.write(
        item_id,
        SCENES.image(item_id),
        SCENES.mask(item_id),
        ItemFacts(item_id, 0),
        soften(torch.from_numpy(one_hot), cell_px=8),
    )
    writer.finish(dict.fromkeys(PROVENANCE))
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    found: dict = {}
    for block in blocks:
        exec(block.replace('"runs/demo"', repr(str(tmp_path))), found)
    assert found["names"] == SCENES.space.names
    assert found["probabilities"].shape == (18, 4, 6)
