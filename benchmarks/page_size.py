"""How large the page's items are, and how small their pictures get, on the photographs and masks of a real data set.

    python benchmarks/page_size.py ccp --root data/ccp --items 200 --side 512 --out benchmarks/page-size_ccp_DATE.json

Nothing is sampled: the unguided image is the real one mirrored, the guided one has noise added (so that it is harder to
compress than a real one), and the teacher's opinion is the mask moved by a few pixels; in one item of three it lacks a
class. Items beyond the data set's pairs repeat them.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from side_by_side import parser_for, tell

from d3s2.base.train_ids import IGNORE
from d3s2.data.catalogue import open_dataset
from d3s2.data.dataset import SegmentationDataset
from d3s2.report.gallery import Gallery, GalleryRow
from d3s2.report.items import PageItem, pack
from d3s2.report.page import ReportContent, render

NOISE = 8.0  # deviation, in grey levels
FARTHEST_PX = 6


def main() -> None:
    """Measures, prints one JSON object on the last line, and writes it where asked."""
    args = parse()
    data = open_dataset(args.dataset, args.split, args.root)

    def read(position: int) -> PageItem:
        return item(data, position, args.side)

    began = time.perf_counter()
    packed = pack(args.items, read, data.space)
    wall_s = time.perf_counter() - began
    gallery = Gallery(tuple(read(position).pictures for position in range(6)), data.space)
    page = render(ReportContent(f"{args.items} items", items=packed, gallery=gallery, neighbours=gallery))
    if args.page:
        args.page.write_text(page, encoding="utf-8")
    measured = {
        "dataset": data.name,
        "classes": data.space.num_classes,
        "items": args.items,
        "side_px": args.side,
        "shown_px": packed.encoding.shown_px(packed.size_px),
        "quality": packed.encoding.quality,
        "items_bytes": len(packed.as_json),
        "page_bytes": len(page.encode()),
        "wall_s": round(wall_s, 1),
    }
    tell("page-size", torch.device("cpu"), args.out, measured)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_for(__doc__, rounds=1)
    parser.add_argument("dataset")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--side", type=int, default=512, help="pairs are cut to squares of so many pixels")
    parser.add_argument("--page", type=Path, help="where the page itself goes")
    return parser.parse_args()


def item(data: SegmentationDataset, position: int, side_px: int) -> PageItem:
    """An item with what a run would have made of it, more or less."""
    item_id, rng = data.ids[position % len(data.ids)], np.random.default_rng(position)
    image = square(data.image(item_id), side_px)
    mask = square(data.mask(item_id), side_px)
    opinion = np.roll(mask, rng.integers(-FARTHEST_PX, FARTHEST_PX + 1, 2), (0, 1))
    opinion = np.where(opinion == IGNORE, 0, opinion)
    if position % 3 == 0:
        opinion = np.where(opinion == opinion.max(), opinion.min(), opinion)
    noisy = (image * rng.uniform(0.7, 1.1, 3) + rng.normal(0, NOISE, image.shape)).clip(0, 255).astype(np.uint8)
    return PageItem(
        item_id=item_id,
        source_id=item_id,
        pictures=GalleryRow(mask, image, image[:, ::-1].copy(), noisy, opinion),
        chosen_for=data.space.names[int(opinion.max())],
        energies_before={"segmentation": 2.5, "features": 1.0},
        energies={"segmentation": float(rng.random()), "features": float(rng.random())},
        nearest_id=item_id,
        distance=float(40 * rng.random()),
        ratio=1.2,
    )


def square(picture: np.ndarray, side_px: int) -> np.ndarray:
    """The middle of an image or a mask."""
    whole = Image.fromarray(picture)
    smaller = min(whole.size)
    left, top = (whole.width - smaller) // 2, (whole.height - smaller) // 2
    cut = whole.crop((left, top, left + smaller, top + smaller))
    resample = Image.Resampling.NEAREST if picture.ndim == 2 else Image.Resampling.LANCZOS
    return np.asarray(cut.resize((side_px, side_px), resample))


if __name__ == "__main__":
    main()
