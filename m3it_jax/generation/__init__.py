"""From a checkpoint and a request to an answer: cache, decoding on the device, batches of requests, the assistant."""
