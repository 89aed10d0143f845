"""The ground the rooms stand on: standard library and numpy, frozen, valid from birth, no I/O."""
