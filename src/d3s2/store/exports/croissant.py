"""Croissant: what the columns of an export are, as JSON-LD that catalogues of data sets and `mlcroissant` read.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec.html, version 1.0.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d3s2.base.formats.files import sha256_file
from d3s2.base.train_ids import IGNORE
from d3s2.store.reader import DistilledSet

VERSION = "http://mlcommons.org/croissant/1.0"
CITATION = "D3S2: Diffusion-Guided Dataset Distillation for Semantic Segmentation, arXiv 2605.25022"
"""Of the method."""
TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
"""Of Croissant's own vocabulary, each under its own name."""
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in TERMS},
}

SHARDS = "shards"
TYPES = {"string": "sc:Text", "int64": "sc:Integer", "int32": "sc:Integer", "float64": "sc:Float"}


def croissant(distilled: DistilledSet, to: Path, shards: Sequence[Path], kinds: Mapping[str, str]) -> dict[str, Any]:
    """The description of a Parquet export.

    Args:
        distilled: the set.
        to: the folder of the export, which addresses are relative to.
        shards: its Parquet files, with the columns `image` and `mask` and those of `kinds`.
        kinds: further columns, each with a key of TYPES.
    """
    about = f"A value is a class's train id, {IGNORE} is ignored."
    pictures = [
        _field("image", "sc:ImageObject", "The synthetic image, RGB.", picture=True),
        _field("mask", "sc:ImageObject", f"The mask that it was drawn for. {about}", picture=True),
    ]
    facts = [_field(name, TYPES[kind], f"{name} of the item, see the manifest.") for name, kind in kinds.items()]
    rows = [{"classes/id": index, "classes/name": name} for index, name in enumerate(distilled.space.names)]
    classes = [_plain("classes/id", "sc:Integer", "Train id."), _plain("classes/name", "sc:Text", "Name.")]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": distilled.name,
        "description": (
            f"{len(distilled.items)} pairs of a synthetic image and a mask of {distilled.space.num_classes} classes, "
            f"distilled by d3s2 from {distilled.space.name}."
        ),
        "citeAs": CITATION,
        "keywords": ["image segmentation", "synthetic", "dataset distillation"],
        "distribution": [
            *(_file(path, to) for path in shards),
            {
                "@type": "cr:FileSet",
                "@id": SHARDS,
                "description": "The pairs.",
                "encodingFormat": "application/x-parquet",
                "includes": "data/*.parquet",
            },
        ],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "classes", "name": "classes", "key": {"@id": "classes/id"},
             "field": classes, "data": rows},
            {"@type": "cr:RecordSet", "@id": "pairs", "name": "pairs", "field": [*pictures, *facts]},
        ],
    }  # fmt: skip


def _file(path: Path, to: Path) -> dict[str, Any]:
    name = path.relative_to(to).as_posix()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": path.name,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": sha256_file(path),
    }


def _field(column: str, kind: str, description: str, picture: bool = False) -> dict[str, Any]:
    source: dict[str, Any] = {"fileSet": {"@id": SHARDS}, "extract": {"column": column}}
    if picture:
        source["transform"] = {"jsonPath": "bytes"}  # a picture is a struct of bytes and path
    return {**_plain(f"pairs/{column}", kind, description), "source": source}


def _plain(name: str, kind: str, description: str) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": name, "name": name, "description": description, "dataType": kind}
