"""A data folder in other languages: masked, translated, put together again, scored, quarantined if need be."""
