import pickle

import numpy as np
import pytest

from m3it_jax.records import framing

RECORDS = [b"first", b"", b"third record" * 9]


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "x.tfrecord"
    path.write_bytes(b"".join(map(framing.frame, RECORDS)))
    return path


def test_checksum_is_the_published_one():
    # CRC-32C of 32 zero bytes (RFC 3720, B.4) is 0x8a9136aa; masked as in tensorflow/core/lib/hash/crc32c.h.
    crc = 0x8A9136AA
    assert framing.masked_crc(bytes(32)) == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def test_scan_gives_back_what_was_framed(shard):
    assert [data for _, data in framing.scan(shard)] == RECORDS


@pytest.mark.parametrize("seed", range(100))
def test_any_flipped_bit_is_found_where_it_is(shard, seed):
    offsets = [offset for offset, _ in framing.scan(shard)]
    data = bytearray(shard.read_bytes())
    place = (seed * 37 + 5) % len(data)
    data[place] ^= 1 << (seed % 8)
    shard.write_bytes(bytes(data))
    with pytest.raises(framing.BrokenRecordError) as caught:
        list(framing.scan(shard))
    right = max(number for number, offset in enumerate(offsets) if offset <= place)
    assert (caught.value.record, caught.value.offset) == (right, offsets[right])


@pytest.mark.parametrize("cut", [1, 3, 4, 11, 12, 40])
def test_a_torn_end_is_found(shard, cut):
    shard.write_bytes(shard.read_bytes()[:-cut])
    with pytest.raises(framing.BrokenRecordError):
        list(framing.scan(shard))


def test_junk_at_the_end_is_found(shard):
    shard.write_bytes(shard.read_bytes() + b"\0" * 7)
    with pytest.raises(framing.BrokenRecordError) as caught:
        list(framing.scan(shard))
    assert caught.value.record == len(RECORDS)


def test_the_error_travels_between_processes(shard):
    error = framing.BrokenRecordError(shard, record=3, offset=70, reason="why")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.offset == 70


@pytest.mark.parametrize("seed", range(200))
def test_salvage_loses_only_what_is_damaged(tmp_path, seed):
    chance = np.random.default_rng(seed)
    records = [chance.bytes(int(chance.integers(0, 300))) for _ in range(30)]
    data = bytearray(b"".join(map(framing.frame, records)))
    ends = np.cumsum([len(record) + 16 for record in records])
    kind = seed % 4
    begin = int(chance.integers(0, len(data)))
    stop = {0: begin + 1, 1: min(begin + 400, len(data)), 2: len(data), 3: begin}[kind]
    if kind == 0:
        data[begin] ^= 1 << (seed % 8)
    elif kind == 1:
        data[begin:stop] = bytes(stop - begin)  # a zeroed page
    elif kind == 2:
        del data[begin:]
    path = tmp_path / "x.tfrecord"
    path.write_bytes(bytes(data) + (b"junk at the end" if kind == 3 else b""))
    found = [record for _, record in framing.salvage(path) if record is not None]
    untouched = [
        record
        for record, end in zip(records, ends, strict=True)
        if end <= begin or end - len(record) - 16 >= stop or kind == 3
    ]
    lost = [offset for offset, record in framing.salvage(path) if record is None]
    # Zeros written over zeros damage nothing, so more may be found than is promised.
    assert [record for record in found if record in untouched] == untouched
    assert set(found) <= set(records)
    assert lost or len(found) == len(records) or (kind == 2 and len(data) in (0, *ends))


def test_salvage_of_an_empty_file_finds_nothing(tmp_path):
    (tmp_path / "x").touch()
    assert list(framing.salvage(tmp_path / "x")) == []


def test_salvage_looks_beyond_one_block(tmp_path, monkeypatch):
    monkeypatch.setattr(framing, "_SEARCHED", 64)
    path = tmp_path / "x"
    path.write_bytes(b"\xff" * 1000 + framing.frame(b"sound"))
    assert list(framing.salvage(path)) == [(0, None), (1000, b"sound")]
