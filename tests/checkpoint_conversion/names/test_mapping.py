import numpy as np
import pytest

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.names import mapping
from m3it_jax.checkpoint_conversion.names.mapping import Entry, Unused

# Two layers of width 6 with 2 heads of 3, a fused qkv, a picture kernel, a vector: every kind of move.
SHAPES = {
    "blocks/query/kernel": (2, 6, 2, 3),
    "blocks/key/kernel": (2, 6, 2, 3),
    "blocks/norm/scale": (2, 6),
    "patch/kernel": (2, 2, 3, 6),
    "token": (6,),
}
QUERY_KEY = ("blocks/query/kernel", "blocks/key/kernel")
ENTRIES = [
    *(Entry(f"layers.{n}.qk.weight", (12, 6), QUERY_KEY, axes=(1, 0), layer=n) for n in range(2)),
    *(Entry(f"layers.{n}.norm.weight", (6,), ("blocks/norm/scale",), layer=n) for n in range(2)),
    Entry("patch.weight", (6, 3, 2, 2), ("patch/kernel",), axes=(2, 3, 1, 0)),
    Entry("cls", (1, 1, 6), ("token",)),
]
UNUSED = [Unused(r"layers\.\d+\.inv_freq", "computed"), Unused(r"tied\.weight", "tied", copy_of="cls")]


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    return {entry.key: rng.normal(size=entry.shape).astype(np.float32) for entry in ENTRIES}


def test_a_covering_map_passes_and_goes_round(tensors):
    mapping.check_map(ENTRIES, SHAPES)
    ours = mapping.to_ours(ENTRIES, tensors, SHAPES)
    assert {path: leaf.shape for path, leaf in ours.items()} == SHAPES
    back = mapping.to_hf(ENTRIES, ours)
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(back[key], tensor)


def test_axes_say_what_linear_layers_and_convolutions_mean(tensors):
    ours = mapping.to_ours(ENTRIES, tensors, SHAPES)
    x = np.random.default_rng(1).normal(size=6).astype(np.float32)
    key = tensors["layers.1.qk.weight"][6:] @ x  # the second half, as torch multiplies
    np.testing.assert_allclose(np.einsum("d,dnh->nh", x, ours["blocks/key/kernel"][1]).ravel(), key, rtol=1e-5)
    assert ours["patch/kernel"][1, 0, 2, 5] == tensors["patch.weight"][5, 2, 1, 0]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (ENTRIES[1:], "blocks/query/kernel of (2, 6, 2, 3) is filled at [1]"),
        ([*ENTRIES, Entry("other", (6,), ("token",))], "token of (6,) is filled at [None, None]"),
        ([*ENTRIES, ENTRIES[-1]], "cls stands twice"),
        ([*ENTRIES, Entry("other", (6,), ("elsewhere",))], "elsewhere is no parameter"),
        ([*ENTRIES[:-1], Entry("cls", (1, 1, 5), ("token",))], "cls gives (1, 1, 5) to token, whose slot has (6,)"),
        ([*ENTRIES[:-1], Entry("cls", (7,), ("token", "token2"))], "cls of (7,) cannot be cut into 2"),
    ],
)
def test_a_map_that_does_not_cover_is_refused(entries, words):
    with pytest.raises(ValueError) as error:
        mapping.check_map(entries, SHAPES)
    assert words in str(error.value)


def test_what_is_left_over_needs_a_reason(tensors):
    found = {key: tensor.shape for key, tensor in tensors.items()}
    known = {**found, "layers.0.inv_freq": (3,), "tied.weight": (1, 1, 6)}
    left = mapping.check_cover(ENTRIES, known, unused=UNUSED, where="DIR")
    assert {key: row.reason for key, row in left.items()} == {"layers.0.inv_freq": "computed", "tied.weight": "tied"}
    with pytest.raises(errors.UserError, match=r"DIR: holds layers\.0\.bias, which the model does not know"):
        mapping.check_cover(ENTRIES, {**found, "layers.0.bias": (6,)}, unused=UNUSED, where="DIR")


def test_what_is_missing_or_of_another_shape_is_named(tensors):
    found = {key: tensor.shape for key, tensor in tensors.items()}
    with pytest.raises(errors.UserError, match=r"DIR: cls has shape \(6,\), its configuration asks for \(1, 1, 6\)"):
        mapping.check_cover(ENTRIES, {**found, "cls": (6,)}, unused=UNUSED, where="DIR")
    with pytest.raises(errors.UserError, match=r"DIR: lacks layers.0.qk.weight, .* and 1 more; "):
        mapping.check_cover(ENTRIES, {}, unused=UNUSED, where="DIR")


@pytest.mark.parametrize("prefix", ["module.", "base_model.model.", "_orig_mod."])
def test_a_foreign_prefix_is_shown_beside_the_wanted_name(tensors, prefix):
    found = {f"{prefix}{key}": tensor.shape for key, tensor in tensors.items()}
    words = rf"\(it holds {prefix}layers\.0\.qk\.weight where layers\.0\.qk\.weight is wanted\)"
    with pytest.raises(errors.UserError, match=words):
        mapping.check_cover(ENTRIES, found, unused=UNUSED, where="DIR")
    with pytest.raises(errors.UserError, match=r"and 1 more \(it holds other, which is not wanted\); "):
        mapping.check_cover(ENTRIES, {"other": (1,)}, unused=UNUSED, where="DIR")
    with pytest.raises(errors.UserError, match=words):
        mapping.check_cover(ENTRIES, {}, unused=UNUSED, where="DIR", others=list(found))


def test_two_spellings_of_one_key_are_refused():
    aliases = [(r"new\.(.*)", r"old.\1"), (r"new\.cls", "never")]
    assert mapping.canonical_keys(["new.cls", "b"], aliases, where="DIR") == {"old.cls": "new.cls", "b": "b"}
    with pytest.raises(errors.UserError, match=r"DIR: old\.cls and new\.cls are two names of one tensor"):
        mapping.canonical_keys(["new.cls", "old.cls"], aliases, where="DIR")


@pytest.mark.parametrize(
    ("key", "copy_of", "wanted"),
    [("a.7.b", r"c.\1", "c.7"), ("a.7.b.more", r"c.\1", ""), ("more.a.7.b", r"c.\1", ""), ("a.7.b", "", "")],
)
def test_a_copy_is_known_by_the_whole_key_alone(key, copy_of, wanted):
    assert mapping.original_of(key, Unused(r"a\.(\d+)\.b", "tied", copy_of=copy_of)) == wanted
