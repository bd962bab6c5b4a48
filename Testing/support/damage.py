"""What can go wrong with a file, drawn at random."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, -5, 1.5, 10**9, 10**18, 10**400, -(10**30), 1e308),
    *(
        float("inf"),
        float("-inf"),
        float("nan"),
        "",
        "x",
        "x" * 100_000,
        "\ud800",
        "../x",
        "1",
        b"x".hex() * 40,
    ),
    *([], {}, [[]], [None] * 3, {"a": {}}, [0] * 100_000),
)


def damaged_bytes(luck: random.Random, good: bytes, other: bytes) -> bytes:
    """A file with bits turned over, a piece cut off, repeated, exchanged or overwritten."""
    content, place = bytearray(good), luck.randrange(len(good))
    end = min(len(good), place + luck.choice((1, 4, 100, 10_000)))
    kind = luck.randrange(7)
    if kind == 0:
        for _ in range(luck.choice((1, 1, 2, 8))):
            content[luck.randrange(len(content))] ^= 1 << luck.randrange(8)
    elif kind == 1:
        del content[place:]
    elif kind == 2:
        del content[place:end]
    elif kind == 3:
        content[place:place] = content[place:end]
    elif kind == 4:
        content[place:end] = other[place:end]
    elif kind == 5:
        content[place:end] = luck.choice((b"\0", b"\xff", b"9", b"[")) * luck.choice(
            (1, end - place, 200_000)
        )
    else:
        content[:] = luck.choice((b"", other, b"[" * 100_000, b'{"a":' * 50_000, bytes(luck.randbytes(500))))
    return bytes(content)


def changed_tree(luck: random.Random, tree: Any) -> Any:
    """A copy of a JSON tree with an odd value, a missing or a superfluous entry somewhere."""
    tree = json.loads(json.dumps(tree))
    places = list(_places(tree))
    for _ in range(luck.choice((1, 1, 1, 3))):
        parent, key = luck.choice(places)
        kind = luck.randrange(5)
        try:
            if kind < 3:
                parent[key] = luck.choice(ODD)
            elif kind == 3:
                del parent[key]
            elif isinstance(parent, dict):
                parent["unknown"] = parent[key]
            else:
                parent.append(parent[key])
        except (KeyError, IndexError):  # an earlier change took it away
            continue
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every entry of a tree: what holds it, and its key or index there."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from _places(value)


def as_json(luck: random.Random, tree: Any) -> bytes:
    """JSON of a changed tree."""
    return json.dumps(changed_tree(luck, tree)).encode()
