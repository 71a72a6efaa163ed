"""Measures loaders side by side on this machine: `./dev bench peers`."""
