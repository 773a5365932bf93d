"""(seed, step) -> which records, as arithmetic."""
