"""A census that several processes take together: each counts some masks into a file of their own, one merges them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from d3s2.base.formats.files import sha256_text
from d3s2.data.census.cache import CENSUS_FILE, CensusCache, space_tag, uncounted
from d3s2.data.census.take import count_items, stamps_of
from d3s2.data.dataset import SegmentationDataset, file_stamp

MASKS_A_CHUNK = 512


@dataclass(frozen=True)
class Chunk:
    """Masks that are counted together.

    Args:
        number: of the chunk in the data set, in the order of ids.
        stamps: of each mask by id.
        path: of the file with their counts.
        merged: stamp of the file of the whole census before.
    """

    number: int
    stamps: Mapping[str, str]
    path: Path
    merged: str

    @property
    def is_done(self) -> bool:
        """Whether the counts are there; where a whole census was written meanwhile, they are part of that."""
        return self.path.exists() or file_stamp(self.path.parent / CENSUS_FILE) != self.merged


def chunks_to_count(dataset: SegmentationDataset, cache: Path) -> list[Chunk]:
    """The chunks of a data set of which masks are not counted yet as they are now."""
    merged = file_stamp(cache / CENSUS_FILE)  # before it is read
    stamps, _ = stamps_of(dataset)
    missing = frozenset(uncounted(_cache(dataset, cache), stamps))
    ids, found = list(stamps), []
    for number, start in enumerate(range(0, len(ids), MASKS_A_CHUNK)):
        some = {item_id: stamps[item_id] for item_id in ids[start : start + MASKS_A_CHUNK]}
        if not missing.isdisjoint(some):
            name = f"part-{number:06d}-{sha256_text(str(some))[:12]}.parquet"
            found.append(Chunk(number, some, cache / name, merged))
    return found


def keep_counts(dataset: SegmentationDataset, chunk: Chunk) -> None:
    """Counts a chunk into its file; masks that cannot be used are left to `take_census`, which names them."""
    counts = zip(chunk.stamps.items(), count_items(dataset, tuple(chunk.stamps)), strict=True)
    rows = [(item_id, stamp, found) for (item_id, stamp), found in counts if not isinstance(found, str)]
    _cache(dataset, chunk.path.parent).write_rows(chunk.path, rows)


def _cache(dataset: SegmentationDataset, folder: Path) -> CensusCache:
    return CensusCache(folder, space_tag(dataset), dataset.space.num_classes)
