from m3it_jax.input_pipeline.rows import tower_rows


def test_tower_rows_hold_labels_in_the_tables_order(words):
    tables = {"shape": {"circle": 0, "square": 1}, "digit": {3: 0, 7: 1}}
    row = tower_rows.tower_row(
        words, caption="picture 1", attributes={"shape": "square", "digit": 9, "other": 1}, tables=tables
    )
    assert row["attributes"].tolist() == [-1, 1]  # digit, shape
    ids = words.encode("picture 1")
    assert row["caption_ids"].tolist() == ids + [0] * (tower_rows.CAPTION_LEN - len(ids))
