"""Looks at a folder of unknown data and says what it found."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from d3s2.base.errors import DataError
from d3s2.base.progress import SILENT, Progress
from d3s2.base.train_ids import IGNORE
from d3s2.data.discovery.contents import (
    class_values,
    made_up_names,
    named_beside,
    names_beside,
    palette_beside,
    read_contents,
)
from d3s2.data.discovery.foreign import look_hf, look_panoptic
from d3s2.data.discovery.patterns import Match, lies_in, match
from d3s2.data.discovery.records import Contents, Findings, FoundSplit
from d3s2.data.discovery.roles import images_and_masks, picture_files
from d3s2.data.discovery.splits import EVERY, found_splits

BLACK = (0, 0, 0)


def look(root: Path, without: Iterable[Path] = (), progress: Progress = SILENT) -> Findings:
    """Looks at a folder.

    Args:
        root: images and masks in any of the usual layouts, or a folder of Hugging Face `datasets`, or COCO's panoptic
            format.
        without: pictures that are passed over.
        progress: where reading is told.

    Raises:
        DataError: there is no such folder, no pair is found in it, or its masks are none.
    """
    root = root.resolve()
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; give the one that holds images and masks.")
    found = look_panoptic(root, progress) or look_hf(root, progress)
    return found or _look_folders(root, without, progress)


def _look_folders(root: Path, without: Iterable[Path], progress: Progress) -> Findings:
    images, masks = images_and_masks(root, picture_files(root, without))
    matched = match(images, masks) if images and masks else None
    if matched is None:
        raise DataError(_nothing(root, images, masks))
    splits, train, test = found_splits(root, matched)
    contents = read_contents(_mask_paths(root, matched, masks), progress)
    beside = _names(root, contents)
    table = None if beside else named_beside(root, contents)
    names = beside[2] if beside else table[1] if table else made_up_names(contents)
    known = bool(beside or table)
    return Findings(
        root=root,
        dataset="folders",
        layout=_layout(matched, splits),
        splits=splits,
        train=train,
        test=test,
        contents=contents,
        names=names,
        names_known=known,
        classes_from=beside[0] if beside else None,
        first_value=beside[3] if beside else None,
        palette_from=beside[1] if beside else None,
        names_from=table[0] if table else None,
        images=matched.images,
        masks=matched.masks,
        unknown=(*_left_out(matched, images, masks), *_unnamed(beside, contents), *_unknown(contents, splits, known)),
    )


def _mask_paths(root: Path, matched: Match, masks: list[PurePosixPath]) -> list[Path]:
    """Masks of complete pairs."""
    before, after = matched.masks.pattern.split("*")
    names = {name.rpartition("/")[2] for _, name in matched.pairs}
    extensions = {f".{one}" for one in matched.masks.extensions}
    return [
        root / one
        for one in masks
        if one.suffix.lower() in extensions
        and one.stem.startswith(before)
        and one.stem.endswith(after)
        and one.stem[len(before) : len(one.stem) - len(after)] in names
    ]


Names = tuple[str | None, str | None, tuple[str, ...], int | None]


def _names(root: Path, contents: Contents) -> Names | None:
    """The file that names classes, the one that gives colours, the names, and the value that they count up from."""
    if contents.encoding == "colour":
        palette = palette_beside(root, contents.colours)
        return (None, *palette, None) if palette else None
    beside = names_beside(root, class_values(contents))
    return (beside[0], None, *beside[1:]) if beside else None


def _unnamed(beside: Names | None, contents: Contents) -> list[str]:
    if beside is None or beside[3] is None:
        return []
    file, num_names = beside[0], len(beside[2])
    if beside[3] == 1:
        return [f"Whether value 0 is a class: {file} has names for 1 to {num_names} only, so 0 is ignored."]
    return [
        f"Whether names count from value 0: {file} has {num_names}, the masks that were read hold values up to "
        f"{max(class_values(contents))}; where 0 means 'not labelled', set masks.first_value: 1 and ignore_values: [0]."
    ]


def _layout(matched: Match, splits: dict[str, FoundSplit]) -> str:
    images, masks = matched.images, matched.masks
    sides = [f"{side.folder}/{side.pattern}.{_any_of(side.extensions)}" for side in (images, masks)]
    how = "list files" if any(one.list_file for one in splits.values()) else "one folder"
    if "{split}" in images.folder:
        how = "split folders"
    elif images.folder != masks.folder and how == "one folder":
        how = "two folders"
    return f"{how}: images {sides[0]}, masks {sides[1]}"


def _any_of(extensions: tuple[str, ...]) -> str:
    return extensions[0] if len(extensions) == 1 else f"{{{','.join(extensions)}}}"


def _left_out(matched: Match, images: list[PurePosixPath], masks: list[PurePosixPath]) -> list[str]:
    """What is said where images and masks lie in further folders, which may be pairs as well."""
    over = len(images) - matched.num_images.total(), len(masks) - matched.num_masks.total()
    elsewhere = [one for one in images if not lies_in(one, matched.images.folder)]
    if min(over) <= 0 or not elsewhere:
        return []
    return [
        f"What {over[0]:,} images and {over[1]:,} masks in other folders are for ({elsewhere[0]} ...): they are in no "
        "split. Put all pairs into one folder of images and one of masks, or give the folder of one part."
    ]


def _unknown(contents: Contents, splits: dict[str, FoundSplit], known: bool) -> list[str]:
    found = []
    if not known:
        found.append("What the classes are called: the names are made up from values or colours; write your own.")
    if contents.encoding == "colour":
        if BLACK in contents.colours and not known:
            found.append("Whether black is a class or means 'not labelled'.")
    elif 0 in contents.values and not known and class_values(contents) != [0, IGNORE]:
        found.append("Whether value 0 is a class or means 'not labelled'.")
    if all(one.names is not None and one.list_file is None for one in splits.values()) and set(splits) == {
        "train",
        "test",
    }:
        found.append(
            f"Which pairs belong together: every pair number {EVERY} in name order is for testing. Where neighbours "
            "are frames of one video, or slices of one patient, move whole ones from train.txt to test.txt."
        )
    if contents.num_read < contents.num_masks:
        found.append(
            f"What the other {contents.num_masks - contents.num_read:,} masks hold: {contents.num_read:,} were read."
        )
    return found


def _nothing(root: Path, images: list[PurePosixPath], masks: list[PurePosixPath]) -> str:
    drawn = not masks and next(root.rglob("*.json"), None)
    if drawn:
        return (
            f"{root}: found {len(images):,} images and no mask, but JSON files such as {drawn.relative_to(root)}; "
            "where these hold outlines (LabelMe, COCO instances), draw them as masks first, one PNG an image with one "
            "value a class."
        )
    found = f"found {len(images):,} images" + (f" such as {images[0]}" if images else "")
    found += f" and {len(masks):,} masks" + (f" such as {masks[0]}" if masks else "")
    instances = " Masks of single objects are drawn into one mask an image first." if len(masks) > len(images) else ""
    return (
        f"{root}: {found}, and no image and mask whose names are alike; expected pairs such as images/a.jpg and "
        f"masks/a.png or a_mask.png.{instances} Say how they correspond in a data set file (docs/datasets.md)."
    )
