"""Safetensors files: read with every failure as a sentence, written as the same bytes from the same content.

The format: eight bytes with the length of a header, the header (JSON: name -> dtype, shape, place of its bytes), the
bytes. The library's header keeps the entries of `__metadata__` in an order that differs between runs; here they are
sorted.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from d3s2.base.errors import D3S2Error, StoreError
from d3s2.base.formats.files import regular_size
from d3s2.base.formats.json_text import parse_json, shortened

LENGTH_BYTES = 8
ALIGNMENT = 8
METADATA = "__metadata__"
MAX_FILE_BYTES = 64 << 30
LIBRARY_ERRORS = (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What the library lets through for one damaged file or another, beside RuntimeError of torch."""


def read_tensors(
    path: Path, what: str, advice: str, error: type[D3S2Error] = StoreError, max_bytes: int = MAX_FILE_BYTES
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file by name, on the CPU, and its metadata.

    Args:
        what: what the file is, for the sentence.
        advice: what the sentence ends with: what to do about it.
        error: the class that is raised.
    """
    regular_size(path, what, max_bytes, error)
    try:
        with safe_open(str(path), framework="pt") as stored:
            metadata = dict(stored.metadata() or {})
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a mapping
    except (*LIBRARY_ERRORS, RuntimeError) as problem:
        raise error(f"{path}: cannot be read as {what} ({shortened(problem)}); {advice}.") from None
    return tensors, metadata


def tensors_from_bytes(content: bytes, where: str, what: str, advice: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As `read_tensors`, of bytes that were read already; raises StoreError beginning with `where`."""
    try:
        tensors = load(content)
    except (*LIBRARY_ERRORS, RuntimeError) as problem:
        raise StoreError(f"{where}: cannot be read as {what} ({shortened(problem)}); {advice}.") from None
    metadata = _header(content, f"{where}: header", advice).get(METADATA) or {}
    return tensors, {str(key): str(value) for key, value in metadata.items()}


def tensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file; the same bytes from the same tensors and metadata."""
    content = save(dict(tensors), metadata=dict(metadata))
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    header = json.loads(content[LENGTH_BYTES:end])
    header[METADATA] = dict(sorted(header.get(METADATA, {}).items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text + content[end:]


def require(tensors: Mapping[str, Tensor], name: str, dtype: torch.dtype, rank: int) -> Tensor:
    """The tensor called `name`, of this type and number of axes; raises ValueError that says what it is instead."""
    tensor = tensors.get(name)
    if tensor is None:
        raise ValueError(f"'{name}' is missing")
    if tensor.dtype != dtype or tensor.ndim != rank:
        raise ValueError(f"'{name}' is {tensor.dtype} {list(tensor.shape)}, expected {dtype} with {rank} axes")
    return tensor


def _header(content: bytes, where: str, advice: str) -> Any:
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    return parse_json(content[LENGTH_BYTES:end].decode(), where, advice)
