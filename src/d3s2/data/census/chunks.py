"""A census that several processes take together: each counts some masks into a file of their own, one merges them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from d3s2.base.formats.files import sha256_text
from d3s2.data.census.cache import CENSUS_FILE, CensusCache, space_tag
from d3s2.data.census.take import count_items, stamps_of
from d3s2.data.dataset import SegmentationDataset, file_stamp

MASKS_A_CHUNK = 512


@dataclass(frozen=True)
class Chunk:
    """Masks that are counted together.

    Args:
        number: of the chunk in the data set, in the order of ids.
        ids: of the masks.
        path: of the file with their counts.
        merged: stamp of the file of the whole census before.
    """

    number: int
    ids: Sequence[str]
    path: Path
    merged: str

    @property
    def is_done(self) -> bool:
        """Whether the counts are there; where a whole census was written meanwhile, they are part of that."""
        return self.path.exists() or file_stamp(self.path.parent / CENSUS_FILE) != self.merged


def chunks_to_count(dataset: SegmentationDataset, cache: Path) -> list[Chunk]:
    """The chunks of a data set of which masks are not counted yet as they are now."""
    merged = file_stamp(cache / CENSUS_FILE)  # before it is read
    masks, _ = stamps_of(dataset, dataset.ids)
    uncounted = _cache(dataset, cache).rows_of(masks) < 0
    found = []
    for number, start in enumerate(range(0, len(masks.ids), MASKS_A_CHUNK)):
        if uncounted[start : start + MASKS_A_CHUNK].any():
            ids = masks.ids[start : start + MASKS_A_CHUNK]
            stamps = masks.stamps.slice(start, MASKS_A_CHUNK).to_pylist()
            name = f"part-{number:06d}-{sha256_text(str(dict(zip(ids, stamps, strict=True))))[:12]}.parquet"
            found.append(Chunk(number, ids, cache / name, merged))
    return found


def keep_counts(dataset: SegmentationDataset, chunk: Chunk) -> None:
    """Counts a chunk into its file; masks that cannot be used are left to `take_census`, which names them."""
    masks, _ = stamps_of(dataset, chunk.ids)
    counts = zip(masks.ids, masks.stamps.to_pylist(), count_items(dataset, masks.ids), strict=True)
    rows = [(item_id, stamp, found) for item_id, stamp, found in counts if not isinstance(found, str)]
    _cache(dataset, chunk.path.parent).write_rows(chunk.path, rows)


def _cache(dataset: SegmentationDataset, folder: Path) -> CensusCache:
    return CensusCache(folder, space_tag(dataset), dataset.space.num_classes)
