"""Pages and tables made from what runs and data folders hold."""
