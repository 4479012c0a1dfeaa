"""How the files of a data set lie in folders, as data: what `pairing` looks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath

from d3s2.data.files.places import FilePath
from d3s2.data.label_space import LabelSpace

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
MASK_SUFFIXES = (".bmp", ".mat", ".png", ".tif", ".tiff")
LOSSY_SUFFIXES = (".jpeg", ".jpg")


@dataclass(frozen=True)
class Side:
    """Where one side of the pairs lies: the images, or the masks.

    Args:
        folders: below the root, searched with their subfolders; the first that exists is used. `{split}` stands for
            the split's folder.
        pattern: file name without extension; `*` stands for the part that both sides share.
        suffixes: extensions that count, lower case, in any case on disk.
        skip: names without extension (wildcards allowed) that are passed over.
    """

    folders: tuple[str, ...]
    pattern: str = "*"
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES
    skip: str | None = None

    def __post_init__(self) -> None:
        assert self.pattern.count("*") == 1

    def key(self, relative: PurePath) -> str | None:
        """The name of the pair that a file belongs to, with its subfolder; None for a file of no pair."""
        stem = relative.name.removesuffix(relative.suffix)
        before, after = self.pattern.split("*")
        if relative.suffix.lower() not in self.suffixes or len(stem) <= len(before) + len(after):
            return None
        if not (stem.startswith(before) and stem.endswith(after)) or (self.skip and fnmatchcase(stem, self.skip)):
            return None
        return (relative.parent / stem[len(before) : len(stem) - len(after)]).as_posix()

    def expected(self, folder: FilePath, key: str) -> str:
        """The path that the file of a pair would have, for messages."""
        parent, _, stem = key.rpartition("/")
        return str(folder / parent / (self.pattern.replace("*", stem) + "|".join(self.suffixes)))


@dataclass(frozen=True)
class MaskFiles:
    """One way in which the masks of a data set are stored.

    Args:
        side: where they lie.
        space: the classes and their values or colours.
        colour_coded: masks hold colours of the palette instead of index values.
    """

    side: Side
    space: LabelSpace
    colour_coded: bool = False


@dataclass(frozen=True)
class SplitFiles:
    """One split.

    Args:
        folder: what `{split}` stands for in folders.
        lists: list files below the root, the first that exists is used: a line is a name, the path of an image, or
            the paths of an image and a mask. None: the split is everything in its folders.
        takes: without a list file, the positions in name order (from 0) that belong to the split. Default: all.
        part: of what the list or `takes` says, the positions (from 0) that belong to the split. Default: all.
        images: a folder of images of its own.
        masks: a folder of masks of its own.
        num_pairs: the official count, where there is one.
    """

    folder: str = ""
    lists: tuple[str, ...] = ()
    takes: Callable[[int], bool] | None = None
    part: Callable[[int], bool] | None = None
    images: str | None = None
    masks: str | None = None
    num_pairs: int | None = None


@dataclass(frozen=True)
class FolderPlan:
    """How the files of a data set lie.

    Args:
        name: what messages call the data set.
        images: where the images lie.
        masks: the ways in which masks are stored, by name; without a choice the first that is found on disk is read.
        splits: by name.
        inside: subfolders of the root that may hold everything (what the archive unpacks to).
    """

    name: str
    images: Side
    masks: Mapping[str, MaskFiles]
    splits: Mapping[str, SplitFiles]
    inside: tuple[str, ...] = ()
