"""Runs whose work several processes share: what each does, and what finishes it."""

from functools import partial
from pathlib import Path

from d3s2.base.errors import StoreError
from d3s2.pipeline.ablate import VARIANTS
from d3s2.pipeline.distill import distill_run
from d3s2.pipeline.evaluate import compare_sets
from d3s2.pipeline.judge import read_for_judges
from d3s2.pipeline.run import Run, read_config
from d3s2.pipeline.select import read_selection
from d3s2.pipeline.synthesize import with_cost
from d3s2.pipeline.work.batches import GUIDED, UNGUIDED
from d3s2.store import MANIFEST, Destination, item_id_for, join_set


def do_share(run: Run, parts: tuple[str, ...]) -> None:
    """The share of this process of making a set, or of students and judges where the set is finished.

    Raises:
        StoreError: students are asked for, and the set is not finished.
    """
    if "evaluate" not in parts:
        distill_run(run)
        return
    if not (run.folder / MANIFEST).exists():
        raise StoreError(
            f"{run.folder}: holds no finished set for the students; share the work of `d3s2 distill`, and finish it "
            "with `d3s2 join`."
        )
    compare_sets(run, run.folder)
    read_for_judges(run)


def join_run(folder: Path, publish: str | None = None) -> int:
    """Finishes the sets of a run, or of every variant of an ablation; returns the number of items in all of them.

    Args:
        publish: where they are copied to.

    Raises:
        StoreError: the folder holds no run, or items are missing or damaged.
    """
    if (folder / VARIANTS).is_dir():
        variants = sorted(path for path in (folder / VARIANTS).iterdir() if path.is_dir())
        return sum(join_run(one, publish and f"{publish.rstrip('/')}/{VARIANTS}/{one.name}") for one in variants)
    config = read_config(folder)
    item_ids = [item_id_for(source_id) for source_id in read_selection(folder).ids]
    kinds = (UNGUIDED, GUIDED) if config.synthesize.unguided_too else (GUIDED,)
    for kind in kinds:
        where = folder if kind == GUIDED else folder / UNGUIDED
        if not (where / MANIFEST).exists():
            join_set(where, item_ids, partial(with_cost, folder, kind))
        if publish is not None:
            whole = Destination(publish)
            (whole if kind == GUIDED else whole.below(UNGUIDED)).put_set(where)
    return len(kinds) * len(item_ids)
