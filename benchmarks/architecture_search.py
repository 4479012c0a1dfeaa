"""How students are ranked on a distilled set, on as many random real pairs, and on all real pairs: the example, kept.

python benchmarks/architecture_search.py --work runs/search --seeds 2 --out benchmarks/architecture-search_DATE.json
"""

import argparse
import sys
from pathlib import Path

import torch
from side_by_side import tell

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from architecture_search import STUDENTS, search


def main() -> None:
    """Measures, and writes the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/search"))
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    found = search(args.work, (), args.iterations, args.seeds)
    how = {"students": STUDENTS, "iterations": args.iterations, "seeds": args.seeds, "scored_on": "scenes/val"}
    tell("architecture_search", torch.device("cpu"), args.out, {**how, **found})


if __name__ == "__main__":
    main()
