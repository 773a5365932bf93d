"""Streams of records -> a data folder: shards, provenance, what was left out, card, manifest. No source by name."""
