"""Combing of woven fields, and a robust loss, as a plugin of restorekit."""
