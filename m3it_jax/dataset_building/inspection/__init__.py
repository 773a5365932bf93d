"""Looking at written records: verified, counted, the instruction bank measured. Nothing is changed."""
