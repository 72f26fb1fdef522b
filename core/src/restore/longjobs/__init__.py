"""Work that takes days: videos in parts that are finished one by one, on one machine or many, and taken up again."""
