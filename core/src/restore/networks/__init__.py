"""Networks that several plugins are built from. They know nothing of clips, recipes or files."""
