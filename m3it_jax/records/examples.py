"""Instance <-> serialized tf.train.Example, the features of a record in the order of their names."""

import dataclasses
import functools
import json
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from m3it_jax import schema

# How fields 1 and 2 of a protocol buffer begin if what follows has a length (protobuf.dev,
# programming-guides/encoding). Every message on the way to a value has its content in such a field:
# tensorflow/core/example/example.proto and feature.proto.
_FIRST, _SECOND = b"\x0a", b"\x12"


# What is read of tensorflow/core/example/example.proto and feature.proto, where nothing but bytes is written. From
# TensorFlow itself the class would cost its import: seconds and most of a gigabyte for whoever exports or checks data.
_DESCRIPTION = """
name: "m3it_jax/example.proto" package: "m3it_jax" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type {
  name: "Feature"
  field { name: "bytes_list" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".m3it_jax.BytesList" }
}
message_type {
  name: "Features"
  field {
    name: "feature" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".m3it_jax.Features.FeatureEntry"
  }
  nested_type {
    name: "FeatureEntry"
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".m3it_jax.Feature" }
    options { map_entry: true }
  }
}
message_type {
  name: "Example"
  field { name: "features" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".m3it_jax.Features" }
}
"""


@functools.cache
def _example_class() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_DESCRIPTION, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("m3it_jax.Example"))


def to_features(instance: schema.Instance) -> dict[str, Any]:
    """Returns the record as the TFDS builder takes it; `meta` becomes JSON text with sorted keys."""
    features = {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance)}
    features["images"] = list(instance.images)
    features["meta"] = json.dumps(dict(instance.meta), ensure_ascii=False, sort_keys=True)
    return features


def encode(instance: schema.Instance) -> bytes:
    """Returns the record as a serialized tf.train.Example with the features that TFDS writes, in a fixed order."""
    return b"".join(encoded_parts(instance))


def encoded_parts(instance: schema.Instance) -> list[bytes]:
    """Returns what `encode` does in parts, so that no picture is copied.

    Written by hand: the map's entries must stand in the order of their keys, which protocol buffers promise nowhere,
    and a picture would be copied twice on its way through them. Example.features holds Features.feature, a map whose
    entries hold Feature.bytes_list under their second field, and that holds BytesList.value.
    """
    features = to_features(instance)
    pictures: list[bytes] = []
    for each in features.pop("images"):
        pictures += [_FIRST, _varint(len(each)), each]
    parts: list[bytes] = []
    for name, key in _KEYS.items():
        if name == "images":
            parts += _within(_FIRST, [key, *_within(_SECOND, _within(_FIRST, pictures))])
        else:
            text = _message(_SECOND, _message(_FIRST, _message(_FIRST, features[name].encode("utf-8"))))
            parts.append(_message(_FIRST, key + text))
    return _within(_FIRST, parts)


def _within(tag: bytes, parts: list[bytes]) -> list[bytes]:
    return [tag, _varint(sum(map(len, parts))), *parts]


def _message(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Returns a number in groups of seven bits, the lowest first; the upper bit says that another group follows."""
    if number < 128:
        return _ONE_GROUP[number]
    return bytes((number & 0x7F | 0x80,)) + _varint(number >> 7)


# What stands before each value: the key of the map's entry, in the order of the keys.
_ONE_GROUP = [bytes((number,)) for number in range(128)]
_KEYS = {
    name: _message(_FIRST, name.encode())
    for name in sorted(field.name for field in dataclasses.fields(schema.Instance))
}


def decode(serialized: bytes) -> schema.Instance:
    """Returns the record in a serialized tf.train.Example, as TFDS writes it.

    Raises:
      ValueError: the bytes are no Example, a field is missing or no text, or `meta` is no JSON object.
    """
    try:
        feature = _example_class().FromString(serialized).features.feature
    except Exception as error:  # protobuf's DecodeError differs between its implementations
        raise ValueError(f"is no tf.train.Example ({error})") from error
    values: dict[str, Any] = {}
    for field in dataclasses.fields(schema.Instance):
        if field.name not in feature:
            raise ValueError(f"field {field.name!r} is missing; the record has another schema")
        raw = list(feature[field.name].bytes_list.value)
        if field.name == "images":
            values["images"] = tuple(raw)
            continue
        if len(raw) != 1:
            raise ValueError(f"field {field.name!r} holds {len(raw)} texts, must be one")
        values[field.name] = raw[0].decode("utf-8")
    try:
        values["meta"] = json.loads(values["meta"])
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"field 'meta' is no JSON ({error})") from error
    if not isinstance(values["meta"], dict):
        raise ValueError(f"field 'meta' is no JSON object but {type(values['meta']).__name__}")
    return schema.Instance(**values)
