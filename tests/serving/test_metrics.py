from m3it_jax.serving.metrics import Metrics


def test_counts_histograms_and_gauges():
    metrics = Metrics()
    metrics.count("m3it_responses_total", route="/", status="200")
    metrics.count("m3it_responses_total", 2, route="/", status="200")
    for seconds in (0.001, 0.3, 100):
        metrics.observe("m3it_first_token_seconds", seconds)
    lines = metrics.text({"m3it_rows": ("Rows.", 4)}).splitlines()
    assert 'm3it_responses_total{route="/",status="200"} 3' in lines
    assert "m3it_new_tokens_total 0" in lines and "m3it_rows 4" in lines
    assert 'm3it_first_token_seconds_bucket{le="0.005"} 1' in lines
    assert 'm3it_first_token_seconds_bucket{le="0.5"} 2' in lines
    assert 'm3it_first_token_seconds_bucket{le="+Inf"} 3' in lines
    assert "m3it_first_token_seconds_sum 100.301000" in lines and "m3it_first_token_seconds_count 3" in lines
    assert len([line for line in lines if line.startswith("# TYPE")]) == 8
