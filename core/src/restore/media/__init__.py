"""Images and videos: told apart, read, turned into floats and back, written."""
