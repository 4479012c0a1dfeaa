"""A store that speaks as S3 does (moto's server): sets are published to it, and data sets read from it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem
from tiny_layouts import write_ade20k
from tiny_run import content

from d3s2.base.errors import DataError, StoreError
from d3s2.data import DataSettings, open_split
from d3s2.data.census import take_census
from d3s2.data.label_space import LabelSpace
from d3s2.store import DistilledSet, ItemFacts, SetWriter
from d3s2.store.publishing import Destination
from d3s2.store.verification import verify


@pytest.fixture(scope="module")
def store() -> Iterator[S3FileSystem]:
    """Its address and rights come from the environment, as those of Amazon's own do."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patched.setenv(name, "test")
        patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patched.setenv("NO_PROXY", host)
        store = S3FileSystem()
        store.mkdir("d3s2")
        yield store
        S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_published_set_is_fetched_again_whole(tmp_path: Path, store: S3FileSystem) -> None:
    made, rng = tmp_path / "set", np.random.default_rng(0)
    writer = SetWriter(made, "digest", LabelSpace("two", ("road", "car")))
    for number in range(3):
        image = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
        facts = ItemFacts(
            "source", seed=number, candidate=0, energies_before={}, energies_after={}, teacher_accuracy=1.0
        )
        writer.write(f"item-{number}", image, image[..., 0] % 2, facts)
    writer.finish({key: {} for key in ("inputs", "models", "versions", "cost", "config")} | {"commit": None})
    destination = Destination("s3://d3s2/sets/mine")
    destination.put_item(made, DistilledSet(made).items[0])
    assert [path.rsplit("/", 1)[1] for path in store.find("d3s2/sets")] == ["item-0.png", "item-0.png"]
    destination.put_set(made)
    store.rm("d3s2/sets/mine/images/item-1.png")
    destination.put_set(made)  # copies what is missing
    store.get("d3s2/sets/mine/", f"{tmp_path}/fetched/", recursive=True)
    assert verify(tmp_path / "fetched").sound
    assert content(tmp_path / "fetched") == content(made)
    with pytest.raises(StoreError, match=r"^s3://none/x: cannot be written \(.*bucket.*\); check the address"):
        Destination("s3://none/x").put_set(made)


def test_a_data_set_is_read_as_from_a_folder(tmp_path: Path, store: S3FileSystem) -> None:
    local = write_ade20k(tmp_path / "data")
    store.put(f"{local}/", "d3s2/ade20k/", recursive=True)
    here, there = (
        open_split(DataSettings(dataset="ade20k", root=root, train="train", test="val", size=(32, 48)), "train")
        for root in (str(local), "s3://d3s2/ade20k")
    )
    assert there.ids == here.ids
    for item_id in here.ids:
        assert (there.image(item_id) == here.image(item_id)).all()
        assert (there.mask(item_id) == here.mask(item_id)).all()
    assert take_census(there, tmp_path / "there").digest == take_census(here, tmp_path / "here").digest
    with pytest.raises(DataError, match=r"^s3://none/data"):
        open_split(
            DataSettings(dataset="ade20k", root="s3://none/data", train="train", test="val", size=(32, 48)), "train"
        )
