"""The harness's own tests: they need no peer, no torch and no forebay."""
