"""Entries of the layers that every part is made of: linear layers, norms, tables.

torch stores a linear layer as [out, in], we as [in, out], where `in` or `out` may be several axes (heads, head size).
"""

from m3it_jax.checkpoint_conversion.names.mapping import Entry

TRANSPOSED = (1, 0)


def tensor(key: str, path: str, shape: tuple[int, ...], *, layer: int | None = None) -> list[Entry]:
    """Returns the entry of a tensor whose axes stand in our order; axes of size 1 may differ."""
    return [Entry(key, shape, (path,), layer=layer)]


def linear(key: str, path: str, sizes: tuple[int, int], *, layer: int | None = None, bias: bool = True) -> list[Entry]:
    """Returns the entries of a linear layer; `sizes` is (in, out), heads counted together."""
    inputs, outputs = sizes
    made = [Entry(f"{key}.weight", (outputs, inputs), (f"{path}/kernel",), axes=TRANSPOSED, layer=layer)]
    return made + (tensor(f"{key}.bias", f"{path}/bias", (outputs,), layer=layer) if bias else [])


def norm(key: str, path: str, width: int, *, layer: int | None = None, bias: bool = True) -> list[Entry]:
    """Returns the entries of a layer norm, or of an RMS norm, which has no bias."""
    made = tensor(f"{key}.weight", f"{path}/scale", (width,), layer=layer)
    return made + (tensor(f"{key}.bias", f"{path}/bias", (width,), layer=layer) if bias else [])


def patches(key: str, path: str, *, patch_size: int, width: int) -> list[Entry]:
    """Returns the entry of the convolution that cuts a picture into patches: [out, colour, h, w] there."""
    return [Entry(f"{key}.weight", (width, 3, patch_size, patch_size), (f"{path}/kernel",), axes=(2, 3, 1, 0))]
