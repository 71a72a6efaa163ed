"""Trainers that stop in the middle of an epoch and go on exactly, each in processes of its own."""
