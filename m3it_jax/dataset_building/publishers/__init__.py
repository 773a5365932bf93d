"""Publishers' own files: fetched, found, read, and what several publishers' files have in common. No source by name."""
