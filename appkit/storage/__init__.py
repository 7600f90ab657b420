"""Storage writes files and directories: atomic writes, the cache, the hub and object stores."""
