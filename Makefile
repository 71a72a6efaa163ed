# The work is done by ./dev, which needs no make; these are for fingers that type make.

.PHONY: demo test lint check build wheel clean help

demo test lint check build wheel clean help:
	@./dev $@

.DEFAULT_GOAL := help
