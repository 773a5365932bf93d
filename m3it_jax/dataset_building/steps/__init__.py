"""Draft -> checked record: instruction, boxes, id, quality, one stream for each split. Nothing is written."""
