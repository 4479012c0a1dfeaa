"""Own data from Python: a folder of images and masks becomes a distilled set that a DataLoader reads.

    python examples/from_a_folder.py data/mine --out mine

The same as `d3s2 init` and `d3s2 distill`. What is written first (dataset.yaml, run.yaml) is kept, and read again by
the next call, with whatever was corrected in it.
"""

import argparse
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import d3s2
from d3s2.planning import start
from d3s2.store import TorchPairs


def main() -> None:
    """Looks at the folder, distils it, and reads a batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="images and masks, in any of the usual layouts")
    parser.add_argument("--out", type=Path, default=Path("mine"))
    parser.add_argument("changes", nargs="*", help="of the run, for example select.ratio=0.05")
    asked = parser.parse_intermixed_args()

    run_file = asked.out / "run.yaml"
    if not run_file.exists():
        print(start(asked.folder, asked.out, torch.device("cpu")).as_text())
    distilled = d3s2.distill(str(run_file), out=asked.out / "run", overrides=asked.changes)
    print(f"{len(distilled.ids)} pairs of {', '.join(distilled.space.names)}")
    loader = DataLoader(TorchPairs(asked.out / "run"), batch_size=2, shuffle=True)
    batch = next(iter(loader))
    print("a batch:", tuple(batch["image"].shape), tuple(batch["mask"].shape))


if __name__ == "__main__":
    main()
