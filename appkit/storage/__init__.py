"""Files that outlive a process: atomic writes, the cache, the hub and object stores."""
