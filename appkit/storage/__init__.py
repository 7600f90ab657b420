"""Storage holds what outlives a process: atomic writes, the cache, the hub and object stores."""
