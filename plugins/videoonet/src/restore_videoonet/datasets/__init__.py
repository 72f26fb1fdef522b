"""The paper's data (Sec. 3.3), from the official files."""
