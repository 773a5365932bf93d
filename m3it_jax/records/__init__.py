"""Data folders and the records in them: bytes, framing, index, tables; these names are what others use."""

from m3it_jax.records.data_folder import MANIFEST as MANIFEST
from m3it_jax.records.data_folder import PROVENANCE as PROVENANCE
from m3it_jax.records.data_folder import DataFolder as DataFolder
from m3it_jax.records.data_folder import SourceInfo as SourceInfo
from m3it_jax.records.data_folder import shard_paths as shard_paths
from m3it_jax.records.examples import decode as decode
from m3it_jax.records.examples import encode as encode
from m3it_jax.records.examples import to_features as to_features
from m3it_jax.records.shard_index import INDEX_SUFFIX as INDEX_SUFFIX
from m3it_jax.records.shard_index import ShardIndex as ShardIndex
from m3it_jax.records.shard_index import index_path as index_path
from m3it_jax.records.shard_index import load_index as load_index
from m3it_jax.records.shard_index import read_index as read_index
from m3it_jax.records.shard_writing import normalise as normalise
from m3it_jax.records.shard_writing import write_index as write_index
from m3it_jax.records.table import RecordTable as RecordTable
