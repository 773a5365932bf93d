"""Where each Hugging Face tensor lies in our parameters: one map for each part, composed for each family. No files."""
