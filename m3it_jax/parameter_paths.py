"""A parameter's path, `decoder/blocks/attn/query/kernel`: the name that patterns, tables and files know it by."""

from collections.abc import Callable, Mapping
from typing import Any

import jax


def map_with_path(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """Returns the tree of function(path with slashes, leaf)."""
    return jax.tree_util.tree_map_with_path(lambda keys, leaf: function(_joined(keys), leaf), tree)


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters as {path with slashes: leaf}, in the order of the tree."""
    return {_joined(keys): leaf for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _joined(keys: tuple[Any, ...]) -> str:
    return "/".join(str(key.key) for key in keys)


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the nested dict of {path with slashes: leaf}."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree
