"""The programs on the pages of docs/migrate, run as they stand there."""
