"""Files of weights: found, checked, read safely, tensors moved from one to another. No names of ours."""
