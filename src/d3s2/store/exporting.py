"""export: a distilled set in the form that other tools read."""

import shutil
import tempfile
from pathlib import Path

from d3s2.base.errors import StoreError
from d3s2.base.progress import SILENT, Progress
from d3s2.store.exports.table import EXPORTS
from d3s2.store.reader import DistilledSet


def export(folder: Path, to: Path, format: str, progress: Progress = SILENT) -> Path:  # noqa: A002
    """Writes a distilled set to the new folder `to`, which appears complete or not at all.

    Args:
        folder: a finished set.
        to: must be absent or empty.
        format: a name in EXPORTS, or the user's own function as 'package.module:object'.

    Raises:
        UsageError: the format is not known.
        DataError: the set does not fit the format.
        StoreError: `to` is not empty, the set is unfinished, or one of its files is damaged.

    Examples:
        >>> from pathlib import Path
        >>> import d3s2
        >>> small = ["data.options={count: 40}", "select.ratio=0.1", "synthesize.steps=4"]
        >>> made = d3s2.distill("scenes", out="runs/small", overrides=small)
        >>> from d3s2.store import export
        >>> export(Path("runs/small"), Path("exported"), "ultralytics").as_posix()
        'exported'
    """
    write = EXPORTS.load(format)
    distilled = DistilledSet(folder)
    if to.is_symlink():
        raise StoreError(f"{to}: is a link; give the folder itself to export to.")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise StoreError(f"{to}: is already there and not empty; choose another folder to export to.")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}.", suffix=".part"))
        try:
            write(distilled, place / to.name, progress)
            if to.exists():
                to.rmdir()
            (place / to.name).rename(to)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        reason = error.strerror or error
        raise StoreError(f"{to}: cannot be written ({reason}); check the folder and its permissions.") from None
    return to
