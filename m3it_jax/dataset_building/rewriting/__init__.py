"""A data folder -> another one: repaired, reviewed, paraphrased. What is not changed is copied byte for byte."""
