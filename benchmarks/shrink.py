"""A copy of CamVid or CCP at the size at which a run reads it: small enough to be carried to another machine.

    python benchmarks/shrink.py camvid DATA/camvid --size 128 160 --out small/camvid
    python benchmarks/shrink.py ccp DATA/ccp --size 192 128 --resize crop --out small/ccp

Images are JPEG of quality 95, masks index PNG, in the layout that docs/datasets.md describes. Runs at that size read
the masks of the original to the pixel, and its images but for the JPEG's loss.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from d3s2.base.train_ids import IGNORE
from d3s2.data.catalogue import open_dataset
from d3s2.data.dataset import ResizedDataset, read_pair

QUALITY = 95
VOID = {"camvid": 11, "ccp": IGNORE}
"""What ignored pixels are in mask files."""
SPLITS = {"camvid": ("train", "val", "test"), "ccp": ("trainval", "test")}
LISTS = {"trainval": "train.txt", "test": "test.txt"}


def main() -> None:
    """Writes the copy, and says how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=sorted(SPLITS))
    parser.add_argument("root", type=Path)
    parser.add_argument("--size", type=int, nargs=2, required=True, metavar=("HEIGHT", "WIDTH"), help="px")
    parser.add_argument("--resize", choices=("stretch", "crop", "pad"), default="stretch", help="as data.resize")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    for split in SPLITS[args.dataset]:
        source = open_dataset(args.dataset, split, root=args.root)
        copy_split(ResizedDataset(source, tuple(args.size), args.resize), args.dataset, split, args.out)
    taken = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {taken / 2**20:.1f} MiB")


def copy_split(data: ResizedDataset, name: str, split: str, out: Path) -> None:
    """The pairs of one split, and its list file where the data set has such."""
    folders = (out / split, out / f"{split}annot") if name == "camvid" else (out / "images", out / "masks")
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)

    def copy(item_id: str) -> None:
        image, mask = read_pair(data, item_id)
        Image.fromarray(image).save(folders[0] / f"{item_id}.jpg", quality=QUALITY, subsampling=0)
        Image.fromarray(np.where(mask == IGNORE, VOID[name], mask).astype(np.uint8)).save(folders[1] / f"{item_id}.png")

    with ThreadPoolExecutor(4) as pool:
        [*pool.map(copy, data.ids)]
    if name == "ccp":
        (out / LISTS[split]).write_text("".join(f"{item_id}\n" for item_id in data.ids))


if __name__ == "__main__":
    main()
