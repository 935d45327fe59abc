"""The command line: replay traffic under policies, and read what came of it."""
