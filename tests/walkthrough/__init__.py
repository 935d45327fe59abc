"""What the documents tell a reader to type, as things to run and compare."""
