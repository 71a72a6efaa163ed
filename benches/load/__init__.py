"""What a daemon does under mixed and large loads: questions with a figure each, in turns on one machine."""
