"""Damaged copies of a file's bytes: by bytes for every format, and by meaning for those that have one."""

import io
import json
import random
import warnings
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from safetensors.torch import load, save

Mutate = Callable[[bytes, random.Random], bytes]

POOL: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 255, 256, 2**31, 2**63, 2**64, 10**40, 0.5, -0.0, 1e308, -1e308, 1e-320,
    float("nan"), float("inf"), float("-inf"), "", "x", "0", "nan", "../../x", "/dev/zero", "a\nb", "a\x00b", "\ud800",
    "é", "x" * 5000, [], {}, [[]], [None], [0], {"a": 1}, {"": {}}, [1, "x", None], [[0, 0, 0]] * 3,
)  # fmt: skip


def nested(depth: int) -> Any:
    content: Any = 0
    for _ in range(depth):
        content = [content]
    return content


def by_bytes(content: bytes, rng: random.Random) -> bytes:
    """What a disk, a transfer or an editor does to a file."""
    size, kind = len(content), rng.randrange(10)
    place, length = rng.randrange(size + 1), rng.choice((1, 4, 64, 512))
    if kind == 0:
        return rng.choice((b"", b"\x00", b"\xff\xfe", rng.randbytes(rng.choice((1, 8, 200, 4000)))))
    if kind == 1:
        return content[:place]
    if kind == 2:
        return content[:place] + bytes(length) + content[place + length :]
    if kind == 3:
        return content[:place] + rng.randbytes(length) + content[place + length :]
    if kind == 4:
        return (
            content[:place]
            + rng.choice((b"\xff", b"\x00", b"\xc3", b"\xef\xbb\xbf", b"\n", b"[", b'"'))
            + content[place:]
        )
    if kind == 5:
        return content + rng.choice((content, b"\x00" * length, b"}", b"\n\n", rng.randbytes(length)))
    if kind == 6:
        return content[:place] + content[place + length :]
    if kind == 7:
        return content[:place] + content[max(0, place - length) : place] + content[place:]
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 8)) if size else 0):
        changed[rng.randrange(size)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def paths_of(content: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    found = [prefix] if prefix else []
    for key, value in list(inner)[:200]:
        found += paths_of(value, (*prefix, key))
    return found


def changed_value(content: Any, rng: random.Random) -> Any:
    """The same content with one value or key of it another."""
    if rng.random() < 0.05:
        return rng.choice((*POOL, nested(rng.choice((50, 200, 3000)))))
    paths = paths_of(content)
    if not paths:
        return rng.choice(POOL)
    *parents, key = rng.choice(paths)
    place = content
    for parent in parents:
        place = place[parent]
    kind = rng.randrange(8)
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(place, dict):
        place[rng.choice(("extra", "", "x" * 300, "name"))] = rng.choice(POOL)
    elif kind == 1:
        place.insert(rng.randrange(len(place) + 1), rng.choice((*POOL, place[key])))
    elif kind == 2 and isinstance(place, dict):
        place[f"{key}s"] = place.pop(key)
    elif kind == 3:
        place[key] = [place[key]] if rng.random() < 0.5 else str(place[key])
    elif kind == 4 and isinstance(place[key], int | float):
        place[key] = rng.choice((-place[key], place[key] * 1000, place[key] + 1, place[key] + 0.5))
    elif kind == 5:
        place[key] = nested(rng.choice((20, 100, 900)))
    else:
        place[key] = rng.choice(POOL)
    return content


def by_json(content: bytes, rng: random.Random) -> bytes:
    """Other values, keys twice, other encodings."""
    text = json.dumps(changed_value(json.loads(content), rng), indent=rng.choice((None, 2)))
    kind = rng.randrange(12)
    if kind == 0 and text.startswith("{") and len(text) > 2:
        text = '{"name": 1, "name": 2, ' + text[1:]
    if kind == 1:
        text = text.replace(rng.choice("0123456789"), "9" * rng.choice((30, 5000)), 1)
    encoding = "utf-16" if kind == 2 else "utf-8-sig" if kind == 3 else "utf-8"
    return text.encode(encoding, errors="surrogatepass")


LAUGHS = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
ODD_YAML = (
    "a0: &a0 [x]\n" + LAUGHS, "name: &x [*x]", "name: !!python/object/apply:os.system [true]", "name: !!binary aGk=",
    "<<: [1]", "<<: {name: x}", "? [1]\n: 2", "name: 2001-99-99", "name: 1:2:3:4", "name: 0x" + "f" * 5000,
    "name: " + "[" * 2000, "\n".join(" " * n + "a:" for n in range(500)), "- 1", "%YAML 9.9\n---\na: 1", "a: *b",
    "---\na: 1\n---\nb: 2", "name: |\n x\n\ty", "name: .inf", "name: '\ud800'", "@", "`", "!!set {name}", "name: !!int",
)  # fmt: skip


def by_yaml(content: bytes, rng: random.Random) -> bytes:
    """Other values; and what YAML can do that nobody expects of it."""
    text = content.decode()
    kind = rng.randrange(4)
    if kind == 0:
        odd = rng.choice(ODD_YAML)
        return rng.choice((odd, f"{text}\n{odd}")).encode(errors="surrogatepass")
    if kind == 1:
        lines = text.splitlines()
        lines.insert(rng.randrange(len(lines) + 1), rng.choice((*lines, " ", "\t", "x", "- x", "x: y", "}", "name: [")))
        return "\n".join(lines).encode()
    changed = changed_value(yaml.safe_load(text), rng)
    return yaml.dump(changed, allow_unicode=rng.random() < 0.5).encode(errors="surrogatepass")


def by_parquet(content: bytes, rng: random.Random) -> bytes:
    """Other columns, types and numbers of rows."""
    table = pq.read_table(pa.BufferReader(content))
    column = rng.randrange(table.num_columns)
    name, kind = table.column_names[column], rng.randrange(9)
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1:
        table = table.rename_columns([f"{other}x" if other == name else other for other in table.column_names])
    elif kind == 2:
        table = table.set_column(column, pa.field(name, table.schema.field(column).type), _nulls(table, column))
    elif kind == 3:
        text = rng.choice((b"\xff\xfe", b"a" * 100_000, b"../../x", b"", b"\xc3"))
        values = pa.array([text] * len(table)).view(pa.binary()).cast(pa.binary()).view(pa.string())
        table = table.set_column(column, pa.field(name, pa.string()), values)
    elif kind == 4:
        table = table.take(pa.array(list(range(len(table))) * rng.choice((2, 30))))
    elif kind == 5:
        table = table.slice(0, 0)
    elif kind == 6:
        table = table.replace_schema_metadata(None)
    elif kind == 7:
        table = table.take(pa.array([0] * rng.choice((30_000, 100_000))))
    else:
        table = table.set_column(column, pa.field(name, pa.float64()), pa.array([float("nan")] * len(table)))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=rng.choice(("zstd", "snappy", "none")))
    return buffer.getvalue()


def _nulls(table: pa.Table, column: int) -> pa.Array:
    return pa.nulls(len(table), table.schema.field(column).type)


def by_tensors(content: bytes, rng: random.Random) -> bytes:
    """Other shapes, types and numbers, and a header that says something else than the bytes."""
    if rng.random() < 0.4:
        end = 8 + int.from_bytes(content[:8], "little")
        header = by_json(content[8:end], rng)
        return len(header).to_bytes(8, "little") + header + content[end:]
    tensors = load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    name = rng.choice(sorted(tensors))
    tensor, kind = tensors[name], rng.randrange(8)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[f"{name}x"] = tensors.pop(name)
    elif kind == 2:
        tensors[name] = tensor.to(rng.choice((torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool)))
    elif kind == 3:
        tensors[name] = tensor.flatten()
    elif kind == 4:
        tensors[name] = torch.zeros(rng.choice(((), (0,), (3, 0), (1, 2, 3, 4, 5))), dtype=tensor.dtype)
    elif kind == 5 and tensor.is_floating_point():
        tensors[name] = torch.full_like(tensor, rng.choice((torch.nan, torch.inf, -1.0, 6e4)))
    elif kind == 6:
        tensors[name] = torch.full_like(tensor, 255 if tensor.dtype == torch.uint8 else 1)
    else:
        tensors["extra"] = torch.zeros(2)
    return save(tensors, metadata=header.get("__metadata__"))


def by_checkpoint(content: bytes, rng: random.Random) -> bytes:
    """Other types and shapes in what torch.save wrote."""
    stored = torch.load(io.BytesIO(content), weights_only=True)
    place, key = stored, rng.choice(sorted(stored))
    while isinstance(place[key], dict) and place[key] and rng.random() < 0.8:
        place, key = place[key], rng.choice(list(place[key]))
    kind = rng.randrange(5)
    if kind == 0:
        del place[key]
    elif isinstance(place[key], torch.Tensor) and kind < 4:
        changes = (
            torch.Tensor.flatten,
            torch.Tensor.double,
            lambda t: t[:0],
            lambda t: t * torch.nan,
            lambda t: t.long(),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            place[key] = rng.choice(changes)(torch.atleast_1d(place[key]))
    else:
        place[key] = rng.choice((None, "x", -1, 2**70, float("nan"), [], {}, [1], torch.zeros(3), (1, 2)))
    buffer = io.BytesIO()
    torch.save(stored if rng.random() < 0.95 else rng.choice(([], None, {"step": 1}, torch.zeros(2))), buffer)
    return buffer.getvalue()


ODD_TEXT = (
    "..", "/../", "//", "/etc/passwd", ",", '"', "\n", "\r", "\x00", "\ufeff", "\u2028", "9" * 5000, "x" * 5000,
    "²", "١", "-1", "1e9", "nan", "#", "\t", "*", "[", "{split}", "a b c d", "🚲",
)  # fmt: skip


def by_text(content: bytes, rng: random.Random) -> bytes:
    """Odd words in it, lines in another order or twice, other encodings."""
    text = content.decode()
    kind = rng.randrange(4)
    if kind == 0:
        lines = text.splitlines()
        return (
            rng.choice(("\n", "\r\n", "\r", "", " ")).join(rng.choices(lines, k=rng.randrange(2 * len(lines)))).encode()
        )
    if kind == 1:
        return f"straße\n{text}".encode(rng.choice(("latin-1", "utf-16", "utf-8-sig", "cp437")))
    for _ in range(rng.randint(1, 3)):
        start, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        text = text[:start] + rng.choice(ODD_TEXT) + text[end if kind == 2 else start :]
    return text.encode()


MUTATIONS: dict[str, Mutate] = {
    "json": by_json,
    "yaml": by_yaml,
    "parquet": by_parquet,
    "safetensors": by_tensors,
    "checkpoint": by_checkpoint,
    "text": by_text,
    "bytes": by_bytes,
}
"""What a format's content can be changed by, beside `by_bytes`."""


def mutated(content: bytes, kind: str, rng: random.Random) -> bytes:
    """A damaged copy: half of them by meaning, half by bytes."""
    if rng.random() < 0.5:
        try:
            return MUTATIONS[kind](content, rng)
        except (TypeError, ValueError, RecursionError, AttributeError, KeyError, IndexError, OverflowError):
            pass  # what was drawn cannot be written in this format
        except (pa.ArrowException, yaml.YAMLError, RuntimeError):
            pass
    return by_bytes(content, rng)
