"""Whole-system tests: the real daemon, real processes, and what the kernel says is left of them."""
