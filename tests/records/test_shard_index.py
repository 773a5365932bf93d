import dataclasses

import numpy as np
import pytest

from m3it_jax.records import shard_index


@pytest.mark.parametrize("ids", [[], ["a"], ["toys-1", "é" * 9, "", "日本"], [f"toys-{n}" for n in range(50)]])
@pytest.mark.parametrize("portion", [1, 7, 4096])
def test_the_file_is_the_one_that_numpy_writes(tmp_path, monkeypatch, ids, portion):
    monkeypatch.setattr(shard_index, "_PORTION", portion)
    rows, shard = shard_index.Rows(), tmp_path / "shard"
    for number, name in enumerate(ids):
        rows.add(name, 100 + number, number % 3)
    rows.store(shard)
    lengths = np.arange(len(ids), dtype=np.int64) + 100
    wanted = shard_index.ShardIndex(
        ids=np.array(ids, np.str_),
        offsets=np.array([sum(lengths[:number] + 16) for number in range(len(ids))], np.int64),
        lengths=lengths,
        num_images=np.array([number % 3 for number in range(len(ids))], np.int32),
    )
    np.savez(tmp_path / "wanted.npz", **dataclasses.asdict(wanted))
    assert shard_index.index_path(shard).read_bytes() == (tmp_path / "wanted.npz").read_bytes()
    found = shard_index.load_index(shard)
    assert found.ids.tolist() == ids and found.end() == (int(lengths.sum()) + 16 * len(ids) if ids else 0)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["shard.index.npz", "wanted.npz"]
