import pickle

import pytest

from m3it_jax import framing

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
