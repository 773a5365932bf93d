"""Pictures as bytes and arrays: decoded, made alike, boxes drawn. No rows, no files of a publisher."""
