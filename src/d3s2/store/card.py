"""The data set card, README.md of a distilled set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from d3s2.base.formats.foreign_text import markdown_code, markdown_text
from d3s2.base.train_ids import IGNORE
from d3s2.data import LabelSpace
from d3s2.data.files import read_mask
from d3s2.store.items import Item

CARD_HEAD = """---
task_categories:
- image-segmentation
tags:
- synthetic
- dataset-distillation
- d3s2
---
"""
"""What the hub reads of a card, at its top."""

ABOUT_TEXT = """# {title}

{num_items} pairs of a synthetic image and a label, distilled by d3s2 from `{space}`: the labels are masks chosen from
the source data set, the images were drawn for them by a guided layout-to-image diffusion model.

| | |
|---|---|
| items | {num_items} |
| size (height x width) | {sizes} |
| classes | {num_classes} |
| pixels of no class (ignored) | {ignored:.2%} |
| soft labels | {soft} |
"""
"""What every card says first."""

CLASSES_TEXT = """## Classes

| train id | class | colour | items | pixels |
|---:|---|---|---:|---:|
{classes}
"""
"""What every card says last."""

CARD_TEXT = (
    ABOUT_TEXT
    + """
## Files

- `images/<id>.png`: RGB, 8 bit.
- `labels/<id>.png`: one value a pixel, the train id of its class; {ignore} is ignored.{soft_line}
- `items.parquet`: a row an item: source mask, seed, energies, digests.
- `manifest.json`: config, label space, digests of inputs and models, versions, cost. Written last: a folder without it
  is unfinished.

## Loading

```python
from pathlib import Path

from d3s2.store import DistilledSet

distilled = DistilledSet(Path("path/of/this/folder"))
for item_id in distilled.ids:
    image, mask = distilled.image(item_id), distilled.mask(item_id)   # uint8, [h w 3] and [h w]
```

`d3s2 verify` checks every file; `d3s2 export --format hf` makes a folder for `datasets.load_dataset`,
`--format ade20k` one in the layout of the ADE20K challenge.

"""
    + CLASSES_TEXT
)


def card_text(folder: Path, items: Sequence[Item], space: LabelSpace, manifest: Mapping[str, Any]) -> str:
    """The card of a set whose files lie in `folder`; holds nothing that varies between runs of one call."""
    facts = card_facts(folder, items, space, manifest)
    has_soft = facts["soft"] == "yes"
    facts["soft_line"] = (
        "\n- `soft/<id>.safetensors`: the teacher's most probable classes in each cell." if has_soft else ""
    )
    return CARD_HEAD + CARD_TEXT.format(**facts)


def card_facts(folder: Path, items: Sequence[Item], space: LabelSpace, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the texts of a card are filled with; names are written so that Markdown shows them as they are."""
    held, pixels, sizes = _counted(folder, items, space.num_classes)
    total_px = max(int(pixels.sum()), 1)
    names = map(markdown_text, space.names)
    rows = [
        f"| {index} | {name} | `#{r:02x}{g:02x}{b:02x}` | {held[index]} | {pixels[index] / total_px:.3%} |"
        for index, (name, (r, g, b)) in enumerate(zip(names, space.colours.tolist(), strict=True))
    ]
    return {
        "title": markdown_text(manifest.get("name") or f"Distilled {space.name}"),
        "num_items": len(items),
        "space": markdown_code(space.name),
        "sizes": ", ".join(f"{height} x {width}" for height, width in sizes),
        "num_classes": space.num_classes,
        "ignored": pixels[IGNORE] / total_px,
        "ignore": IGNORE,
        "soft": "yes" if any(item.soft_file for item in items) else "no",
        "classes": "\n".join(rows),
    }


def _counted(
    folder: Path, items: Sequence[Item], num_classes: int
) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, "256"], list[tuple[int, int]]]:
    """Items that hold each class, pixels of each value, and the sizes that occur."""
    held, pixels = np.zeros(num_classes, dtype=np.int64), np.zeros(256, dtype=np.int64)
    sizes: set[tuple[int, int]] = set()
    for item in items:
        label = read_mask(folder / item.label_file)
        counts = np.bincount(label.ravel(), minlength=256)
        held += counts[:num_classes] > 0
        pixels += counts
        sizes.add((label.shape[0], label.shape[1]))
    return held, pixels, sorted(sizes)
